//! A client and a service with a session between them, and whatever may happen to their connections and processes:
//! each acked message is handled in order and once, and has one outcome, which is true.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use diset_proto::store::{FixedReplay, HeapReplay, Inbox, Replay, Stored, Unsure};
use diset_proto::{
    Admission, Cause, ClientConfig, Code, Connection, Deframer, Event, Held, Identity, Instant, Kept, Limits,
    MessageOf, NewReason, Notice, Outcome, Phase, Resumption, Schema, ServiceDef, Session, Tag, Token, Trid,
    define_service,
};
use serde::{Deserialize, Serialize};

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

/// What keeps messages: in a buffer or on the heap, at once or when it is told to.
#[derive(Debug, Clone)]
struct Store {
    fixed: Option<FixedReplay<[u8; 400]>>,
    heap: HeapReplay,
    lags: bool,
    last: u64,
    kept: u64,
}

impl Store {
    fn new(fixed: bool, lags: bool) -> Self {
        Self {
            fixed: fixed.then(|| FixedReplay::new([0; 400])),
            heap: HeapReplay::new(9, 40),
            lags,
            last: 0,
            kept: 0,
        }
    }

    fn inner(&self) -> &dyn Replay {
        match &self.fixed {
            Some(fixed) => fixed,
            None => &self.heap,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Replay {
        match &mut self.fixed {
            Some(fixed) => fixed,
            None => &mut self.heap,
        }
    }
}

impl Replay for Store {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        self.last = head.number;
        self.inner_mut().reserve(head, len)
    }
    fn commit(&mut self) {
        self.inner_mut().commit();
    }
    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.inner().after(number)
    }
    fn remove(&mut self, number: u64) {
        self.inner_mut().remove(number);
    }
    fn remove_through(&mut self, number: u64) {
        self.inner_mut().remove_through(number);
    }
    fn mark_repeated(&mut self, number: u64) {
        self.inner_mut().mark_repeated(number);
    }
    fn kept(&self) -> u64 {
        if self.lags { self.kept } else { u64::MAX }
    }
    fn len(&self) -> usize {
        self.inner().len()
    }
    fn bytes(&self) -> usize {
        self.inner().bytes()
    }
}

/// An inbox that keeps counters when it is told to.
#[derive(Debug, Clone, Default)]
struct Told {
    lags: bool,
    now: (u64, u64),
    kept: (u64, u64),
}

impl Inbox for Told {
    fn put(&mut self, message: Stored<'_>) -> bool {
        self.now.0 = self.now.0.max(message.number);
        true
    }
    fn done_through(&mut self, number: u64) {
        assert!(number >= self.now.1, "what is dealt with never goes back");
        self.now.1 = number;
    }
    fn begin_anew(&mut self, _: Trid) {
        (self.now, self.kept) = ((0, 0), (0, 0));
    }
    fn kept(&self) -> (u64, u64) {
        if self.lags { self.kept } else { (u64::MAX, u64::MAX) }
    }
}

/// What handlers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Handle,
    Hold,
    Fail,
}

/// A handler that runs.
#[derive(Debug)]
struct Running {
    tag: Tag,
    held: Option<Held>,
    number: u64,
    value: u32,
    repeated: bool,
    began: Trid,
}

/// What became of the messages of one side, as the other saw it, and as it was told.
#[derive(Debug, Default)]
struct Truth {
    next: u32,
    /// Values by their numbers in the session that is.
    numbers: BTreeMap<u64, u32>,
    resend: BTreeSet<u32>,
    outcomes: BTreeMap<u32, Outcome>,
    /// How often each was handled well, and with what code it was not.
    handled: BTreeMap<u32, usize>,
    failed: BTreeMap<u32, Code>,
    /// The highest that was handled, either way.
    last: Option<u32>,
}

