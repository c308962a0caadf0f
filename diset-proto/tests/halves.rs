//! The halves of two peers with nothing between them: what becomes of messages that wait, and of a link that ends.

mod across;

use core::marker::PhantomData;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use diset_proto::drive::{Ended, Event, Failure, HandlerResult, HeapQueue, Io, Parts, Running, Rx, Tx};
use diset_proto::store::{HeapReplay, Inbox, StoredInbox, Unsure, Volatile};
use diset_proto::{
    Admission, Cause, ClientConfig, Code, GrowBuf, Identity, Instant, Limits, MessageOf, NewReason, Notice, Schema,
    ServiceDef, Session, Token, Trid, define_service,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Reading {
    value: u8,
}
define_service! { Meter = "Test/Meter"; both: [Reading] }
const READING: u8 = <Reading as MessageOf<Meter>>::NUMBER;

type Memory<I> = Session<HeapReplay, I>;
type Durable = StoredInbox<HeapReplay>;

/// What the halves are made of, with an inbox of this type.
struct Test<I>(PhantomData<I>);

impl<I: Inbox> Parts for Test<I> {
    type Buffer = GrowBuf;
    type Session = Option<Box<Memory<I>>>;
    type Queue = HeapQueue;
    type Running = Later;
}

/// A handler that waits until it is told what it comes to.
#[derive(Default)]
struct Later(Option<HandlerResult>);

thread_local! {
    /// What the handler of the test comes to that waits.
    static SAID: core::cell::Cell<Option<HandlerResult>> = const { core::cell::Cell::new(None) };
}

impl Running for Later {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        SAID.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(self.0.take().unwrap_or(Err(Failure::ABANDONED)))
    }
}

/// What is done with the next messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Done,
    Waits,
    Retries,
}

struct Side<I: Inbox = Volatile> {
    rx: Rx<Test<I>>,
    tx: Tx<Test<I>>,
    now: Instant,
    handler: Handler,
    /// What was handled, or has begun.
    got: Vec<u8>,
    attempts: Vec<u32>,
    ended: Vec<Ended>,
    /// What was told of links, and what was handled, in order.
    told: Vec<String>,
    /// Whether there are callbacks.
    calls: bool,
    /// Service: the session of the client.
    kept: Option<Box<Memory<I>>>,
    trid: u64,
    inbox: fn() -> I,
}

fn memory<I: Inbox>(inbox: I) -> Box<Memory<I>> {
    Box::new(Session::new(HeapReplay::new(100, 10_000), inbox))
}

impl<I: Inbox> Side<I> {
    fn new(session: Option<Box<Memory<I>>>, inbox: fn() -> I) -> Self {
        Self {
            rx: Rx::new(GrowBuf::new(70_000), HeapQueue::new(GrowBuf::new(100_000))),
            tx: Tx::new(GrowBuf::new(100_000), session),
            now: Instant::from_millis(1000),
            handler: Handler::Done,
            got: Vec::new(),
            attempts: Vec::new(),
            ended: Vec::new(),
            told: Vec::new(),
            calls: false,
            kept: None,
            trid: 0,
            inbox,
        }
    }

    /// All that leaves now.
    fn take(&mut self) -> Vec<u8> {
        self.rx.turn(self.now, &mut self.tx);
        let bytes = self.tx.output().to_vec();
        self.tx.wrote(bytes.len());
        bytes
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        while let Some(event) = self.rx.next(self.now, &mut self.tx, &mut input) {
            match event {
                Event::Proposed(_) => self.admit(),
                Event::Message(lent) => {
                    self.attempts.push(lent.attempts());
                    let carried = if lent.is_carried() { " carried" } else { "" };
                    let marked = if lent.meta().maybe_repeated() { " marked" } else { "" };
                    let (reading, handling) = lent.decode::<Reading>().unwrap();
                    self.got.push(reading.value);
                    self.told.push(format!("{}{carried}{marked}", reading.value));
                    match self.handler {
                        Handler::Done => handling.done(Ok(())),
                        Handler::Waits => handling.start(&mut Context::from_waker(Waker::noop()), |_| {}),
                        Handler::Retries => handling.done(Err(Failure::retry_in(Duration::from_secs(1)))),
                    }
                }
                Event::Connected(opened) => {
                    self.told.push(format!("connected {}", opened.trid().number()));
                    self.call();
                }
                Event::Ended(ended) => {
                    let trid = ended.trid().map_or(0, Trid::number);
                    self.told.push(format!("ended {trid}"));
                    self.ended.push(ended);
                    self.call();
                }
                _ => {}
            }
        }
    }

