//! An output that cannot grow for a while: nothing is lost, and nothing is said to be too long.

use core::cell::Cell;
use core::time::Duration;
use std::rc::Rc;

use diset_proto::drive::{Event, HeapQueue, Io, Parts, Rx, Tx};
use diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_proto::{
    Admission, Bound, ClientConfig, GrowBuf, Identity, Instant, Limits, MessageOf, NewReason, Schema, SendError,
    ServiceDef, Session, Storage, Token, Trid, define_service,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Reading {
    value: u8,
    text: String,
}
define_service! { Meter = "Test/Meter"; both: [Reading] }
const READING: u8 = <Reading as MessageOf<Meter>>::NUMBER;

/// Grows as its owner can give memory, which it asks for a bound of 1000 bytes.
struct Scarce {
    bytes: GrowBuf,
    short: Rc<Cell<bool>>,
}

const BOUND: usize = 1000;

impl Storage for Scarce {
    fn bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.bytes_mut()
    }

    fn grow(&mut self, min: usize) -> bool {
        min <= self.bytes.bytes().len() || (!self.short.get() && self.bytes.grow(min))
    }

    fn bound(&self) -> usize {
        self.bytes.bound()
    }

    fn release(&mut self) {
        self.bytes.release();
    }
}

struct Test;

impl Parts for Test {
    type Buffer = Scarce;
    type Session = Option<Box<Session<HeapReplay, Volatile>>>;
    type Queue = HeapQueue;
    type Running = ();
}

struct Side {
    rx: Rx<Test>,
    tx: Tx<Test>,
    short: Rc<Cell<bool>>,
    got: Vec<u8>,
}

fn session() -> Box<Session<HeapReplay, Volatile>> {
    Box::new(Session::new(HeapReplay::new(100, 10_000), Volatile))
}

impl Side {
    fn new(session: Option<Box<Session<HeapReplay, Volatile>>>) -> Self {
        let short = Rc::new(Cell::new(false));
        let buffer = |size| Scarce {
            bytes: GrowBuf::new(size),
            short: Rc::clone(&short),
        };
        Self {
            rx: Rx::new(
                Scarce {
                    bytes: GrowBuf::new(70_000),
                    short: Rc::default(),
                },
                HeapQueue::new(GrowBuf::new(100_000)),
            ),
            tx: Tx::new(buffer(BOUND), session),
            short: Rc::clone(&short),
            got: Vec::new(),
        }
    }

    /// All that leaves at this time, and when the next turn must come.
    fn take(&mut self, now: Instant) -> (Vec<u8>, Option<Instant>) {
        let turn = self.rx.turn(now, &mut self.tx);
        assert_eq!(turn.io, Io::Run);
        let bytes = self.tx.output().to_vec();
        self.tx.wrote(bytes.len());
        (bytes, turn.wake)
    }

    fn feed(&mut self, now: Instant, mut input: &[u8]) {
        while let Some(event) = self.rx.next(now, &mut self.tx, &mut input) {
            match event {
                Event::Proposed(_) => {
                    let request = self.tx.connection().resume_request().unwrap().clone();
                    let mut session = session();
                    let token = Token::from_bytes([1; 16]);
                    session.begin_with(&request, Trid::new(1), NewReason::First, Some(token));
                    let admission = Admission::new(Trid::new(1));
                    let admitted = self.rx.admit_in_session(now, &mut self.tx, admission, Some(session));
                    assert!(admitted.is_ok());
                }
                Event::Message(lent) => lent.run(|reading: Reading| {
                    self.got.push(reading.value);
                    Ok(())
                }),
                Event::Ended(ended) => panic!("{ended:?}"),
                _ => {}
            }
        }
    }

    fn send(&mut self, value: u8, length: usize) -> Result<(), SendError> {
        let text = "x".repeat(length);
        self.tx.send(READING, &Reading { value, text })
    }

