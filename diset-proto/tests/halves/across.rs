//! From one link to the next: in which order they have their turn, and what goes along.

use diset_proto::drive::Carried;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The client has lost its link, and comes again, while the service still has something to do for the one before.
fn come_again<I: Inbox>(client: &mut Side, service: &mut Side<I>) {
    client.lose();
    service.lose();
    connect_in_place(client, service);
}

/// Another link of these two, on the halves that the service has.
fn connect_in_place<I: Inbox>(client: &mut Side, service: &mut Side<I>) {
    client.rx.connect(client.now, &mut client.tx, &CONFIG).unwrap();
    let listening = service
        .rx
        .listen(service.now, &mut service.tx, Meter::CATALOG, Limits::SERVER);
    listening.unwrap();
    let session = service.tx.take_session();
    service.kept = session.or_else(|| service.kept.take());
    settle(client, service);
    assert!(client.tx.connection().trid().is_some());
}

/// The halves of another transport, where the client of `older` comes again and gets its session; what `older` has goes
/// along.
fn displace<I: Inbox>(client: &mut Side, older: &mut Side<I>, limit: usize) -> Side<I> {
    let mut newer = Side::new(None, older.inbox);
    newer.now = older.now;
    newer.calls = older.calls;
    newer.trid = older.trid;
    client.lose();
    older.tx.disconnect(Notice::new(Code::Displaced));
    let (session, carried) = hand_over(older, limit);
    newer.rx.take_over(&mut newer.tx, carried);
    newer.kept = session;
    client.rx.connect(client.now, &mut client.tx, &CONFIG).unwrap();
    let listening = newer
        .rx
        .listen(newer.now, &mut newer.tx, Meter::CATALOG, Limits::SERVER);
    listening.unwrap();
    settle(client, &mut newer);
    newer
}

fn hand_over<I: Inbox>(older: &mut Side<I>, limit: usize) -> (Option<Box<Memory<I>>>, Carried<Test<I>>) {
    let queue = HeapQueue::new(GrowBuf::new(limit));
    older.rx.hand_over(older.now, &mut older.tx, queue)
}

/// Lets time pass, a second at a time, with a turn at each.
fn pass<I: Inbox>(side: &mut Side<I>, seconds: u64) {
    for _ in 0..seconds {
        side.now = side.now.after(SECOND);
        side.rx.turn(side.now, &mut side.tx);
        side.feed(&[]);
    }
}

/// PROTOCOL D-2.
#[test]
fn what_is_left_of_a_link_comes_before_the_next_one_which_begins_meanwhile() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    service.calls = true;
    client.send(1);
    client.send_acked(2);
    client.send(3);
    client.send_acked(4);
    settle(&mut client, &mut service);
    come_again(&mut client, &mut service);
    client.send(5);
    settle(&mut client, &mut service);
    assert_eq!(service.told, ["connected 1", "1"]);
    for step in ["2", "3", "ended 1", "connected 2", "4", "5"] {
        service.handled(Ok(()));
        assert_eq!(service.told.last().unwrap(), step, "{:?}", service.told);
    }
    service.handled(Ok(()));
    assert_eq!(service.told.len(), 8, "2 and 4 have come again, and are handled once");
    pass(&mut service, 1);
    settle(&mut client, &mut service);
    assert_eq!(client.tx.connection().delivered().processed, 2);
    assert_eq!(client.tx.take_outcome(), None);
    // Of what they cost nothing is granted twice: with a keep-alive at the latest it is granted (PROTOCOL L-4).
    client.now = client.now.after(Duration::from_secs(45));
    settle(&mut client, &mut service);
    assert!(client.ended.len() == 1 && service.ended.len() == 1);
}

#[test]
fn a_link_that_comes_and_goes_while_another_has_its_turn_leaves_no_mark_and_no_messages() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    client.send(1);
    settle(&mut client, &mut service);
    come_again(&mut client, &mut service);
    client.send(2);
    client.send_acked(3);
    settle(&mut client, &mut service);
    come_again(&mut client, &mut service);
    client.send(4);
    settle(&mut client, &mut service);
    service.handler = Handler::Done;
    service.handled(Ok(()));
    assert_eq!(service.told, ["connected 1", "1", "ended 1", "connected 3", "3", "4"]);
    assert_eq!(service.ended[0].unhandled(), 0, "2 was of another link");
}

