//! The other end: a service on the bare engine, the bytes between the two, and the time. Nothing here waits.

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use diset_embedded::diset_proto::limits::MAX_HANDSHAKE_FRAME;
use diset_embedded::diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_embedded::diset_proto::{
    Admission, Connection, Deframer, Event, GrowBuf, MessageOf, Progress, Session, Token,
};
use diset_embedded::{
    Cause, Clock, Code, Identity, Instant, Limits, NewReason, Notice, Outcome, Schema, ServiceDef, Trid, define_service,
};
use embedded_io::ErrorKind;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Ping {
    pub(crate) id: i64,
}
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Pong {
    pub(crate) id: i64,
}
#[derive(Debug, Serialize, Deserialize, Schema)]
pub(crate) struct Note<'a> {
    pub(crate) text: &'a str,
}

define_service! {
    pub(crate) Demo = "Test/Demo";
    from_client: [Ping],
    from_service: [Pong],
    both: [Note<'a>],
}

type Engine = Connection<GrowBuf, Option<Box<FarSession>>>;
type FarSession = Session<HeapReplay, Volatile>;
pub(crate) const NOTE: u8 = <Note<'_> as MessageOf<Demo>>::NUMBER;
/// The service's handler fails for this one.
pub(crate) const POISON: i64 = -13;
const MOST_ASKED: usize = 1000;

/// Handed round by clones.
#[derive(Clone)]
pub(crate) struct World(pub(crate) Rc<RefCell<Inside>>);

pub(crate) struct Inside {
    pub(crate) now: Instant,
    pub(crate) service: Option<Far>,
    to_service: VecDeque<u8>,
    pub(crate) to_client: VecDeque<u8>,
    /// The client reads the end of the stream when it has read the rest.
    pub(crate) ended: bool,
    /// How many bytes one read or write moves at most.
    chunk: usize,
    /// How many bytes the stream still takes.
    pub(crate) room: usize,
    /// Each direction holds so many bytes, and the service reads only when it has written all that it has.
    pub(crate) pipe: Option<usize>,
    /// How often in this turn it was asked in vain to take some.
    asked: usize,
    pub(crate) writes_fail: bool,
    /// The service does not run.
    pub(crate) frozen: bool,
    pub(crate) refuse: Option<Notice>,
    pub(crate) limits: Limits,
    trids: u64,
    alarm: Option<Instant>,
    /// The line is cut when so many more bytes have passed, in whatever direction.
    pub(crate) cut_after: Option<usize>,
    pub(crate) cuts: usize,
    /// The session of the client while it is not connected.
    session: Option<Box<FarSession>>,
    /// The service keeps no sessions.
    pub(crate) keeps_none: bool,
    /// Outcomes of acked notes, but Ok.
    pub(crate) told: Vec<(u64, Outcome)>,
    pub(crate) records: Option<u32>,
    /// What the last proposal said of them.
    pub(crate) stated: Option<u32>,
    /// Reads and writes of the stream that is open.
    used: u32,
    pub(crate) log: Vec<Log>,
}

/// What the service saw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Log {
    Proposed(Identity, Option<String>),
    Ping(i64),
    Note(String),
    /// An acked Ping, and whether it may have come before.
    Acked(i64, bool),
    GoingAway(Notice),
    Dropped(Cause),
}

/// The service's end of one connection.
pub(crate) struct Far {
    pub(crate) conn: Engine,
    rx: Deframer<GrowBuf>,
}

impl World {
    pub(crate) fn new(chunk: usize) -> Self {
        Self(Rc::new(RefCell::new(Inside {
            now: Instant::from_millis(5_000),
            service: None,
            to_service: VecDeque::new(),
            to_client: VecDeque::new(),
            ended: false,
            chunk,
            room: usize::MAX,
            pipe: None,
            asked: 0,
            writes_fail: false,
            frozen: false,
            refuse: None,
            limits: Limits::CHIP.with_max_frame(MAX_HANDSHAKE_FRAME),
            trids: 0,
            alarm: None,
            cut_after: None,
            cuts: 0,
            session: None,
            keeps_none: false,
            told: Vec::new(),
            records: None,
            stated: None,
            used: 0,
            log: Vec::new(),
        })))
    }