    fn send_acked(&mut self, value: u8, length: usize) -> Result<u64, SendError> {
        let text = "x".repeat(length);
        self.tx.send_acked(READING, &Reading { value, text }, Unsure::Resend)
    }
}

const NOW: Instant = Instant::from_millis(1000);

/// A client and a service that know each other.
fn pair() -> (Side, Side) {
    let (mut client, mut service) = (Side::new(Some(session())), Side::new(None));
    service
        .rx
        .listen(NOW, &mut service.tx, Meter::CATALOG, Limits::SERVER)
        .unwrap();
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    client.rx.connect(NOW, &mut client.tx, &config).unwrap();
    for _ in 0..3 {
        let (bytes, _) = client.take(NOW);
        service.feed(NOW, &bytes);
        let (bytes, _) = service.take(NOW);
        client.feed(NOW, &bytes);
    }
    assert!(client.tx.connection().trid().is_some());
    (client, service)
}

/// Everything that is due, also what takes time, until neither side has more to say.
fn settle(now: &mut Instant, client: &mut Side, service: &mut Side) {
    for _ in 0..20 {
        *now = now.after(Duration::from_millis(100));
        let (bytes, _) = client.take(*now);
        service.feed(*now, &bytes);
        let (bytes, _) = service.take(*now);
        client.feed(*now, &bytes);
    }
}

#[test]
fn what_finds_no_memory_is_not_too_long_and_leaves_when_there_is_some() {
    let (mut client, mut service) = pair();
    client.short.set(true);
    assert_eq!(client.send(1, 10), Err(SendError::Full(Bound::Memory)));
    assert_eq!(client.send(1, BOUND), Err(SendError::TooLong), "nor ever");
    assert_eq!(client.send_acked(2, 200), Ok(1), "the session has room for it");
    assert_eq!(client.send(3, 10), Err(SendError::Full(Bound::Memory)), "PROTOCOL Q-7");
    let (bytes, wake) = client.take(NOW);
    assert!(bytes.is_empty());
    assert!(
        wake.is_some_and(|wake| NOW < wake && wake <= NOW.after(Duration::from_millis(100))),
        "it is tried again soon, not at once: {wake:?}"
    );
    assert_eq!(client.tx.take_outcome(), None, "it was not sent, and is not given up");
    client.short.set(false);
    assert_eq!(client.send(3, 10), Ok(()));
    let mut now = NOW;
    settle(&mut now, &mut client, &mut service);
    assert_eq!(service.got, [2, 3]);
    assert_eq!(client.tx.connection().session().unwrap().delivered().processed, 1);
    assert_eq!(client.tx.take_outcome(), None);
}

proptest! {
    /// Memory comes and goes on both sides: all that was taken arrives, in order, and the link lives.
    #[test]
    fn memory_that_comes_and_goes_loses_nothing(steps in prop::collection::vec((any::<u8>(), 0usize..300), 1..60)) {
        let (mut client, mut service) = pair();
        let mut now = NOW;
        let mut taken = [Vec::new(), Vec::new()];
        for (value, (what, length)) in (0..).zip(steps) {
            let [to_service, to_client] = &mut taken;
            client.short.set(what & 1 != 0);
            service.short.set(what & 2 != 0);
            let (from, taken) = if what & 4 != 0 { (&mut client, to_service) } else { (&mut service, to_client) };
            let sent = if what & 8 != 0 { from.send_acked(value, length).map(|_| ()) } else { from.send(value, length) };
            match sent {
                Ok(()) => taken.push(value),
                Err(error) => prop_assert!(matches!(error, SendError::Full(_)), "{}", error),
            }
            if what & 16 != 0 {
                now = now.after(Duration::from_millis(10));
                let (bytes, _) = client.take(now);
                service.feed(now, &bytes);
                let (bytes, _) = service.take(now);
                client.feed(now, &bytes);
            }
        }
        client.short.set(false);
        service.short.set(false);
        settle(&mut now, &mut client, &mut service);
        prop_assert_eq!([service.got, client.got], taken);
    }
}