    /// The callback for what was told, if there is one: it waits.
    fn call(&mut self) {
        if self.calls {
            self.rx.callback(&mut Context::from_waker(Waker::noop()), |_| {});
        }
    }

    fn admit(&mut self) {
        self.trid += 1;
        let trid = Trid::new(self.trid);
        let token = Token::from_bytes([self.trid as u8; 16]);
        let request = self.tx.connection().resume_request().unwrap().clone();
        let session = match self.kept.take() {
            Some(mut session) => {
                session.welcome(&request, trid, true, token).unwrap();
                session
            }
            None => {
                let mut session = memory((self.inbox)());
                session.begin_with(&request, trid, NewReason::First, Some(token));
                session
            }
        };
        let admitted = self
            .rx
            .admit_in_session(self.now, &mut self.tx, Admission::new(trid), Some(session));
        assert!(admitted.is_ok());
    }

    /// The handler that waits comes to this.
    fn handled(&mut self, result: HandlerResult) {
        SAID.set(Some(result));
        assert!(self.rx.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        self.feed(&[]);
    }

    fn send(&mut self, value: u8) {
        self.tx.send(READING, &Reading { value }).unwrap();
    }

    fn send_acked(&mut self, value: u8) {
        let reading = Reading { value };
        self.tx.send_acked(READING, &reading, Unsure::Report).unwrap();
    }

    fn lose(&mut self) {
        self.rx.ended(self.now, &mut self.tx);
        self.feed(&[]);
    }
}

/// Bytes go to and fro until nothing leaves; how many did.
fn settle<I: Inbox>(client: &mut Side, service: &mut Side<I>) -> usize {
    let mut all = 0;
    for _ in 0..20 {
        let up = client.take();
        service.feed(&up);
        let down = service.take();
        client.feed(&down);
        all += up.len() + down.len();
        if up.is_empty() && down.is_empty() {
            return all;
        }
    }
    panic!("it never comes to rest");
}

const CONFIG: ClientConfig<'_> = ClientConfig {
    catalog: Meter::CATALOG,
    identity: Identity::from_bytes([1; 16]),
    limits: Limits::SERVER,
    args: &[],
};

/// Another link of these two.
fn connect<I: Inbox>(client: &mut Side, service: &mut Side<I>) {
    client.rx.connect(client.now, &mut client.tx, &CONFIG).unwrap();
    let session = service.tx.take_session();
    service.kept = session.or_else(|| service.kept.take());
    let listening = service
        .rx
        .listen(service.now, &mut service.tx, Meter::CATALOG, Limits::SERVER);
    listening.unwrap();
    settle(client, service);
    assert!(client.tx.connection().trid().is_some());
}

fn connected() -> (Side, Side) {
    connected_to(|| Volatile)
}

/// A client, and a service whose sessions have this inbox.
fn connected_to<I: Inbox>(inbox: fn() -> I) -> (Side, Side<I>) {
    let client = Side::new(Some(memory(Volatile)), || Volatile);
    let (mut client, mut service) = (client, Side::new(None, inbox));
    connect(&mut client, &mut service);
    (client, service)
}