    /// A new transport to the service.
    pub(crate) fn dial(&self) -> Stream {
        let mut inside = self.0.borrow_mut();
        let limits = inside.limits;
        inside.take_back();
        let conn = Connection::service(inside.now, Demo::CATALOG, limits, GrowBuf::new(4096)).expect("limits");
        let conn = conn.with_sessions(None);
        let rx = Deframer::new(GrowBuf::new(limits.max_frame() as usize + 4));
        inside.service = Some(Far { conn, rx });
        inside.to_service.clear();
        inside.to_client.clear();
        (inside.ended, inside.writes_fail) = (false, false);
        inside.used = 0;
        Stream(self.clone())
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.borrow().now
    }

    /// Does something as the service.
    pub(crate) fn service<R>(&self, work: impl FnOnce(&mut Engine) -> R) -> R {
        work(&mut self.0.borrow_mut().service.as_mut().expect("dialled").conn)
    }

    pub(crate) fn push(&self, text: &str) {
        self.service(|conn| conn.send(NOTE, &Note { text })).expect("room");
    }

    /// Sends an acked note, now or when the client comes; its number.
    pub(crate) fn push_acked(&self, text: &str, unsure: Unsure) -> u64 {
        let inside = &mut *self.0.borrow_mut();
        let note = Note { text };
        let stored = match (&mut inside.session, &mut inside.service) {
            (Some(session), _) => session.store(Demo::CATALOG, NOTE, &note, unsure),
            (None, Some(far)) => far.conn.send_acked(NOTE, &note, unsure),
            (None, None) => panic!("nobody has been here"),
        };
        stored.expect("room")
    }

    /// The service is started anew: all that it had was in its memory.
    pub(crate) fn restart(&self) {
        let mut inside = self.0.borrow_mut();
        inside.cut();
        (inside.service, inside.session) = (None, None);
    }

    pub(crate) fn max_records(&self) -> Option<u32> {
        self.0.borrow().records
    }

    /// As a channel that counts its records, here its reads and writes.
    pub(crate) fn is_worn(&self) -> bool {
        let inside = self.0.borrow();
        inside.records.is_some_and(|most| inside.used >= most / 10 * 9)
    }

    pub(crate) fn cut(&self) {
        self.0.borrow_mut().cut();
    }

    /// The acked pings that were handled.
    pub(crate) fn acked(&self) -> Vec<i64> {
        let log = self.log().into_iter();
        log.filter_map(|entry| match entry {
            Log::Acked(id, _) => Some(id),
            _ => None,
        })
        .collect()
    }

    pub(crate) fn log(&self) -> Vec<Log> {
        self.0.borrow().log.clone()
    }

    /// Lets the service work, or else time pass up to `wake`, `until` or what the service waits for.
    pub(crate) fn turn(&self, wake: Option<Instant>, until: Option<Instant>) {
        let mut inside = self.0.borrow_mut();
        inside.asked = 0;
        if inside.work() {
            return;
        }
        let alarm = inside.alarm.take();
        let service = inside.service.as_ref().filter(|_| !inside.frozen);
        let service = service.and_then(|far| far.conn.wake());
        let next = [wake, alarm, service, until].into_iter().flatten().min();
        let next = next.unwrap_or_else(|| panic!("nothing will ever happen: {:?}", inside.log));
        inside.now = inside.now.max(next);
    }
}

