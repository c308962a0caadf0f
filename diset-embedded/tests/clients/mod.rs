//! The blocking and the async client against a service on the bare engine: one story each, told by both.

mod acked;
mod agent;
mod flush;
mod pipes;
mod world;

use agent::{Agent, IDENTITY, Seen, Treat, with_each};
use diset_embedded::diset_proto::{Bound, RetryAfter};
use diset_embedded::{
    Arg, Buffers, Cause, Client, Code, Config, Identity, Limits, Notice, Retry, SendError, SetupError, Trid,
    TrustedLine,
};
use world::{Demo, Log, NOTE, SECOND, Stream, World};

fn code(cause: &Cause) -> Option<Code> {
    cause.code()
}

#[test]
fn ping_pong_and_a_push() {
    with_each(|agent| {
        assert_eq!(agent.ping(0), Err(SendError::NotOpen));
        assert_eq!(agent.connected(), Trid::new(1));
        agent.ping(7).unwrap();
        assert_eq!(agent.next(), Seen::Pong(7));
        agent.world().push("for you");
        assert_eq!(agent.next(), Seen::Note("for you".into()));
        agent.treat(Treat::Echo);
        agent.world().push("echo this");
        assert_eq!(agent.next(), Seen::Note("echo this".into()));
        agent.idle(SECOND);
        let log = agent.world().log();
        assert_eq!(log[0], Log::Proposed(IDENTITY, Some("Text(\"CERN\")".into())));
        assert_eq!(log[1..], [Log::Ping(7), Log::Note("echo this".into())]);
        assert!(!agent.dial(), "one connection at a time");
    });
}

#[test]
fn a_lost_connection_is_made_again_under_the_same_identity() {
    with_each(|agent| {
        let first = agent.connected();
        agent.world().0.borrow_mut().frozen = true;
        agent.note("never confirmed").unwrap();
        agent.idle(SECOND / 100);
        agent.world().0.borrow_mut().ended = true;
        let dropped = agent.dropped();
        assert_eq!(dropped.cause(), &Cause::Lost);
        assert_eq!(dropped.unconfirmed(), 1, "PROTOCOL L-6");
        let Retry::At(when) = dropped.retry() else {
            panic!("not permanent")
        };
        assert_eq!(agent.retry(), dropped.retry());
        agent.world().0.borrow_mut().frozen = false;
        assert!(when.since(agent.world().now()) <= SECOND / 2, "PROTOCOL R-1");
        let second = agent.connected();
        assert_ne!(first, second, "PROTOCOL R-6");
        assert_eq!(agent.trid(), Some(second));
        let proposals: Vec<_> = agent.world().log();
        let identities = proposals.iter().filter_map(|entry| match entry {
            Log::Proposed(identity, _) => Some(*identity),
            _ => None,
        });
        assert_eq!(identities.collect::<Vec<_>>(), [IDENTITY; 2], "PROTOCOL R-6");
        agent.ping(1).unwrap();
        assert_eq!(agent.next(), Seen::Pong(1));
    });
}

#[test]
fn an_idle_connection_is_kept_alive() {
    with_each(|agent| {
        let trid = agent.connected();
        agent.idle(SECOND * 3600);
        assert_eq!(agent.trid(), Some(trid), "PROTOCOL K-2");
        agent.ping(1).unwrap();
        assert_eq!(agent.next(), Seen::Pong(1));
    });
}

#[test]
fn a_silent_service_is_noticed() {
    with_each(|agent| {
        agent.connected();
        agent.world().0.borrow_mut().frozen = true;
        let begun = agent.world().now();
        assert_eq!(agent.dropped().cause(), &Cause::Silent, "PROTOCOL K-4");
        let took = agent.world().now().since(begun);
        assert!(took >= SECOND * 89 && took <= SECOND * 93, "{took:?}");
    });
}

#[test]
fn a_service_that_takes_nothing_is_noticed() {
    with_each(|agent| {
        agent.connected();
        let world = agent.world().clone();
        (world.0.borrow_mut().frozen, world.0.borrow_mut().room) = (true, 0);
        agent.ping(1).unwrap();
        let dropped = agent.dropped();
        assert_eq!(dropped.cause(), &Cause::Silent, "PROTOCOL K-4");
        assert_eq!(dropped.unconfirmed(), 1);
    });
}

#[test]
fn the_reason_of_the_service_arrives() {
    with_each(|agent| {
        agent.connected();
        let notice = Notice::new(Code::Disconnected).with_text("go home");
        agent.world().service(|conn| conn.disconnect(notice.clone()));
        assert_eq!(agent.dropped().cause(), &Cause::PeerError(notice), "PROTOCOL E-3");
    });
}