#[test]
fn what_is_left_goes_to_the_halves_of_the_link_that_displaces() {
    let (mut client, mut older) = connected();
    older.handler = Handler::Waits;
    client.send_acked(1);
    client.send_acked(2);
    client.send(3);
    settle(&mut client, &mut older);
    let mut newer = displace(&mut client, &mut older, 1000);
    client.send(4);
    settle(&mut client, &mut newer);
    assert_eq!(newer.told, [""; 0], "the handler runs");
    assert!(older.rx.poll(&mut Context::from_waker(Waker::noop())).is_ready());
    newer.handled(Ok(()));
    assert_eq!(newer.told, ["ended 1", "connected 2", "2", "4"]);
    assert_eq!(newer.ended[0].cause(), &Cause::OurError(Notice::new(Code::Displaced)));
    assert_eq!(newer.ended[0].unhandled(), 1);
    pass(&mut newer, 1);
    settle(&mut client, &mut newer);
    assert_eq!(
        client.tx.connection().delivered().processed,
        2,
        "both are handled, and told"
    );
    // The older link says so, and tells nothing more here.
    let last = older.take();
    assert!(last.len() > 3 && older.rx.turn(older.now, &mut older.tx).io == Io::Finish);
    older.lose();
    assert_eq!(older.told, ["connected 1", "1"]);
}

/// PROTOCOL Q-5: the outcome counts for the session, and the link that has come meanwhile is none the worse.
#[test]
fn a_handler_of_a_former_link_that_fails_does_not_end_the_next_one() {
    for acked in [true, false] {
        let (mut client, mut service) = connected();
        service.handler = Handler::Waits;
        if acked {
            client.send_acked(1);
        } else {
            client.send(1);
        }
        settle(&mut client, &mut service);
        come_again(&mut client, &mut service);
        service.handler = Handler::Done;
        service.handled(Err(Failure::new(Code::HandlerFailed)));
        client.send(2);
        settle(&mut client, &mut service);
        pass(&mut service, 1);
        settle(&mut client, &mut service);
        assert_eq!(service.told, ["connected 1", "1", "ended 1", "connected 2", "2"]);
        assert_eq!(client.tx.take_outcome().is_some(), acked);
    }
}

#[test]
fn a_handler_that_hangs_has_30_seconds_after_its_link_and_so_has_the_callback_that_is_told() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    service.calls = true;
    client.send_acked(1);
    client.send_acked(2);
    client.send(3);
    settle(&mut client, &mut service);
    client.lose();
    service.lose();
    let turn = service.rx.turn(service.now, &mut service.tx);
    assert_eq!(turn.wake, Some(service.now.after(30 * SECOND)));
    connect_in_place(&mut client, &mut service);
    assert!(service.ended.is_empty());
    pass(&mut service, 29);
    assert!(service.ended.is_empty());
    pass(&mut service, 1);
    assert_eq!(
        (service.told.last().unwrap().as_str(), service.ended[0].unhandled()),
        ("ended 1", 1)
    );
    pass(&mut service, 29);
    assert_eq!(service.told.last().unwrap(), "ended 1");
    pass(&mut service, 1);
    assert_eq!(service.told.last().unwrap(), "connected 2", "the callback had its time");
    service.handler = Handler::Done;
    service.handled(Ok(()));
    assert_eq!(
        service.told.last().unwrap(),
        "2 carried",
        "it has come again meanwhile, and was not forgotten"
    );
    for _ in 0..2 {
        pass(&mut service, 1);
        settle(&mut client, &mut service);
    }
    assert_eq!(client.tx.take_outcome().map(|(number, _)| number), Some(1));
    assert_eq!(client.tx.connection().delivered().processed, 2);
}

