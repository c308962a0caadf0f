//! A client and a service with a session between them, and whatever may happen to their connections and processes:
//! each acked message is handled in order and once, and has one outcome, which is true.

mod side;
mod stores;
mod truth;

use core::time::Duration;

use diset_proto::drive::Failure;
use diset_proto::store::Replay;
use diset_proto::{
    ClientConfig, Code, Identity, Instant, Limits, MessageOf, Notice, Phase, Schema, ServiceDef, define_service,
};
use serde::{Deserialize, Serialize};

use self::side::{Side, Way};
use super::Bytes;
use super::call::Call;
use super::model::varint;

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Item {
    value: u32,
}
define_service! { Counted = "Test/Counted"; both: [Item] }

const ITEM: u8 = <Item as MessageOf<Counted>>::NUMBER;
const ROOM: usize = 1028;

impl Item {
    fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        varint(self.value.into(), &mut payload);
        payload
    }
}

/// Both, and whether there is to be another connection as soon as all is done with that came on the one before.
struct World {
    client: Side,
    service: Side,
    connects: bool,
}

impl World {
    fn limits() -> Limits {
        Limits::CHIP.with_max_frame(1024).with_credit(1024, 3)
    }

    fn new(stores: u8) -> Self {
        let now = Instant::from_millis(1_000_000);
        let mut world = Self {
            client: Side::new(now, stores, true),
            service: Side::new(now, stores >> 3, false),
            connects: false,
        };
        world.begin();
        world
    }

    /// A side, and the other one.
    const fn sides(&mut self, service: bool) -> (&mut Side, &mut Side) {
        if service {
            (&mut self.service, &mut self.client)
        } else {
            (&mut self.client, &mut self.service)
        }
    }

    /// Something is done to a side.
    fn play(&mut self, service: bool, call: &Call<'_>) {
        let (side, other) = self.sides(service);
        side.play(call, &mut other.user.truth);
    }

    fn both(&mut self, call: &Call<'_>) {
        self.play(false, call);
        self.play(true, call);
    }

    fn take_outcomes(&mut self, service: bool) {
        let (side, other) = self.sides(service);
        side.take_outcomes(&mut other.user.truth);
    }

    /// The connection is lost, with what is on its way. There is another one as soon as there can be.
    fn connect(&mut self) {
        for service in [false, true] {
            self.play(service, &Call::Ended);
            self.sides(service).0.player.wire.clear();
        }
        self.connects = true;
        self.begin_when_possible();
    }

    fn begin_when_possible(&mut self) {
        if self.connects && self.client.player.is_over() && self.service.player.is_over() {
            self.connects = false;
            self.begin();
        }
    }

    fn begin(&mut self) {
        let config = ClientConfig {
            catalog: Counted::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Self::limits(),
            args: &[],
        };
        self.client.player.connect(&config).unwrap();
        self.service.player.listen(Counted::CATALOG, Self::limits(), None);
    }

    /// A side takes so many of the bytes that are on their way to it.
    fn feed(&mut self, service: bool, count: usize) {
        let (side, other) = self.sides(service);
        let count = count.min(other.player.wire.len());
        let bytes: Vec<_> = other.player.wire.drain(..count).collect();
        if service && !side.lazy {
            // In the order of an adapter: outcomes before it answers a client, or there may be no room.
            side.take_outcomes(&mut other.user.truth);
        }
        side.play(&Call::next(bytes), &mut other.user.truth);
    }

    /// Everything arrives, until nothing more does.
    fn settle(&mut self) {
        for _ in 0..200 {
            for service in [false, true] {
                self.play(service, &Call::Wrote(usize::MAX));
                if !self.sides(service).0.lazy {
                    self.take_outcomes(service);
                }
            }
            if self.client.player.wire.is_empty() && self.service.player.wire.is_empty() {
                return;
            }
            self.feed(true, usize::MAX);
            self.feed(false, usize::MAX);
        }
        panic!("the two never come to rest");
    }