#[test]
fn the_reason_of_the_client_arrives() {
    with_each(|agent| {
        agent.connected();
        agent.note("last words").unwrap();
        agent.disconnect("battery low");
        assert_eq!(code(agent.dropped().cause()), Some(Code::Disconnected));
        let notice = Notice::new(Code::Disconnected).with_text("battery low");
        let log = agent.world().log();
        let last = [Log::Note("last words".into()), Log::Dropped(Cause::PeerError(notice))];
        assert_eq!(log[1..], last, "PROTOCOL E-3");
    });
}

#[test]
fn a_reason_is_read_though_nothing_can_be_written() {
    with_each(|agent| {
        agent.connected();
        let notice = Notice::new(Code::Shutdown).with_text("no more");
        let world = agent.world().clone();
        world.service(|conn| conn.disconnect(notice.clone()));
        world.turn(None, None);
        world.0.borrow_mut().writes_fail = true;
        agent.ping(1).unwrap();
        let dropped = agent.dropped();
        assert_eq!(dropped.cause(), &Cause::PeerError(notice), "PROTOCOL E-5");
    });
}

#[test]
fn a_broken_stream_is_lost() {
    with_each(|agent| {
        agent.connected();
        agent.world().0.borrow_mut().writes_fail = true;
        agent.ping(1).unwrap();
        let dropped = agent.dropped();
        assert_eq!(dropped.cause(), &Cause::Lost);
        assert_eq!(dropped.error(), Some(embedded_io::ErrorKind::BrokenPipe));
    });
}

#[test]
fn refusals() {
    with_each(|agent| {
        let busy = Notice::new(Code::Busy).with_retry(RetryAfter::new(SECOND * 20, SECOND));
        agent.world().0.borrow_mut().refuse = Some(busy.clone());
        assert!(agent.dial());
        let dropped = agent.dropped();
        assert_eq!(dropped.cause(), &Cause::Refused(busy));
        let Retry::At(when) = dropped.retry() else {
            panic!("not permanent")
        };
        let wait = when.since(agent.world().now());
        assert!(wait >= SECOND * 20 && wait <= SECOND * 21, "PROTOCOL R-3");
        agent.world().0.borrow_mut().refuse = Some(Notice::new(Code::NotAdmitted));
        assert!(agent.dial());
        let slowly = agent.dropped().retry();
        let minutes = agent.world().now().after(SECOND * 120);
        assert!(
            matches!(slowly, Retry::At(when) if when <= minutes),
            "PROTOCOL R-4: {slowly:?}"
        );
        agent.world().0.borrow_mut().refuse = Some(Notice::new(Code::NotAdmitted).permanently());
        assert!(agent.dial());
        assert_eq!(agent.dropped().retry(), Retry::Never, "PROTOCOL R-4");
    });
}

#[test]
fn a_service_that_goes_away() {
    with_each(|agent| {
        agent.connected();
        agent.note("on its way").unwrap();
        let notice = Notice::new(Code::Shutdown);
        let now = agent.world().now();
        agent
            .world()
            .service(|conn| conn.go_away(now, notice.clone(), SECOND * 5))
            .unwrap();
        assert_eq!(agent.next(), Seen::GoingAway(Code::Shutdown));
        assert_eq!(agent.ping(1), Err(SendError::GoingAway));
        assert_eq!(agent.dropped().cause(), &Cause::WentAway(notice), "PROTOCOL G-2");
        assert!(agent.world().log().contains(&Log::Note("on its way".into())));
    });
}

#[test]
fn a_client_that_goes_away() {
    with_each(|agent| {
        agent.connected();
        agent.ping(1).unwrap();
        agent.close(SECOND * 5);
        assert_eq!(agent.next(), Seen::Pong(1), "PROTOCOL G-1");
        assert_eq!(code(agent.dropped().cause()), Some(Code::Done));
        assert!(matches!(&agent.world().log()[2], Log::GoingAway(notice) if notice.code() == Code::Done));
    });
}

#[test]
fn no_room_is_said_and_nothing_is_lost() {
    with_each(|agent| {
        agent.connected();
        let text = "x".repeat(100);
        agent.world().0.borrow_mut().room = 0;
        let mut notes = 0;
        while agent.note(&text).is_ok() {
            notes += 1;
        }
        assert_eq!(agent.note(&text), Err(SendError::Full(Bound::Output)));
        agent.world().0.borrow_mut().room = usize::MAX;
        let mut sent = 0;
        while sent < 40 {
            match agent.ping(sent) {
                Ok(()) => sent += 1,
                Err(SendError::Full(_)) => agent.take_pongs(),
                Err(other) => panic!("{other}"),
            }
        }
        agent.take_pongs();
        let pings = agent.world().log().into_iter().filter_map(|entry| match entry {
            Log::Ping(id) => Some(id),
            _ => None,
        });
        assert!(pings.eq(0..40), "PROTOCOL M-3");
        let log = agent.world().log();
        assert_eq!(log.iter().filter(|entry| matches!(entry, Log::Note(_))).count(), notes);
    });
}