/// What has not come again on the next link when the time is over is forgotten, and comes then.
#[test]
fn what_waits_for_a_handler_that_hangs_comes_again_in_order() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    client.send_acked(1);
    client.send_acked(2);
    client.send(3);
    settle(&mut client, &mut service);
    client.lose();
    service.lose();
    pass(&mut service, 30);
    service.handler = Handler::Done;
    connect(&mut client, &mut service);
    client.send_acked(4);
    settle(&mut client, &mut service);
    assert_eq!(service.told, ["connected 1", "1", "ended 1", "connected 2", "2", "4"]);
    pass(&mut service, 1);
    settle(&mut client, &mut service);
    assert_eq!(client.tx.connection().delivered().processed, 3);
}

#[test]
fn no_message_is_lent_while_a_callback_runs_and_one_that_fails_ends_the_link() {
    let (mut client, mut service) = connected();
    service.calls = true;
    come_again(&mut client, &mut service);
    client.send(1);
    settle(&mut client, &mut service);
    assert_eq!(service.told, ["connected 1", "ended 1"]);
    service.handled(Err(Failure::new(Code::HandlerFailed)));
    assert_eq!(
        service.told.last().unwrap(),
        "connected 2",
        "what comes of that one is all the same"
    );
    service.handled(Err(Failure::new(Code::HandlerFailed)));
    assert!(service.tx.is_stopped());
    settle(&mut client, &mut service);
    assert!(matches!(client.ended[1].cause(), Cause::PeerError(notice) if notice.code() == Code::HandlerFailed));
    assert_eq!(service.told[3..], ["ended 2"]);
    assert_eq!(service.ended[1].unhandled(), 1);
    assert!(!service.rx.is_cold(), "its callback runs");
    service.handled(Ok(()));
    assert!(service.rx.is_cold());
}

/// PROTOCOL: what an earlier process has received is handled first, and may have been before; also when the session
/// begins anew.
#[test]
fn what_a_durable_inbox_has_from_an_earlier_process_is_lent_first() {
    let durable = || Durable::new(HeapReplay::new(100, 10_000));
    for anew in [false, true] {
        let (mut client, mut service) = connected_to(durable);
        service.handler = Handler::Waits;
        client.send_acked(1);
        client.send_acked(2);
        settle(&mut client, &mut service);
        pass(&mut service, 1);
        settle(&mut client, &mut service);
        client.send_acked(3);
        client.lose();
        // Another process.
        let killed = service.tx.take_session().unwrap();
        let restored = Session::restore(&killed.record(), killed.replay().clone(), killed.inbox().clone());
        let mut service = Side::new(None, durable);
        service.kept = Some(Box::new(restored.unwrap()));
        service.trid = 1;
        if anew {
            client.tx = Tx::new(GrowBuf::new(100_000), Some(memory(Volatile)));
        }
        service.calls = true;
        connect_in_place(&mut client, &mut service);
        client.send(4);
        settle(&mut client, &mut service);
        service.calls = false;
        assert_eq!(service.told, ["connected 2"]);
        service.handled(Ok(()));
        let rest: &[&str] = if anew { &["4"] } else { &["3 marked", "4"] };
        let all = [&["connected 2", "1 carried marked", "2 carried marked"], rest].concat();
        assert_eq!(service.told, all, "anew: {anew}");
        pass(&mut service, 1);
        settle(&mut client, &mut service);
        let session = service.tx.connection().session().unwrap();
        assert_eq!(session.inbox().waiting().count(), 0);
        assert_eq!(client.tx.connection().delivered().processed, if anew { 0 } else { 3 });
        assert!(service.ended.is_empty(), "its credit is that of this link");
    }
}