    /// A process is killed, and starts again with nothing.
    fn kill(&mut self, service: bool) {
        self.sides(service).0.kill();
        self.play(!service, &Call::Ended);
        self.connect();
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>) {
        let operation = bytes.byte();
        let service = operation & 0x80 != 0;
        let (side, other) = self.sides(service);
        let truth = &mut other.user.truth;
        match operation & 0x7f {
            0..=15 => (0..=operation & 7).for_each(|_| side.store(operation & 8 != 0, truth)),
            16 => side.play(&Call::Wrote(bytes.byte().into()), truth),
            17 => side.play(&Call::Wrote(usize::MAX), truth),
            18 => self.feed(!service, bytes.byte().into()),
            19 => self.settle(),
            20 => self.both(&Call::Later(Duration::from_millis(u64::from(bytes.byte())))),
            21 => side.user.way = [Way::Handle, Way::Hold, Way::Fail, Way::Hold][usize::from(bytes.byte() % 4)],
            22 => side.finish(
                [Ok(()), Err(Failure::new(Code::HandlerFailed))][usize::from(bytes.byte() % 2)],
                truth,
            ),
            23 => self.connect(),
            24 => {
                // The older connection ends in order for the service only.
                self.feed(true, bytes.byte().into());
                self.feed(false, bytes.byte().into());
                self.connect();
            }
            25 => self.kill(service),
            26 => side.skip(),
            27 => side.lazy = !side.lazy,
            28 => side.take_outcomes(truth),
            29 => side.keep(),
            30 => side.play(&Call::Send(ITEM, Item { value: u32::MAX }.payload()), truth),
            31 => side.play(
                &Call::GoAway(Notice::new(Code::Shutdown), Duration::from_secs(1)),
                truth,
            ),
            32 => side.play(&Call::Disconnect(Notice::new(Code::Done)), truth),
            33 => side.play(&Call::Ended, truth),
            34 => side.play(&Call::Announce(Duration::from_secs(9)), truth),
            35 => side.finish(Err(Failure::ABANDONED), truth),
            36 => side.retry(Duration::from_millis(u64::from(bytes.byte())), truth),
            _ => {}
        }
        self.begin_when_possible();
    }

    /// From now on all goes well: then nothing is left open.
    fn finish(&mut self) {
        for service in [false, true] {
            let (side, other) = self.sides(service);
            (side.user.way, side.lazy) = (Way::Handle, false);
            side.take_outcomes(&mut other.user.truth);
            side.finish(Ok(()), &mut other.user.truth);
            side.keep();
        }
        // On the connection that there is, unless somebody has ended it; then on another one.
        self.settle_all();
        if [&self.client, &self.service].map(Side::phase) == [Phase::Open; 2] {
            self.nothing_is_open();
        }
        self.connect();
        self.both(&Call::Expire);
        self.begin_when_possible();
        self.settle_all();
        assert_eq!([&self.client, &self.service].map(Side::phase), [Phase::Open; 2]);
        self.nothing_is_open();
    }

    fn settle_all(&mut self) {
        for _ in 0..40 {
            self.client.keep();
            self.service.keep();
            self.both(&Call::Later(Duration::from_millis(30)));
            self.settle();
        }
    }

    /// Every message has its outcome.
    fn nothing_is_open(&mut self) {
        for service in [false, true] {
            self.take_outcomes(service);
            let (side, _) = self.sides(service);
            let session = side.session().unwrap();
            assert!(session.replay().is_empty(), "{session:?}");
            let processed = session.delivered().processed;
            let open: Vec<_> = side.user.truth.numbers.range(processed + 1..).collect();
            let told = |value: &u32| side.user.truth.outcomes.contains_key(value);
            assert!(
                open.iter().all(|(_, value)| told(value)),
                "without an outcome: {open:?}"
            );
        }
    }
}

/// A client and a service with a session: a byte for their stores, then operations, those with the top bit for the
/// service.
pub fn sessions(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut world = World::new(bytes.byte());
    let mut most = 400;
    while !bytes.0.is_empty() && most > 0 {
        world.operate(&mut bytes);
        most -= 1;
    }
    world.finish();
}