#[test]
fn what_comes_while_a_handler_waits_is_handled_after_it_in_order() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    client.send(1);
    client.send_acked(2);
    client.send(3);
    settle(&mut client, &mut service);
    assert_eq!(service.got, [1], "one at a time");
    // Control frames are dealt with meanwhile: the peer asks whether this side lives.
    client.now = client.now.after(Duration::from_secs(45));
    assert!(settle(&mut client, &mut service) > 0);
    for (count, handled) in [(2, &[1, 2][..]), (3, &[1, 2, 3])] {
        service.handled(Ok(()));
        assert_eq!(service.got, handled, "{count}");
    }
    service.handled(Ok(()));
    settle(&mut client, &mut service);
    service.now = service.now.after(Duration::from_secs(1));
    settle(&mut client, &mut service);
    assert_eq!(client.tx.connection().delivered().processed, 1);
    assert!(client.ended.is_empty() && service.ended.is_empty());
}

#[test]
fn a_message_that_is_wanted_again_comes_again_and_all_behind_it_waits() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Retries;
    client.send_acked(1);
    client.send_acked(2);
    client.send(3);
    settle(&mut client, &mut service);
    assert_eq!(service.got, [1]);
    let turn = service.rx.turn(service.now, &mut service.tx);
    let again = service.now.after(Duration::from_secs(1));
    assert!(turn.wake.is_some_and(|wake| wake <= again));
    service.feed(&[]);
    assert_eq!(service.got, [1], "not before its time");
    service.now = again;
    service.feed(&[]);
    service.handler = Handler::Done;
    service.now = service.now.after(Duration::from_secs(1));
    service.feed(&[]);
    assert_eq!(
        (&service.got[..], &service.attempts[..]),
        (&[1, 1, 1, 2, 3][..], &[0, 1, 2, 0, 0][..])
    );
}

/// PROTOCOL Q-4: a message that asked for another attempt counts as one that has not begun.
#[test]
fn a_message_that_is_wanted_again_survives_the_end_of_its_link() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Retries;
    client.send_acked(1);
    client.send_acked(2);
    settle(&mut client, &mut service);
    client.lose();
    service.lose();
    assert_eq!(service.ended.len(), 1);
    service.handler = Handler::Done;
    connect(&mut client, &mut service);
    settle(&mut client, &mut service);
    assert_eq!(service.got, [1, 1, 2]);
    service.now = service.now.after(Duration::from_secs(1));
    settle(&mut client, &mut service);
    assert_eq!(client.tx.connection().delivered().processed, 2);
    assert_eq!(client.tx.take_outcome(), None);
}

#[test]
fn plain_messages_that_came_before_the_peer_was_lost_are_handled_and_acked_ones_behind_come_again() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    client.send(1);
    client.send_acked(2);
    client.send(3);
    client.send_acked(4);
    settle(&mut client, &mut service);
    client.lose();
    service.lose();
    assert!(service.ended.is_empty(), "messages of the link wait");
    service.handler = Handler::Done;
    service.handled(Ok(()));
    assert_eq!(service.got, [1, 2, 3], "PROTOCOL M-3: acked ones on the way, too");
    assert_eq!((service.ended.len(), service.ended[0].unhandled()), (1, 0));
    connect(&mut client, &mut service);
    assert_eq!(service.got, [1, 2, 3, 4]);
}

#[test]
fn when_this_side_ends_the_link_nothing_begins_and_what_waits_is_counted() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    for value in 1..=3 {
        client.send(value);
    }
    settle(&mut client, &mut service);
    service.tx.disconnect(Notice::new(Code::Disconnected));
    assert!(service.tx.is_stopped());
    assert_eq!(service.rx.turn(service.now, &mut service.tx).io, Io::Run);
    service.handled(Ok(()));
    assert_eq!(service.got, [1]);
    assert_eq!(service.ended[0].unhandled(), 2);
    settle(&mut client, &mut service);
    assert!(matches!(client.ended[0].cause(), Cause::PeerError(_)));
    assert_eq!(service.rx.turn(service.now, &mut service.tx).io, Io::Finish);
}

