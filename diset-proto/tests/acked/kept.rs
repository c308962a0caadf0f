//! A chip whose memory outlives it: session, replay store and inbox are in buffers that a battery keeps.

use diset_proto::store::{FixedReplay, Replay, StoredInbox};
use diset_proto::{
    ClientConfig, Connection, Deframer, Event, Identity, Limits, Outcome, Resumption, ServiceDef, Session,
};

use super::support::*;

type Buffer = FixedReplay<[u8; 256]>;
type Memory = Session<Buffer, StoredInbox<Buffer>>;

const fn memory() -> Memory {
    Session::new(FixedReplay::new([0; 256]), StoredInbox::new(FixedReplay::new([0; 256])))
}

struct Chip {
    conn: Connection<[u8; 2048], Memory>,
    rx: Deframer<[u8; 2048]>,
}

impl Chip {
    /// Connects with what it remembers; how it found its session, and how many messages came at once.
    fn meet(memory: Memory, kept: &mut Option<Box<State>>, trid: u64) -> (Self, End, Resumption, usize) {
        let config = ClientConfig {
            catalog: Meter::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Limits::CHIP,
            args: &[],
        };
        let mut chip = Self {
            conn: Connection::client_in_session(at(0), &config, [0; 2048], memory).unwrap(),
            rx: Deframer::new([0; 2048]),
        };
        let mut service = service();
        service.take(&chip.bytes());
        let resumption = admit(&mut service, kept, trid, true);
        let (came, _) = chip.take(&service.bytes());
        (chip, service, resumption, came)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let bytes = self.conn.transmit().to_vec();
        self.conn.transmitted(bytes.len());
        bytes
    }

    /// How many messages came, none of which is handled yet; and whether the connection ended.
    fn take(&mut self, mut bytes: &[u8]) -> (usize, bool) {
        let (mut came, mut ended) = (0, false);
        while let Some(frame) = self.rx.next(&mut bytes, self.conn.max_frame()) {
            match self.conn.handle_frame(at(0), frame) {
                Some(Event::Message(message)) => {
                    drop(self.conn.keep(message));
                    came += 1;
                }
                Some(Event::Dropped(_)) => ended = true,
                _ => {}
            }
        }
        (came, ended)
    }

    /// The acknowledgements that are due.
    fn acks(&mut self) -> Vec<u8> {
        assert!(self.conn.handle_time(at(0)).is_none() && self.conn.handle_time(at(20)).is_none());
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
    assert_eq!(chip.take(&service.bytes()), (2, false));
    // It says that it has them, and the service forgets them.
    service.take(&chip.acks());
    assert!(service.state().replay().is_empty(), "PROTOCOL Q-4");
    assert_eq!(service.conn.delivered().received, 2);
    // The power fails; this is what the battery keeps.
    let before = chip.conn.session().unwrap();
    let (record, stores) = (before.record(), (before.replay().clone(), before.inbox().clone()));
    drop(chip);
    kept = service.conn.into_session();
    let mut restored = Session::restore(&record, stores.0, stores.1).unwrap();
    assert_eq!(waiting(&restored), [1, 2]);
    let payload = restored.inbox().waiting().nth(1).unwrap().message.payload.to_vec();
    assert_eq!(payload, [20]);
    // One is handled before it connects, the other one while it is connected.
    assert!(restored.begin(1));
    restored.settle(1, Outcome::Ok);
    let (mut chip, mut service, resumption, came) = Chip::meet(restored, &mut kept, 2);
    assert_eq!(came, 0);
    assert!(matches!(resumption, Resumption::Resumed { .. }), "{resumption:?}");
    service.take(&chip.bytes());
    assert_eq!(service.conn.delivered().processed, 1);
    assert_eq!(waiting(chip.conn.session().unwrap()), [2]);
    assert!(chip.conn.begin(2));
    chip.conn.session_mut().unwrap().settle(2, Outcome::Ok);
    service.take(&chip.acks());
    assert_eq!(service.conn.delivered().processed, 2, "PROTOCOL Q-5");
    // Nothing comes twice, and what is new comes.
    assert_eq!(service.send(30), 3);
    assert_eq!(chip.take(&service.bytes()), (1, false));
    assert_eq!(waiting(chip.conn.session().unwrap()), [3]);
}

#[test]
fn a_buffer_that_is_full_takes_no_more_and_loses_nothing() {
    let mut kept = None;
    let (mut chip, mut service, ..) = Chip::meet(memory(), &mut kept, 1);
    for value in 0..20 {
        service.send(value);
    }
    let (_, ended) = chip.take(&service.bytes());
    assert!(ended, "PROTOCOL Q-5");
    let mut restored = chip.conn.into_session();
    let taken = waiting(&restored);
    let last = *taken.last().unwrap();
    assert!(last < 20 && taken == (1..=last).collect::<Vec<_>>(), "{taken:?}");
    // The rest comes when there is room.
    kept = service.conn.into_session();
    for number in taken {
        assert!(restored.begin(number));
        restored.settle(number, Outcome::Ok);
    }
    let (chip, service, _, came) = Chip::meet(restored, &mut kept, 2);
    assert!(came > 0);
    assert_eq!(service.conn.delivered().processed, last);
    assert_eq!(waiting(chip.conn.session().unwrap())[0], last + 1);
}