#[test]
fn what_has_no_handler_ends_the_connection() {
    let cases = [
        (Treat::Drop, Code::NoHandler, ""),
        (Treat::Forget, Code::NoHandler, ""),
        (Treat::Reject, Code::HandlerFailed, "I will not"),
        (Treat::Fail, Code::HandlerFailed, "I cannot"),
        (Treat::Err, Code::TooLong, ""),
        (Treat::Mistake, Code::NoHandler, ""),
    ];
    for (treat, expected, text) in cases {
        with_each(|agent| {
            agent.connected();
            agent.treat(treat);
            agent.world().push("for nobody");
            assert_eq!(agent.next(), Seen::Refused);
            assert_eq!(code(agent.dropped().cause()), Some(expected), "PROTOCOL M-4");
            let log = agent.world().log();
            let Log::Dropped(Cause::PeerError(notice)) = &log[1] else {
                panic!("{log:?}")
            };
            assert_eq!(notice.code(), expected, "{treat:?}");
            assert_eq!(notice.text(), text, "{treat:?}");
            assert_eq!(notice.message(), Some(NOTE), "{treat:?}: which one");
        });
    }
}

#[test]
fn what_makes_no_sense_ends_the_connection() {
    with_each(|agent| {
        agent.connected();
        agent.world().0.borrow_mut().to_client.extend([0x00, 0x00, 0x00]);
        assert_eq!(
            code(agent.dropped().cause()),
            Some(Code::FrameMalformed),
            "PROTOCOL F-2"
        );
        assert!(agent.dial());
        agent
            .world()
            .0
            .borrow_mut()
            .to_client
            .extend(*b"HTTP/1.1 400 Bad Request\r\n");
        // A gateway may say so for as long as the service is away.
        let retry = agent.dropped().retry();
        assert!(matches!(retry, Retry::At(_)), "PROTOCOL P-2, R-4: {retry:?}");
    });
}

#[test]
fn a_service_out_of_reach_is_tried_later_and_later() {
    with_each(|agent| {
        let mut longest = core::time::Duration::ZERO;
        for _ in 0..20 {
            let Retry::At(when) = agent.unreachable() else {
                panic!("not permanent")
            };
            longest = longest.max(when.since(agent.world().now()));
        }
        assert!(longest > SECOND * 10 && longest <= SECOND * 60, "PROTOCOL R-1");
    });
}

#[test]
fn what_cannot_work_is_found_at_once() {
    type Polled<'b> = Client<'b, Demo, TrustedLine<Stream>>;
    let config = Config::new(Identity::from_bytes([0; 16]), 0);
    let mut small: Buffers<515> = Buffers::new();
    assert_eq!(
        Polled::blocking(Demo, config, &mut small).err(),
        Some(SetupError::FrameStorage)
    );
    let mut none: Buffers<516, 768, 0> = Buffers::new();
    assert_eq!(Polled::blocking(Demo, config, &mut none).err(), Some(SetupError::Input));
    let mut usual: Buffers = Buffers::new();
    let long = "x".repeat(900);
    let args = [("long", Arg::Text(&long))];
    for bad in [
        Config { args: &args, ..config },
        Config {
            limits: Limits::CHIP.with_credit(1, 1),
            ..config
        },
    ] {
        assert!(matches!(
            Polled::blocking(Demo, bad, &mut usual).err(),
            Some(SetupError::Misuse(_))
        ));
    }
    let mut short: Buffers<516, 700> = Buffers::new();
    assert!(Polled::blocking(Demo, config, &mut short).is_err());
}

#[test]
fn the_future_is_small() {
    let world = World::new(1);
    let mut buffers: Buffers = Buffers::new();
    let config = Config::new(IDENTITY, 7);
    let mut client: Client<'_, Demo, TrustedLine<Stream>, _> =
        Client::new(Demo, config, world.clone(), &mut buffers).unwrap();
    let next = size_of_val(&client.next());
    let connect = size_of_val(&client.connect(TrustedLine::new(world.dial())));
    println!("next takes {next} bytes, connect {connect}");
    assert!(next <= 400 && connect <= 400, "{next} {connect}");
}

trait Through {
    fn take_pongs(&mut self);
}

impl Through for dyn Agent + '_ {
    /// Until no answer has come for a while.
    fn take_pongs(&mut self) {
        loop {
            let end = self.world().now().after(SECOND);
            match self.next_until(Some(end)) {
                Some(Seen::Pong(_)) => {}
                None => return,
                other => panic!("{other:?}"),
            }
        }
    }
}