#[test]
fn a_handler_whose_time_is_over_has_failed_and_the_next_link_may_begin() {
    let (mut client, mut service) = connected();
    service.handler = Handler::Waits;
    client.send_acked(1);
    client.send(2);
    settle(&mut client, &mut service);
    client.lose();
    service.lose();
    assert!(service.ended.is_empty());
    assert!(service.rx.expire().is_ready());
    service.feed(&[]);
    assert_eq!((service.ended.len(), service.ended[0].unhandled()), (1, 1));
    connect(&mut client, &mut service);
    assert_eq!(client.tx.take_outcome().map(|(number, _)| number), Some(1));
    assert_eq!(service.got, [1]);
}

/// PROTOCOL Q-6: what the peer was told to be received does not come again.
#[test]
fn what_a_durable_inbox_has_waits_for_the_next_link() {
    let durable = || Durable::new(HeapReplay::new(100, 10_000));
    let (mut client, mut service) = connected_to(durable);
    service.handler = Handler::Retries;
    client.send_acked(1);
    client.send_acked(2);
    settle(&mut client, &mut service);
    service.now = service.now.after(Duration::from_millis(20));
    settle(&mut client, &mut service);
    client.lose();
    service.lose();
    assert_eq!(service.ended.len(), 1);
    service.now = service.now.after(Duration::from_secs(5));
    service.feed(&[]);
    assert_eq!(service.got, [1], "no handler begins without a link");
    let turn = service.rx.turn(service.now, &mut service.tx);
    assert_eq!((turn.io, turn.wake), (Io::Over, None));
    service.handler = Handler::Done;
    connect(&mut client, &mut service);
    assert_eq!(
        (&service.got[..], &service.attempts[..]),
        (&[1, 1, 2][..], &[0, 1, 0][..])
    );
    service.now = service.now.after(Duration::from_secs(1));
    settle(&mut client, &mut service);
    assert_eq!(client.tx.connection().delivered().processed, 2);
    // They have cost this link nothing: what is granted again, with a keep-alive at the latest, is none of it (L-4).
    client.now = client.now.after(Duration::from_secs(45));
    settle(&mut client, &mut service);
    assert!(client.ended.len() == 1 && service.ended.len() == 1);
}

/// PROTOCOL K-4: any byte shows that the peer lives.
#[test]
fn a_part_of_a_frame_or_of_a_record_shows_that_the_peer_lives() {
    let (_, mut service) = connected();
    let later = |service: &mut Side, seconds| {
        service.now = service.now.after(Duration::from_secs(seconds));
        service.take();
        service.feed(&[]);
        service.ended.len()
    };
    assert_eq!(later(&mut service, 80), 0);
    service.feed(&[5]);
    assert_eq!(later(&mut service, 80), 0);
    service.rx.heard(service.now);
    assert_eq!(later(&mut service, 80), 0);
    assert_eq!(later(&mut service, 80), 1);
    assert_eq!(service.ended[0].cause(), &Cause::Silent);
}

/// PROTOCOL E-4: what comes after the end is read, and not for ever.
#[test]
fn lingering_ends_after_so_many_bytes() {
    let (mut client, mut service) = connected();
    service.tx.disconnect(Notice::new(Code::Disconnected));
    settle(&mut client, &mut service);
    assert_eq!(service.rx.turn(service.now, &mut service.tx).io, Io::Finish);
    let noise = [1, 0xc0].repeat(1000);
    let mut count = 0;
    while service.rx.turn(service.now, &mut service.tx).io != Io::Over {
        service.feed(&noise);
        count += noise.len();
        assert!(count < 2 * diset_proto::limits::LINGER_BYTES);
    }
    assert!(count > diset_proto::limits::LINGER_BYTES);
}

#[test]
fn a_link_begins_only_when_the_transport_of_the_one_before_is_over() {
    let (mut client, _) = connected();
    let again = |client: &mut Side| client.rx.connect(client.now, &mut client.tx, &CONFIG);
    assert!(again(&mut client).is_err());
    client.rx.ended(client.now, &mut client.tx);
    again(&mut client).unwrap();
    client.feed(&[]);
    assert_eq!(client.ended.len(), 1, "that it was over is told all the same");
}