impl Inside {
    /// One round of the service; false when nothing happened.
    fn work(&mut self) -> bool {
        let now = self.now;
        let Some(mut far) = self.service.take() else {
            return false;
        };
        if self.frozen {
            self.service = Some(far);
            return false;
        }
        let mut busy = false;
        if far.conn.wake().is_some_and(|wake| wake <= now) {
            let event = far.conn.handle_time(now);
            self.note(&mut far.conn, event);
            busy = true;
        }
        let reads = self.pipe.is_none() || far.conn.transmit().is_empty();
        let coming = if reads { self.to_service.len() } else { 0 };
        let bytes: Vec<u8> = self.to_service.drain(..coming).collect();
        busy |= !bytes.is_empty();
        let mut input = bytes.as_slice();
        while let Some(frame) = far.rx.next(&mut input, far.conn.max_frame()) {
            let event = far.conn.handle_frame(now, frame);
            self.note(&mut far.conn, event);
        }
        while let Some(told) = far.conn.take_outcome() {
            self.told.push(told);
        }
        let mut outgoing = far.conn.transmit().to_vec();
        outgoing.truncate(self.left(self.to_client.len()));
        far.conn.transmitted(outgoing.len());
        busy |= !outgoing.is_empty();
        self.to_client.extend(outgoing);
        if far.conn.progress() != Progress::Running && !self.ended {
            self.ended = true;
            busy = true;
        }
        self.service = Some(far);
        busy
    }

    /// Takes the session out of the connection before.
    fn take_back(&mut self) {
        if let Some(session) = self.service.take().and_then(|mut far| far.conn.take_session()) {
            self.session = Some(session);
        }
    }

    /// Nothing gets through any more.
    fn cut(&mut self) {
        self.to_client.clear();
        self.to_service.clear();
        (self.ended, self.writes_fail) = (true, true);
        self.cut_after = None;
        self.cuts += 1;
        if let Some(mut far) = self.service.take() {
            let event = far.conn.handle_eof();
            self.note(&mut far.conn, event);
            self.service = Some(far);
        }
    }

    /// How many bytes a direction takes that holds so many.
    fn left(&self, held: usize) -> usize {
        self.pipe.map_or(usize::MAX, |bound| bound.saturating_sub(held))
    }

    /// So many bytes want to pass; as many do.
    fn pass(&mut self, count: usize) -> usize {
        self.used += 1;
        let Some(left) = &mut self.cut_after else { return count };
        let count = count.min(*left);
        *left -= count;
        count
    }

    /// Admits the client, with its session if it keeps one.
    fn admit(&mut self, conn: &mut Engine, trid: Trid) {
        let admission = Admission::new(trid);
        let Some(request) = conn.resume_request().filter(|_| !self.keeps_none).cloned() else {
            conn.accept(self.now, admission).expect("asked");
            return;
        };
        let token = Token::from_bytes([u8::try_from(trid.number() % 250).expect("small") + 1; 16]);
        let mut session = self.session.take().unwrap_or_else(|| {
            let mut session = Box::new(Session::new(HeapReplay::new(16, 4096), Volatile));
            let why = if request.is_return() {
                NewReason::Forgotten
            } else {
                NewReason::First
            };
            session.begin_with(&request, trid, why, Some(token));
            session
        });
        if session.began() != trid {
            session.welcome(&request, trid, true, token).expect("its own client");
        }
        assert!(
            conn.accept_in_session(self.now, admission, Some(session)).is_ok(),
            "asked"
        );
    }