/// PROTOCOL: of a session that begins anew what waits is forgotten, and then nothing that came behind it passes it.
#[test]
fn what_waits_of_a_session_that_begins_anew_is_forgotten_with_all_behind_it() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    client.send(1);
    client.send(2);
    client.send_acked(3);
    client.send(4);
    settle(&mut client, &mut service);
    client.lose();
    service.lose();
    client.tx = Tx::new(GrowBuf::new(100_000), Some(memory(Volatile)));
    connect_in_place(&mut client, &mut service);
    client.send(5);
    settle(&mut client, &mut service);
    service.handler = Handler::Done;
    service.handled(Ok(()));
    assert_eq!(service.told, ["connected 1", "1", "2", "ended 1", "connected 2", "5"]);
    assert_eq!(service.ended[0].unhandled(), 1);
}

/// While it is held what comes waits, behind all that is left elsewhere.
#[test]
fn what_comes_while_the_halves_are_held_waits() {
    let (mut client, mut older) = connected();
    let mut newer = Side::new(None, older.inbox);
    newer.rx.hold();
    client.lose();
    older.lose();
    older.feed(&[]);
    newer.kept = older.tx.take_session();
    newer.trid = 1;
    client.rx.connect(client.now, &mut client.tx, &CONFIG).unwrap();
    let listening = newer
        .rx
        .listen(newer.now, &mut newer.tx, Meter::CATALOG, Limits::SERVER);
    listening.unwrap();
    client.send_acked(1);
    settle(&mut client, &mut newer);
    client.send(2);
    settle(&mut client, &mut newer);
    assert_eq!(newer.told, [""; 0]);
    newer.rx.release(&mut newer.tx);
    newer.feed(&[]);
    assert_eq!(newer.told, ["connected 2", "1", "2"]);
}

/// A client, and its service after a restart, whose inbox has 20 messages and whose queue has room for a few of them. The
/// first is with its handler.
fn restarted_with_a_backlog() -> (Side, Side<Durable>) {
    let durable = || Durable::new(HeapReplay::new(100, 10_000));
    let (mut client, mut service) = connected_to(durable);
    service.handler = Handler::Waits;
    for value in 1..=20 {
        client.send_acked(value);
    }
    settle(&mut client, &mut service);
    pass(&mut service, 1);
    settle(&mut client, &mut service);
    client.lose();
    let killed = service.tx.take_session().unwrap();
    let restored = Session::restore(&killed.record(), killed.replay().clone(), killed.inbox().clone());
    let mut service = Side::new(None, durable);
    service.rx = Rx::new(GrowBuf::new(70_000), HeapQueue::new(GrowBuf::new(60)));
    service.kept = Some(Box::new(restored.unwrap()));
    service.trid = 1;
    service.handler = Handler::Waits;
    client.rx.connect(client.now, &mut client.tx, &CONFIG).unwrap();
    let listening = service
        .rx
        .listen(service.now, &mut service.tx, Meter::CATALOG, Limits::SERVER);
    listening.unwrap();
    let up = client.take();
    service.feed(&up);
    let down = service.take();
    client.feed(&down);
    (client, service)
}

/// There may be no room for all of it at once: then nothing is read that would have to wait behind it.
#[test]
fn an_inbox_that_has_more_than_the_queue_takes_is_lent_in_parts() {
    let (mut client, mut service) = restarted_with_a_backlog();
    client.send(21);
    let up = client.take();
    let mut input = &up[..];
    assert!(service.rx.next(service.now, &mut service.tx, &mut input).is_none());
    assert!(!input.is_empty(), "it is left");
    service.handler = Handler::Done;
    service.handled(Ok(()));
    service.feed(input);
    assert_eq!(service.got, (1..=21).collect::<Vec<u8>>());
}

#[test]
fn an_inbox_is_lent_to_its_end_also_when_a_link_ends_amid_it() {
    let (mut client, mut service) = restarted_with_a_backlog();
    for last in [2, 3] {
        come_again(&mut client, &mut service);
        service.handled(Ok(()));
        assert_eq!(service.got, (1..=last).collect::<Vec<u8>>());
    }
    service.handler = Handler::Done;
    service.handled(Ok(()));
    assert_eq!(service.got, (1..=20).collect::<Vec<u8>>());
    pass(&mut service, 1);
    settle(&mut client, &mut service);
    assert_eq!(client.tx.connection().session().unwrap().delivered().processed, 20);
}