impl Truth {
    /// A handler has come to its end, or there was none.
    fn ended(&mut self, value: u32, repeated: bool, code: Option<Code>) {
        let before = self.handled.contains_key(&value) || self.failed.contains_key(&value);
        assert!(
            !before || (repeated && self.resend.contains(&value)),
            "{value} is handled twice"
        );
        assert!(
            repeated || self.last.is_none_or(|last| last < value),
            "{value} is out of order"
        );
        self.last = self.last.max(Some(value));
        match code {
            None => *self.handled.entry(value).or_default() += 1,
            Some(code) => {
                self.failed.insert(value, code);
            }
        }
    }

    /// Its sender was told of it.
    fn told(&mut self, number: u64, outcome: Outcome) {
        let Some(&value) = self.numbers.get(&number) else {
            panic!("an outcome of no message: {number}");
        };
        let earlier = self.outcomes.insert(value, outcome);
        assert_eq!(earlier, None, "{value} has two outcomes: {outcome:?}");
        match outcome {
            Outcome::Failed(code) => assert_eq!(self.failed.get(&value), Some(&code), "{value}"),
            Outcome::Unknown => assert!(!self.resend.contains(&value)),
            _ => assert!(
                !self.handled.contains_key(&value) && !self.failed.contains_key(&value),
                "{value}"
            ),
        }
    }

    /// Everything up to this number has an outcome, and all that are not Ok were told.
    fn settled(&self, processed: u64) {
        for (_, value) in self.numbers.range(..=processed) {
            if !self.outcomes.contains_key(value) {
                assert!(self.handled.contains_key(value), "{value} was not handled");
            }
        }
    }
}

/// One process.
#[derive(Debug)]
struct Side {
    conn: Option<(Conn, Box<Deframer<[u8; ROOM]>>)>,
    /// The session, when it is not in the connection.
    away: Option<Box<Memory>>,
    way: Way,
    running: Option<Running>,
    lane: VecDeque<Kept>,
    /// Takes outcomes late.
    lazy: bool,
    /// On their way to the other.
    wire: Vec<u8>,
    truth: Truth,
}

impl Side {
    fn new(away: Option<Box<Memory>>) -> Self {
        Self {
            conn: None,
            away,
            way: Way::Handle,
            running: None,
            lane: VecDeque::new(),
            lazy: false,
            wire: Vec::new(),
            truth: Truth::default(),
        }
    }

    fn session(&mut self) -> Option<&mut Memory> {
        match &mut self.conn {
            Some((conn, _)) if conn.session().is_some() => conn.session_mut(),
            _ => self.away.as_deref_mut(),
        }
    }

    fn store(&mut self, resend: bool) {
        let unsure = if resend { Unsure::Resend } else { Unsure::Report };
        let item = Item { value: self.truth.next };
        let number = match &mut self.conn {
            Some((conn, _)) if conn.session().is_some() => conn.send_acked(ITEM, &item, unsure).ok(),
            _ => self
                .session()
                .and_then(|session| session.store(Counted::CATALOG, ITEM, &item, unsure).ok()),
        };
        if let Some(number) = number {
            let value = self.truth.next;
            self.truth.next += 1;
            self.truth.numbers.insert(number, value);
            if resend {
                self.truth.resend.insert(value);
            }
        }
    }

    fn skip(&mut self) {
        if let Some(number) = self.session().and_then(Memory::skip_oldest) {
            self.truth.told(number, Outcome::Skipped);
        }
    }

    fn take_outcomes(&mut self) {
        while let Some((number, outcome)) = self.session().and_then(Memory::take_outcome) {
            self.truth.told(number, outcome);
        }
        if let Some(processed) = self.session().map(|session| session.delivered().processed) {
            self.truth.settled(processed);
        }
    }

    fn keep(&mut self) {
        if let Some(session) = self.session() {
            let store = session.replay_mut();
            store.kept = store.last;
            let inbox = session.inbox_mut();
            inbox.kept = inbox.now;
        }
    }

