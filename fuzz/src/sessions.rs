//! A client and a service with a session between them, and whatever may happen to their connections and processes:
//! each acked message is handled in order and once, and has one outcome, which is true.

mod side;
mod stores;
mod truth;

use core::time::Duration;
use diset_proto::store::Replay;
use diset_proto::{
    Admission, Cause, ClientConfig, Code, Connection, Deframer, Event, Identity, Instant, Limits, MessageOf, NewReason,
    Notice, Phase, Resumption, Schema, ServiceDef, Session, Token, Trid, Unwelcome, define_service,
};
use serde::{Deserialize, Serialize};

use self::side::{Side, Way};
use self::stores::{Store, Told};
use super::Bytes;

#[derive(Debug, Serialize, Deserialize, Schema)]
struct Item {
    value: u32,
}
define_service! { Counted = "Test/Counted"; both: [Item] }

const ITEM: u8 = <Item as MessageOf<Counted>>::NUMBER;
const OUTPUT: usize = 900;
const ROOM: usize = 1028;

type Memory = Session<Store, Told>;
type Conn = Connection<[u8; OUTPUT], Option<Box<Memory>>>;

/// Both, and the time.
#[derive(Debug)]
struct World {
    client: Side,
    service: Side,
    now: Instant,
    trid: u64,
    store: u8,
}

impl World {
    fn memory(&self, service: bool) -> Box<Memory> {
        let bits = if service { self.store >> 3 } else { self.store };
        let inbox = Told {
            lags: bits & 4 != 0,
            ..Told::default()
        };
        Box::new(Session::new(Store::new(bits & 1 != 0, bits & 2 != 0), inbox))
    }

    fn limits() -> Limits {
        Limits::CHIP.with_max_frame(1024).with_credit(1024, 3)
    }

    /// The client connects again. The service may still have the older connection.
    fn connect(&mut self) {
        self.client.hang_up();
        self.service.hang_up();
        let session = self.client.away.take().unwrap_or_else(|| self.memory(false));
        let config = ClientConfig {
            catalog: Counted::CATALOG,
            identity: Identity::from_bytes([1; 16]),
            limits: Self::limits(),
            args: &[],
        };
        let client = Connection::client_in_session(self.now, &config, [0; OUTPUT], Some(session)).unwrap();
        let service = Connection::service(self.now, Counted::CATALOG, Self::limits(), [0; OUTPUT]).unwrap();
        let deframer = || Box::new(Deframer::new([0; ROOM]));
        self.client.conn = Some((client, deframer()));
        self.service.conn = Some((service.with_sessions(None), deframer()));
    }

    /// The service takes so many of the bytes that are on their way.
    fn feed_service(&mut self, count: usize) {
        let count = count.min(self.client.wire.len());
        let bytes: Vec<_> = self.client.wire.drain(..count).collect();
        let mut input = bytes.as_slice();
        let (mut conn, mut rx) = self.service.conn.take().unwrap_or_else(|| unreachable!());
        conn.handle_received(self.now);
        while let Some(frame) = rx.next(&mut input, conn.max_frame()) {
            match conn.handle_frame(self.now, frame) {
                Some(Event::Proposed(_)) => self.admit(&mut conn),
                event => Self::came(&mut self.service, &mut conn, event),
            }
            self.service.conn = Some((conn, rx));
            self.service.work(&mut self.client.truth);
            (conn, rx) = self.service.conn.take().unwrap_or_else(|| unreachable!());
        }
        self.service.conn = Some((conn, rx));
    }

    fn feed_client(&mut self, count: usize) {
        let count = count.min(self.service.wire.len());
        let bytes: Vec<_> = self.service.wire.drain(..count).collect();
        let mut input = bytes.as_slice();
        let (mut conn, mut rx) = self.client.conn.take().unwrap_or_else(|| unreachable!());
        conn.handle_received(self.now);
        while let Some(frame) = rx.next(&mut input, conn.max_frame()) {
            let event = conn.handle_frame(self.now, frame);
            Self::came(&mut self.client, &mut conn, event);
            self.client.conn = Some((conn, rx));
            self.client.work(&mut self.service.truth);
            (conn, rx) = self.client.conn.take().unwrap_or_else(|| unreachable!());
        }
        self.client.conn = Some((conn, rx));
    }

    fn came(side: &mut Side, conn: &mut Conn, event: Option<Event<'_>>) {
        match event {
            Some(Event::Message(message)) => {
                let kept = conn.keep(message);
                side.lane.push_back(kept);
            }
            Some(Event::Connected(_)) => {
                let conflict = Resumption::New {
                    why: NewReason::StateConflict,
                };
                assert!(conn.resumption().is_some_and(|resumption| resumption != conflict));
            }
            Some(Event::Dropped(cause)) => {
                if let Cause::OurError(notice) = cause {
                    let ours = matches!(notice.code(), Code::HandlerFailed | Code::Done | Code::Busy);
                    assert!(ours, "the peer did nothing wrong: {notice}");
                }
                side.lane.clear();
            }
            _ => {}
        }
    }