    fn note(&mut self, conn: &mut Engine, event: Option<Event<'_>>) {
        let entry = match event {
            None => return,
            Some(Event::Proposed(proposal)) => {
                let site = proposal.args().value("site").map(|value| format!("{value:?}"));
                self.stated = proposal.records();
                self.log.push(Log::Proposed(proposal.identity(), site));
                self.trids += 1;
                let trid = Trid::new(self.trids);
                match self.refuse.take() {
                    Some(notice) => conn.refuse(notice).expect("asked"),
                    None => self.admit(conn, trid),
                }
                return;
            }
            Some(Event::Message(message)) if message.name() == "Ping" && message.number_in_session().is_some() => {
                let repeated = message.maybe_repeated();
                let tag = message.tag();
                let (ping, held) = conn.decode_held::<Ping>(message).expect("valid");
                if ping.id == POISON {
                    conn.fail(tag, Code::HandlerFailed, "poison");
                }
                conn.release(held);
                Log::Acked(ping.id, repeated)
            }
            Some(Event::Message(message)) if message.name() == "Ping" => {
                let ping: Ping = conn.decode(message).expect("valid");
                // A chip may have less credit than there are pings.
                let _ = conn.send(<Pong as MessageOf<Demo>>::NUMBER, &Pong { id: ping.id });
                Log::Ping(ping.id)
            }
            Some(Event::Message(message)) => {
                let note: Note<'_> = conn.decode(message).expect("valid");
                Log::Note(note.text.to_owned())
            }
            Some(Event::GoingAway(notice)) => Log::GoingAway(notice),
            Some(Event::Dropped(cause)) => Log::Dropped(cause),
            Some(_) => return,
        };
        self.log.push(entry);
    }

    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.to_client.is_empty() {
            return self.ended.then_some(0);
        }
        let count = self.pass(buffer.len().min(self.chunk).min(self.to_client.len()));
        if count == 0 {
            self.cut();
            return Some(0);
        }
        for (place, byte) in buffer.iter_mut().zip(self.to_client.drain(..count)) {
            *place = byte;
        }
        Some(count)
    }

    fn write(&mut self, bytes: &[u8]) -> Option<Result<usize, ErrorKind>> {
        if self.writes_fail {
            return Some(Err(ErrorKind::BrokenPipe));
        }
        let room = self.room.min(self.left(self.to_service.len()));
        let count = bytes.len().min(self.chunk).min(room);
        if count == 0 {
            self.asked += 1;
            // The client would spin, and nobody else would ever run.
            return (self.asked > MOST_ASKED).then_some(Err(ErrorKind::TimedOut));
        }
        let count = self.pass(count);
        if count == 0 {
            self.cut();
            return Some(Err(ErrorKind::BrokenPipe));
        }
        self.room -= count;
        self.to_service.extend(&bytes[..count]);
        Some(Ok(count))
    }
}

/// The client's end of the transport.
pub(crate) struct Stream(World);

impl Stream {
    /// As a socket's `close`.
    pub(crate) fn end(&mut self) {
        let mut inside = self.0.0.borrow_mut();
        inside.work();
        if let Some(mut far) = inside.service.take() {
            let event = far.conn.handle_eof();
            inside.note(&mut far.conn, event);
            inside.service = Some(far);
        }
    }
}

impl embedded_io::ErrorType for Stream {
    type Error = ErrorKind;
}

impl embedded_io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        Ok(self.0.0.borrow_mut().read(buffer).expect("would block"))
    }
}

impl embedded_io::ReadReady for Stream {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        let inside = self.0.0.borrow();
        Ok(inside.ended || !inside.to_client.is_empty())
    }
}

impl embedded_io::Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.0.borrow_mut().write(bytes).expect("would block")
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl embedded_io::WriteReady for Stream {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        let inside = self.0.0.borrow();
        let room = inside.room.min(inside.left(inside.to_service.len()));
        Ok(room > 0 || inside.writes_fail)
    }
}

impl embedded_io_async::Read for Stream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| match self.0.0.borrow_mut().read(buffer) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Poll::Pending,
        })
        .await
    }
}

impl embedded_io_async::Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| match self.0.0.borrow_mut().write(bytes) {
            Some(written) => Poll::Ready(written),
            None => Poll::Pending,
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Clock for World {
    fn now(&self) -> Instant {
        Self::now(self)
    }

    async fn sleep_until(&mut self, time: Instant) {
        poll_fn(|_| {
            let mut inside = self.0.borrow_mut();
            if inside.now >= time {
                return Poll::Ready(());
            }
            inside.alarm = Some(inside.alarm.map_or(time, |alarm| alarm.min(time)));
            Poll::Pending
        })
        .await;
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