    /// The connection is gone. What has not begun comes again.
    fn hang_up(&mut self) {
        if let Some((mut conn, _)) = self.conn.take() {
            // A service has none in its connection before it has admitted the client.
            self.away = conn.take_session().or(self.away.take());
        }
        self.wire.clear();
        self.lane.clear();
        if let Some(running) = &mut self.running {
            running.held = None;
        }
    }

    /// Writes at most so much.
    fn write(&mut self, most: usize) {
        if let Some((conn, _)) = &mut self.conn {
            let bytes = conn.transmit();
            let count = bytes.len().min(most);
            self.wire.extend_from_slice(&bytes[..count]);
            conn.transmitted(count);
        }
    }

    fn time(&mut self, now: Instant) {
        let Some((conn, _)) = &mut self.conn else { return };
        for _ in 0..9 {
            let _ = conn.transmit();
            if conn.wake().is_none_or(|wake| wake > now) {
                return;
            }
            conn.handle_time(now);
        }
        panic!("due for ever: {conn:?}");
    }

    /// A message whose turn has come. The truth is that of its sender.
    fn handle(&mut self, kept: &Kept, truth: &mut Truth) {
        let Some((conn, _)) = &mut self.conn else { return };
        let message = kept.message();
        let (tag, number, repeated) = (message.tag(), message.number_in_session(), message.maybe_repeated());
        let began = conn.session().map(Memory::began);
        let (Some(number), Some(began)) = (number, began) else {
            conn.decode::<Item>(message).unwrap();
            return;
        };
        let (Item { value }, held) = conn.decode_held(message).unwrap();
        match self.way {
            Way::Handle => {
                truth.ended(value, repeated, None);
                conn.release(held);
            }
            Way::Fail => {
                truth.ended(value, repeated, Some(Code::HandlerFailed));
                conn.fail(tag, Code::HandlerFailed, "no");
                self.lane.clear();
            }
            Way::Hold => {
                self.running = Some(Running {
                    tag,
                    held: Some(held),
                    number,
                    value,
                    repeated,
                    began,
                });
            }
        }
    }

    /// Handles what waits, until a handler does not end.
    fn work(&mut self, truth: &mut Truth) {
        while self.running.is_none()
            && let Some(kept) = self.lane.pop_front()
        {
            self.handle(&kept, truth);
        }
    }

    /// The handler that runs comes to its end, on whatever connection.
    fn finish(&mut self, fails: bool, truth: &mut Truth) {
        let Some(running) = self.running.take() else { return };
        let code = fails.then_some(Code::HandlerFailed);
        truth.ended(running.value, running.repeated, code);
        match (&mut self.conn, running.held) {
            (Some((conn, _)), Some(_)) if fails => {
                conn.fail(running.tag, Code::HandlerFailed, "no");
                self.lane.clear();
            }
            (Some((conn, _)), Some(held)) => conn.release(held),
            _ => {
                let outcome = code.map_or(Outcome::Ok, Outcome::Failed);
                if let Some(session) = self.session().filter(|session| session.began() == running.began) {
                    session.settle(running.number, outcome);
                }
            }
        }
        self.work(truth);
    }
}

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
    fn to_service(&mut self, count: usize) {
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

    fn to_client(&mut self, count: usize) {
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
                Err(why) => {
                    assert_eq!(why, NewReason::NoRoom);
                    self.service.away = Some(session);
                    conn.refuse(Notice::new(Code::Busy)).unwrap();
                    return;
                }
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
            self.to_service(usize::MAX);
            self.to_client(usize::MAX);
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
            18 if service => self.to_client(bytes.byte().into()),
            18 => self.to_service(bytes.byte().into()),
            19 => self.settle(),
            20 => self.wait(Duration::from_millis(u64::from(bytes.byte()))),
            21 => side.way = [Way::Handle, Way::Hold, Way::Fail, Way::Hold][usize::from(bytes.byte() % 4)],
            22 => side.finish(bytes.byte() % 2 == 1, &mut other.truth),
            23 => self.connect(),
            24 => {
                // The older connection ends in order for the service only.
                self.to_service(bytes.byte().into());
                self.to_client(bytes.byte().into());
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