    fn admit(&mut self, conn: &mut Conn) {
        if !self.service.lazy {
            // In the order of an adapter: outcomes first, or there may be no room.
            self.service.take_outcomes();
        }
        let Some(request) = conn.resume_request().cloned() else {
            panic!("the client keeps a session");
        };
        self.trid += 1;
        let (trid, token) = (
            Trid::new(self.trid),
            Token::from_bytes(self.trid.to_le_bytes().repeat(2).try_into().unwrap()),
        );
        let session = match self.service.away.take() {
            Some(mut session) => match session.welcome(&request, trid, true, token) {
                Ok(()) => session,
                Err(Unwelcome::Refused(notice)) => {
                    assert_eq!(notice.code(), Code::Busy, "PROTOCOL N-4, row 13");
                    self.service.away = Some(session);
                    conn.refuse(notice).unwrap();
                    return;
                }
                Err(unwelcome) => panic!("its own client: {unwelcome}"),
            },
            None => {
                let mut session = self.memory(true);
                let why = if request.is_return() {
                    NewReason::Forgotten
                } else {
                    NewReason::First
                };
                session.begin_with(&request, trid, why, Some(token));
                session
            }
        };
        conn.accept_in_session(self.now, Admission::new(trid), Some(session))
            .unwrap();
    }

    /// Everything arrives, until nothing more does.
    fn settle(&mut self) {
        for _ in 0..200 {
            for side in [&mut self.client, &mut self.service] {
                side.time(self.now);
                side.write(usize::MAX);
                if !side.lazy {
                    side.take_outcomes();
                }
            }
            if self.client.wire.is_empty() && self.service.wire.is_empty() {
                return;
            }
            self.feed_service(usize::MAX);
            self.feed_client(usize::MAX);
        }
        panic!("the two never come to rest: {self:?}");
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now.after(span);
        for side in [&mut self.client, &mut self.service] {
            side.time(self.now);
        }
    }

    /// A process is killed, and starts again with nothing.
    fn kill(&mut self, service: bool) {
        let side = if service { &mut self.service } else { &mut self.client };
        side.hang_up();
        (side.away, side.running) = (None, None);
        side.truth.numbers.clear();
        self.connect();
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>) {
        let operation = bytes.byte();
        let service = operation & 0x80 != 0;
        let (side, other) = if service {
            (&mut self.service, &mut self.client)
        } else {
            (&mut self.client, &mut self.service)
        };
        match operation & 0x7f {
            0..=15 => (0..=operation & 7).for_each(|_| side.store(operation & 8 != 0)),
            16 => side.write(bytes.byte().into()),
            17 => side.write(usize::MAX),
            18 if service => self.feed_client(bytes.byte().into()),
            18 => self.feed_service(bytes.byte().into()),
            19 => self.settle(),
            20 => self.wait(Duration::from_millis(u64::from(bytes.byte()))),
            21 => side.way = [Way::Handle, Way::Hold, Way::Fail, Way::Hold][usize::from(bytes.byte() % 4)],
            22 => side.finish(bytes.byte() % 2 == 1, &mut other.truth),
            23 => self.connect(),
            24 => {
                // The older connection ends in order for the service only.
                self.feed_service(bytes.byte().into());
                self.feed_client(bytes.byte().into());
                self.connect();
            }
            25 => self.kill(service),
            26 => side.skip(),
            27 => side.lazy = !side.lazy,
            28 => side.take_outcomes(),
            29 => side.keep(),
            30 => {
                if let Some((conn, _)) = &mut side.conn {
                    let _ = conn.send(ITEM, &Item { value: u32::MAX });
                }
            }
            31 => {
                if let Some((conn, _)) = &mut side.conn {
                    let _ = conn.go_away(self.now, Notice::new(Code::Shutdown), Duration::from_secs(1));
                }
            }
            32 => {
                if let Some((conn, _)) = &mut side.conn {
                    conn.disconnect(Notice::new(Code::Done));
                }
            }
            33 => {
                if let Some((conn, _)) = &mut side.conn {
                    conn.handle_eof();
                }
            }
            34 => {
                if let Some((conn, _)) = &mut side.conn {
                    let _ = conn.announce_next_key([9; 32], Duration::from_secs(9));
                }
            }
            _ => {}
        }
    }

    /// From now on all goes well: then nothing is left open.
    fn finish(&mut self) {
        for side in [&mut self.client, &mut self.service] {
            (side.way, side.lazy) = (Way::Handle, false);
            side.take_outcomes();
        }
        self.client.finish(false, &mut self.service.truth);
        self.service.finish(false, &mut self.client.truth);
        self.client.keep();
        self.service.keep();
        self.connect();
        for _ in 0..40 {
            self.client.keep();
            self.service.keep();
            self.wait(Duration::from_millis(30));
            self.settle();
        }
        for side in [&mut self.client, &mut self.service] {
            let phase = side.conn.as_ref().map(|(conn, _)| conn.phase());
            assert_eq!(phase, Some(Phase::Open));
            side.take_outcomes();
            let session = side.session().unwrap();
            assert!(session.replay().is_empty(), "{session:?}");
            let processed = session.delivered().processed;
            let open: Vec<_> = side.truth.numbers.range(processed + 1..).collect();
            let told = |value: &u32| side.truth.outcomes.contains_key(value);
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
    let mut world = World {
        client: Side::new(None),
        service: Side::new(None),
        now: Instant::from_millis(1_000_000),
        trid: 0,
        store: bytes.byte(),
    };
    world.connect();
    let mut most = 400;
    while !bytes.0.is_empty() && most > 0 {
        world.operate(&mut bytes);
        most -= 1;
    }
    world.finish();
}
