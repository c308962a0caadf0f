//! A chip whose memory outlives it: session, replay store and inbox are in buffers that a battery keeps.

use diset_proto::drive::{Event, FixedQueue, Parts, Rx, Tx};
use diset_proto::sim::Later;
use diset_proto::store::{FixedReplay, Replay, StoredInbox};
use diset_proto::{Limits, Outcome, Resumption, Session};

use super::support::*;

type Buffer = FixedReplay<[u8; 256]>;
type Memory = Session<Buffer, StoredInbox<Buffer>>;

const fn memory() -> Memory {
    Session::new(FixedReplay::new([0; 256]), StoredInbox::new(FixedReplay::new([0; 256])))
}

struct Made;

impl Parts for Made {
    type Buffer = [u8; 2048];
    type Session = Memory;
    type Queue = FixedQueue<[u8; 2048]>;
    type Running = Later;
}

struct Chip {
    rx: Rx<Made>,
    tx: Tx<Made>,
    later: Later,
}

impl Chip {
    /// Connects with what it remembers; how it found its session, and how many messages came to a handler at once.
    fn meet(memory: Memory, kept: &mut Option<Box<State>>, trid: u64) -> (Self, End, Resumption, usize) {
        let mut chip = Self {
            rx: Rx::new([0; 2048], FixedQueue::new([0; 2048])),
            tx: Tx::new([0; 2048], memory),
            later: Later::default(),
        };
        let connecting = chip.rx.connect(at(0), &mut chip.tx, &config(Limits::CHIP));
        connecting.unwrap();
        let mut service = service();
        service.take(&chip.bytes());
        let resumption = admit(&mut service, kept, trid, true);
        let came = chip.take(&service.bytes());
        (chip, service, resumption, came)
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.rx.turn(at(0), &mut self.tx);
        let bytes = self.tx.output().to_vec();
        self.tx.wrote(bytes.len());
        bytes
    }

    /// How many messages came to a handler, which waits.
    fn take(&mut self, mut bytes: &[u8]) -> usize {
        let mut came = 0;
        while let Some(event) = self.rx.next(at(0), &mut self.tx, &mut bytes) {
            if let Event::Message(lent) = event {
                handle(lent, Handler::Waits, &self.later).unwrap();
                came += 1;
            }
        }
        came
    }

    fn memory(&self) -> &Memory {
        self.tx.connection().session().unwrap()
    }

    /// The acknowledgements that are due.
    fn acks(&mut self) -> Vec<u8> {
        for millis in [0, 20] {
            self.rx.turn(at(millis), &mut self.tx);
        }
        self.bytes()
    }
}

fn waiting(memory: &Memory) -> Vec<u64> {
    let numbers = memory.inbox().waiting().map(|waiting| waiting.message.number);
    numbers.collect()
}

#[test]
fn what_a_buffer_has_received_is_handled_after_a_restart() {
    let mut kept = None;
    let (mut chip, mut service, ..) = Chip::meet(memory(), &mut kept, 1);
    assert_eq!((service.send(10), service.send(20)), (1, 2));
    assert_eq!(chip.take(&service.bytes()), 1, "the other one waits");
    // It says that it has them, and the service forgets them.
    service.take(&chip.acks());
    assert!(service.state().replay().is_empty(), "PROTOCOL Q-4");
    assert_eq!(service.conn().delivered().received, 2);
    // The power fails; this is what the battery keeps.
    let before = chip.memory();
    let (record, stores) = (before.record(), (before.replay().clone(), before.inbox().clone()));
    drop(chip);
    kept = service.into_session();
    let mut restored = Session::restore(&record, stores.0, stores.1).unwrap();
    assert_eq!(waiting(&restored), [1, 2]);
    let payload = restored.inbox().waiting().nth(1).unwrap().message.payload.to_vec();
    assert_eq!(payload, [20]);
    // One is handled before it connects, the other one while it is connected.
    assert!(restored.begin(1));
    restored.settle(1, Outcome::Ok);
    let (mut chip, mut service, resumption, came) = Chip::meet(restored, &mut kept, 2);
    assert_eq!(came, 1, "what it has is handled before anything that comes");
    assert!(matches!(resumption, Resumption::Resumed { .. }), "{resumption:?}");
    service.take(&chip.bytes());
    assert_eq!(service.conn().delivered().processed, 1);
    assert_eq!(waiting(chip.memory()), [2]);
    say(&mut chip.rx, &chip.later, Ok(()));
    service.take(&chip.acks());
    assert_eq!(service.conn().delivered().processed, 2, "PROTOCOL Q-5");
    // Nothing comes twice, and what is new comes.
    assert_eq!(service.send(30), 3);
    assert_eq!(chip.take(&service.bytes()), 1);
    assert_eq!(waiting(chip.memory()), [3]);
}

#[test]
fn a_buffer_that_is_full_takes_no_more_and_loses_nothing() {
    let mut kept = None;
    let (mut chip, mut service, ..) = Chip::meet(memory(), &mut kept, 1);
    for value in 0..20 {
        service.send(value);
    }
    chip.take(&service.bytes());
    assert!(chip.tx.is_stopped(), "PROTOCOL Q-5");
    let mut restored = chip.memory().clone();
    let taken = waiting(&restored);
    let last = *taken.last().unwrap();
    assert!(last < 20 && taken == (1..=last).collect::<Vec<_>>(), "{taken:?}");
    // The rest comes when there is room.
    kept = service.into_session();
    for number in taken {
        assert!(restored.begin(number));
        restored.settle(number, Outcome::Ok);
    }
    let (chip, service, _, came) = Chip::meet(restored, &mut kept, 2);
    assert!(came > 0);
    assert_eq!(service.conn().delivered().processed, last);
    assert_eq!(waiting(chip.memory())[0], last + 1);
}
