//! The halves against a connection that is driven by hand: the same bytes leave, and the same is told, in the same order.

use core::cell::Cell;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use diset_proto::drive::{self, Failure, FixedQueue, HandlerResult, Lent, Parts, Running};
use diset_proto::store::Unsure;
use diset_proto::{
    Admission, Agreement, Cause, ClientConfig, Code, Connection, Deframer, Event, Held, Identity, Instant, Kept,
    MessageRef, NewReason, Notice, Phase, Resume, RetryAfter, ServiceDef, Tag, Token, Trid,
};

use super::Bytes;
use super::engine::{
    Count, FROM_CLIENT, FROM_SERVICE, Fuzzed, Memory, OUTPUT, Words, frame, limits, memory, older, start,
};

type Conn = Connection<[u8; OUTPUT], Option<Box<Memory>>>;

/// What the halves are made of.
struct Fuzz;

impl Parts for Fuzz {
    type Buffer = [u8; OUTPUT];
    type Session = Option<Box<Memory>>;
    type Queue = FixedQueue<[u8; 4096]>;
    type Running = Later;
}

/// A handler that waits until it is told what it comes to.
#[derive(Default)]
struct Later(Rc<Cell<Option<HandlerResult>>>);

impl Running for Later {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(Err(Failure::ABANDONED))
    }
}

/// Either way of driving: what a test does to it, and what it says.
trait Driven {
    fn feed(&mut self, now: Instant, how: &mut How, bytes: &[u8]);
    fn admit(&mut self, now: Instant, how: &mut How, choice: u8);
    fn refuse(&mut self, notice: Notice);
    /// Whether a handler waits.
    fn waits(&mut self) -> bool;
    /// It comes to this.
    fn handled(&mut self, result: HandlerResult);
    /// Its time is over, and that of what waits for it on a connection that has ended.
    fn expire(&mut self);
    fn send(&mut self, number: u8, message: &Words<'_>);
    fn count(&mut self, number: u8, n: u64, acked: Option<Unsure>);
    fn outcomes(&mut self);
    fn announce(&mut self, lasts: Duration);
    fn go_away(&mut self, now: Instant, notice: Notice, span: Duration);
    fn disconnect(&mut self, notice: Notice);
    fn turn(&mut self, now: Instant) -> Vec<u8>;
    fn wrote(&mut self, count: usize);
    fn eof(&mut self, now: Instant);
    /// The next transport, with the session of this one.
    fn again(&mut self, how: &mut How, origin: Option<&ClientConfig<'_>>);
    fn phase(&self) -> Phase;
    fn wake(&self) -> Option<Instant>;
}

/// What is done with messages and proposals, and what was seen of them.
#[derive(Default)]
struct How {
    mode: u8,
    /// Service: what it has of its client, and whether it keeps sessions.
    kept: Option<Box<Memory>>,
    keeps: bool,
    seen: Vec<String>,
}

impl How {
    fn admission(&self, choice: u8) -> Admission {
        let (known, forbidden) = (choice % 2 == 1, choice / 2);
        let forbidden = (0..2).filter(|number| forbidden & (1 << number) != 0).collect();
        let admission = Admission::new(Trid::new(7)).with_forbidden(forbidden);
        if known {
            admission.with_table(Agreement::between(Fuzzed::CATALOG, older::Fuzzed::CATALOG))
        } else {
            admission
        }
    }

    /// The session that welcomes this client, when it wants one and this side keeps them.
    fn welcome(&mut self, request: Option<&Resume>) -> Option<Box<Memory>> {
        let request = request.filter(|_| self.keeps)?;
        let (trid, token) = (Trid::new(7), Token::from_bytes([7; 16]));
        let mut why = NewReason::Forgotten;
        if let Some(mut session) = self.kept.take() {
            match session.welcome(request, trid, self.mode.is_multiple_of(2), token) {
                Ok(()) => return Some(session),
                Err(refused) => why = refused,
            }
            self.kept = Some(session);
        }
        let mut session = memory();
        session.begin_with(request, trid, why, self.kept.is_none().then_some(token));
        Some(session)
    }

    fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }

    fn message(&mut self, number: u8, acked: Option<u64>, repeated: bool, what: &str) {
        self.saw(format!("message {number}, {acked:?}, {repeated}: {what}"));
    }
}

// ── by hand ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Connection, deframer, what waits, and the handler that does.
struct ByHand {
    conn: Conn,
    rx: Deframer<[u8; OUTPUT]>,
    waiting: VecDeque<Kept>,
    running: Option<(Tag, Held)>,
    ended: Option<(Cause, usize)>,
}

impl ByHand {
    fn new(conn: Conn) -> Self {
        Self {
            conn,
            rx: Deframer::new([0; OUTPUT]),
            waiting: VecDeque::new(),
            running: None,
            ended: None,
        }
    }

    fn plain(&self) -> usize {
        let plain = |kept: &&Kept| kept.message().number_in_session().is_none();
        self.waiting.iter().filter(plain).count()
    }

    fn dropped(&mut self, event: Option<Event<'_>>) {
        let Some(Event::Dropped(cause)) = event else { return };
        let mut unhandled = 0;
        if matches!(cause, Cause::OurError(_) | Cause::WeRefused(_)) {
            unhandled = self.plain();
            self.waiting.retain(|kept| kept.message().number_in_session().is_some());
        }
        self.ended = Some((cause, unhandled));
    }

    /// A message has its turn.
    fn handle(&mut self, how: &mut How, message: MessageRef<'_>) {
        let (tag, number, repeated) = (message.tag(), message.number(), message.maybe_repeated());
        let acked = message.number_in_session();
        if let Some(acked) = acked {
            assert!(self.conn.begin(acked), "PROTOCOL Q-2: it is the next one");
        }
        let conn = &mut self.conn;
        let what = match how.mode % 6 {
            0 if number == 0 => conn.decode::<Count>(message).map(|value| format!("{value:?}")),
            0 => conn.decode::<Words<'_>>(message).map(|value| format!("{value:?}")),
            1 => {
                let structure = Fuzzed::STRUCTURES[usize::from(number) % 2];
                conn.decode_raw(message, structure).map(|(bytes, held)| {
                    self.running = Some((tag, held));
                    format!("{bytes:?} waits")
                })
            }
            3 => {
                conn.reject(message, Code::HandlerFailed, "");
                Ok("refused".into())
            }
            4 => conn.decode::<Count>(message).map(|value| format!("{value:?}")),
            // Nobody looks at it.
            _ => {
                conn.reject(message, Code::NoHandler, "");
                Ok("nobody".into())
            }
        };
        let what = what.unwrap_or_else(|error| {
            if error == diset_proto::DecodeError::OtherType {
                self.conn.fail(tag, Code::NoHandler, "");
            }
            "is not one".into()
        });
        how.message(number, acked, repeated, &what);
    }

    /// What waits, as far as it may be handled now.
    fn pump(&mut self, how: &mut How) {
        while self.running.is_none() {
            let is_over = self.conn.phase().is_over();
            let ours = matches!(self.conn.cause(), Some(Cause::OurError(_) | Cause::WeRefused(_)));
            let may_begin = !is_over || (!ours && self.ended.is_some() && self.plain() > 0);
            if may_begin && let Some(kept) = self.waiting.pop_front() {
                self.handle(how, kept.message());
                continue;
            }
            if self.plain() == 0
                && let Some((cause, unhandled)) = self.ended.take()
            {
                self.waiting.clear();
                how.saw(format!("ended: {cause}; {unhandled}"));
            }
            return;
        }
    }
}

impl Driven for ByHand {
    fn feed(&mut self, now: Instant, how: &mut How, bytes: &[u8]) {
        self.pump(how);
        if !bytes.is_empty() {
            self.conn.handle_received(now);
        }
        let mut input = bytes;
        let mut rx = core::mem::replace(&mut self.rx, Deframer::new([0; OUTPUT]));
        while let Some(frame) = rx.next(&mut input, self.conn.max_frame()) {
            match self.conn.handle_frame(now, frame) {
                Some(Event::Proposed(proposal)) => {
                    how.saw(format!("proposed {:?}", proposal.identity()));
                    match how.mode % 4 {
                        known @ (0 | 1) => self.admit(now, how, known + how.mode / 4 * 2),
                        2 => self.refuse(Notice::new(Code::Busy)),
                        _ => {}
                    }
                }
                Some(Event::Message(message)) => {
                    if self.running.is_some() || !self.waiting.is_empty() {
                        let kept = self.conn.keep(message);
                        self.waiting.push_back(kept);
                    } else {
                        self.handle(how, message);
                    }
                }
                Some(Event::Connected(trid)) => how.saw(format!("connected {}", trid.number())),
                Some(Event::Acknowledged) => how.saw("acknowledged"),
                Some(Event::NextKey(..) | Event::NextKeyRemembered(..)) => how.saw("next key"),
                Some(Event::GoingAway(notice)) => how.saw(format!("going away: {notice}")),
                event => self.dropped(event),
            }
            self.pump(how);
        }
        self.rx = rx;
    }

    fn admit(&mut self, now: Instant, how: &mut How, choice: u8) {
        let admission = how.admission(choice);
        let request = self.conn.resume_request().cloned();
        let event = match how.welcome(request.as_ref()) {
            Some(session) => self
                .conn
                .accept_in_session(now, admission, Some(session))
                .unwrap_or_else(|(_, session)| {
                    how.kept = session;
                    None
                }),
            None => self.conn.accept(now, admission).ok().flatten(),
        };
        if let Some(Event::Connected(trid)) = event {
            how.saw(format!("connected {}", trid.number()));
        }
    }

    fn refuse(&mut self, notice: Notice) {
        let _ = self.conn.refuse(notice);
    }

    fn waits(&mut self) -> bool {
        self.running.is_some()
    }

    fn handled(&mut self, result: HandlerResult) {
        let (tag, held) = self.running.take().unwrap();
        match result {
            Ok(()) => self.conn.release(held),
            Err(_) => self.conn.fail(tag, Code::HandlerFailed, ""),
        }
    }

    fn expire(&mut self) {
        let plain = self.plain();
        if let Some((_, unhandled)) = &mut self.ended {
            *unhandled += plain;
            self.waiting.retain(|kept| kept.message().number_in_session().is_some());
        }
        if let Some((tag, _)) = self.running.take() {
            self.conn.fail(tag, Code::NoHandler, "");
        }
    }

    fn send(&mut self, number: u8, message: &Words<'_>) {
        let _ = self.conn.send(number, message);
    }

    fn count(&mut self, number: u8, n: u64, acked: Option<Unsure>) {
        let _ = match acked {
            Some(unsure) => self.conn.send_acked(number, &Count { n }, unsure).map(drop),
            None => self.conn.send(number, &Count { n }),
        };
    }

    fn outcomes(&mut self) {
        while self.conn.take_outcome().is_some() {}
    }

    fn announce(&mut self, lasts: Duration) {
        let _ = self.conn.announce_next_key([1; 32], lasts);
        let _ = self.conn.next_key_remembered([1; 32], lasts);
    }

    fn go_away(&mut self, now: Instant, notice: Notice, span: Duration) {
        let _ = self.conn.go_away(now, notice, span);
    }

    fn disconnect(&mut self, notice: Notice) {
        self.conn.disconnect(notice);
    }

    fn turn(&mut self, now: Instant) -> Vec<u8> {
        for _ in 0..5 {
            let event = self.conn.handle_time(now);
            self.dropped(event);
            let _ = self.conn.transmit();
            if self.conn.wake().is_none_or(|wake| wake > now) {
                return self.conn.transmit().to_vec();
            }
        }
        panic!("it is due for ever: {:?}", self.conn);
    }

    fn wrote(&mut self, count: usize) {
        self.conn.transmitted(count);
    }

    fn eof(&mut self, _: Instant) {
        let event = self.conn.handle_eof();
        self.dropped(event);
    }

    fn again(&mut self, how: &mut How, config: Option<&ClientConfig<'_>>) {
        let session = self.conn.take_session();
        *self = match config {
            Some(config) => Self::new(Connection::client_in_session(start(), config, [0; OUTPUT], session).unwrap()),
            None => {
                how.kept = session.or_else(|| how.kept.take());
                Self::new(service())
            }
        };
    }

    fn phase(&self) -> Phase {
        self.conn.phase()
    }

    fn wake(&self) -> Option<Instant> {
        self.conn.wake()
    }
}

fn service() -> Conn {
    let service = Connection::service(start(), Fuzzed::CATALOG, limits(), [0; OUTPUT]);
    service.unwrap().with_sessions(None)
}

// ── the halves ──────────────────────────────────────────────────────────────────────────────────────────────────────

struct Halves {
    rx: drive::Rx<Fuzz>,
    tx: drive::Tx<Fuzz>,
    /// What the handler that waits comes to.
    said: Rc<Cell<Option<HandlerResult>>>,
}

impl Halves {
    fn new(session: Option<Box<Memory>>) -> Self {
        Self {
            rx: drive::Rx::new([0; OUTPUT], FixedQueue::new([0; 4096])),
            tx: drive::Tx::new([0; OUTPUT], session),
            said: Rc::default(),
        }
    }
}

/// As [`ByHand::handle`].
fn handle(how: &mut How, lent: Lent<'_, Fuzz>, said: &Rc<Cell<Option<HandlerResult>>>) {
    let (number, acked, repeated) = (
        lent.number(),
        lent.meta().number_in_session(),
        lent.meta().maybe_repeated(),
    );
    fn ok<T: core::fmt::Debug>(decoded: Option<(T, drive::Handling<'_, Fuzz>)>) -> Option<String> {
        let (value, handling) = decoded?;
        handling.done(Ok(()));
        Some(format!("{value:?}"))
    }
    let what = match how.mode % 6 {
        0 if number == 0 => ok(lent.decode::<Count>()),
        0 => ok(lent.decode::<Words<'_>>()),
        1 => {
            let structure = Fuzzed::STRUCTURES[usize::from(number) % 2];
            lent.decode_raw(structure).map(|(bytes, handling)| {
                let mut cx = Context::from_waker(Waker::noop());
                handling.start(&mut cx, |later| later.0 = Rc::clone(said));
                format!("{bytes:?} waits")
            })
        }
        3 => {
            lent.refuse(Code::HandlerFailed);
            Some("refused".into())
        }
        4 => ok(lent.decode::<Count>()),
        2 => {
            drop(lent);
            Some("nobody".into())
        }
        _ => {
            core::mem::forget(lent);
            Some("nobody".into())
        }
    };
    how.message(number, acked, repeated, what.as_deref().unwrap_or("is not one"));
}

impl Driven for Halves {
    fn feed(&mut self, now: Instant, how: &mut How, bytes: &[u8]) {
        let mut input = bytes;
        while let Some(event) = self.rx.next(now, &mut self.tx, &mut input) {
            match event {
                drive::Event::Proposed(proposal) => {
                    how.saw(format!("proposed {:?}", proposal.identity()));
                    match how.mode % 4 {
                        known @ (0 | 1) => self.admit(now, how, known + how.mode / 4 * 2),
                        2 => self.refuse(Notice::new(Code::Busy)),
                        _ => {}
                    }
                }
                drive::Event::Message(lent) => handle(how, lent, &self.said),
                drive::Event::Connected(opened) => how.saw(format!("connected {}", opened.trid().number())),
                drive::Event::Acknowledged => how.saw("acknowledged"),
                drive::Event::NextKey(..) => how.saw("next key"),
                drive::Event::GoingAway(notice) => how.saw(format!("going away: {notice}")),
                drive::Event::Ended(ended) => how.saw(format!("ended: {}; {}", ended.cause(), ended.unhandled())),
                _ => unreachable!(),
            }
        }
        assert!(input.is_empty(), "all of it is taken in");
    }

    fn admit(&mut self, now: Instant, how: &mut How, choice: u8) {
        let admission = how.admission(choice);
        let request = self.tx.connection().resume_request().cloned();
        match how.welcome(request.as_ref()) {
            Some(session) => {
                let admitted = self.rx.admit_in_session(now, &mut self.tx, admission, Some(session));
                if let Err((_, session)) = admitted {
                    how.kept = session;
                }
            }
            None => {
                let _ = self.rx.admit(now, &mut self.tx, admission);
            }
        }
    }

    fn refuse(&mut self, notice: Notice) {
        let _ = self.rx.refuse(&mut self.tx, notice);
    }

    fn waits(&mut self) -> bool {
        self.rx.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn handled(&mut self, result: HandlerResult) {
        self.said.set(Some(result));
        assert!(!self.waits(), "it has come to an end");
    }

    fn expire(&mut self) {
        assert!(self.rx.expire().is_ready());
    }

    fn send(&mut self, number: u8, message: &Words<'_>) {
        let _ = self.tx.send(number, message);
    }

    fn count(&mut self, number: u8, n: u64, acked: Option<Unsure>) {
        let _ = match acked {
            Some(unsure) => self.tx.send_acked(number, &Count { n }, unsure).map(drop),
            None => self.tx.send(number, &Count { n }),
        };
    }

    fn outcomes(&mut self) {
        while self.tx.take_outcome().is_some() {}
    }

    fn announce(&mut self, lasts: Duration) {
        let _ = self.tx.announce_next_key([1; 32], lasts);
        let _ = self.tx.next_key_remembered([1; 32], lasts);
    }

    fn go_away(&mut self, now: Instant, notice: Notice, span: Duration) {
        let _ = self.tx.go_away(now, notice, span);
    }

    fn disconnect(&mut self, notice: Notice) {
        self.tx.disconnect(notice);
    }

    fn turn(&mut self, now: Instant) -> Vec<u8> {
        self.rx.turn(now, &mut self.tx);
        self.tx.output().to_vec()
    }

    fn wrote(&mut self, count: usize) {
        self.tx.wrote(count);
    }

    fn eof(&mut self, now: Instant) {
        self.rx.ended(now, &mut self.tx);
    }

    fn again(&mut self, how: &mut How, config: Option<&ClientConfig<'_>>) {
        match config {
            Some(config) => self.rx.connect(start(), &mut self.tx, config).unwrap(),
            None => {
                let session = self.tx.take_session();
                how.kept = session.or_else(|| how.kept.take());
                let limits = limits();
                self.rx.listen(start(), &mut self.tx, Fuzzed::CATALOG, limits).unwrap();
            }
        }
    }

    fn phase(&self) -> Phase {
        self.tx.connection().phase()
    }

    fn wake(&self) -> Option<Instant> {
        self.tx.connection().wake()
    }
}

// ── both ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// A connection that is driven by hand and one by the halves, to which the same happens.
struct Both {
    hand: ByHand,
    halves: Halves,
    hows: [How; 2],
    now: Instant,
    /// A client, with its catalog.
    client: Option<ClientConfig<'static>>,
}

impl Both {
    fn service() -> Self {
        let mut halves = Halves::new(None);
        let listening = halves.rx.listen(start(), &mut halves.tx, Fuzzed::CATALOG, limits());
        listening.unwrap();
        Self::of(ByHand::new(service()), halves, None)
    }

    fn client(is_older: bool, keeps: bool) -> Self {
        let config = ClientConfig {
            catalog: if is_older {
                older::Fuzzed::CATALOG
            } else {
                Fuzzed::CATALOG
            },
            identity: Identity::from_bytes([1; 16]),
            limits: limits(),
            args: &[("site", diset_proto::Arg::Text("here"))],
        };
        let session = || keeps.then(memory);
        let conn = Connection::client_in_session(start(), &config, [0; OUTPUT], session()).unwrap();
        let mut halves = Halves::new(session());
        halves.rx.connect(start(), &mut halves.tx, &config).unwrap();
        Self::of(ByHand::new(conn), halves, Some(config))
    }

    fn of(hand: ByHand, halves: Halves, client: Option<ClientConfig<'static>>) -> Self {
        Self {
            hand,
            halves,
            hows: Default::default(),
            now: start(),
            client,
        }
    }

    /// Does the same to both; then what waits has its turn.
    fn each(&mut self, mut act: impl FnMut(&mut dyn Driven, &mut How)) {
        let [hand, halves] = &mut self.hows;
        act(&mut self.hand, hand);
        act(&mut self.halves, halves);
        self.feed(&[]);
        self.same();
    }

    fn feed(&mut self, bytes: &[u8]) {
        let [hand, halves] = &mut self.hows;
        self.hand.feed(self.now, hand, bytes);
        self.halves.feed(self.now, halves, bytes);
        self.same();
    }

    /// The same was seen.
    fn same(&self) {
        let [hand, halves] = &self.hows;
        assert_eq!(hand.seen, halves.seen, "by hand, by the halves");
    }

    /// The same leaves, up to so many bytes.
    fn turn(&mut self, most: usize) {
        let bytes = self.hand.turn(self.now);
        assert_eq!(bytes, self.halves.turn(self.now), "by hand, by the halves");
        let count = bytes.len().min(most);
        self.each(|driven, _| driven.wrote(count));
        assert_eq!(self.hand.phase(), self.halves.phase());
        assert_eq!(self.hand.wake(), self.halves.wake());
        assert_eq!(self.hand.waits(), self.halves.waits());
    }

    /// The transport ends, and all that came with it.
    fn end(&mut self) {
        let now = self.now;
        self.each(|driven, _| driven.eof(now));
        while self.hand.waits() {
            self.each(|driven, _| driven.expire());
        }
        assert_eq!(self.hand.phase(), Phase::Closed);
        assert_eq!(self.halves.phase(), Phase::Closed);
    }

    fn operate(&mut self, canned: &[Vec<u8>], bytes: &mut Bytes<'_>) {
        while let Some(operation) = bytes.next() {
            let now = self.now;
            match operation % 16 {
                0 => {
                    let count = bytes.byte();
                    self.feed(bytes.take(count.into()));
                }
                1 => {
                    let (head, count) = (bytes.byte(), bytes.byte());
                    self.feed(&frame(head, bytes.take(count.into())));
                }
                2 => self.feed(&canned[usize::from(bytes.byte()) % canned.len()]),
                3 => self.turn(usize::MAX),
                4 => self.turn(bytes.byte().into()),
                5 => {
                    self.now = now.after(Duration::from_millis(bytes.number()));
                    self.turn(0);
                }
                6 => self.now = Instant::from_millis(now.as_millis().saturating_sub(bytes.number())),
                7 => {
                    let (number, n) = (bytes.byte() % 3, bytes.number());
                    self.each(|driven, _| driven.count(number, n, None));
                }
                8 => {
                    let text = "w".repeat(usize::from(bytes.byte()) * 5);
                    let words = Words {
                        text: &text,
                        more: None,
                    };
                    self.each(|driven, _| driven.send(1, &words));
                }
                9 => {
                    let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(Duration::MAX, Duration::ZERO));
                    let span = Duration::from_millis(bytes.number());
                    self.each(|driven, _| driven.go_away(now, notice.clone(), span));
                }
                10 => {
                    let notice = Notice::new(Code::Other(bytes.number() as u16)).with_text("text");
                    self.each(|driven, _| driven.disconnect(notice.clone()));
                }
                11 => {
                    let choice = bytes.byte();
                    self.each(|driven, how| driven.admit(now, how, choice));
                }
                12 => self.each(|driven, _| driven.refuse(Notice::new(Code::NotAdmitted))),
                13 => self.handled(Ok(())),
                14 => {
                    let mode = bytes.byte();
                    self.hows.iter_mut().for_each(|how| how.mode = mode);
                }
                _ => match bytes.byte() {
                    0xff => self.end(),
                    0xfe => self.handled(Err(Failure::new(Code::HandlerFailed))),
                    0xf0 => {
                        let unsure = if bytes.byte().is_multiple_of(2) {
                            Unsure::Report
                        } else {
                            Unsure::Resend
                        };
                        let (number, n) = (bytes.byte() % 3, bytes.number());
                        self.each(|driven, _| driven.count(number, n, Some(unsure)));
                    }
                    0xf1 => self.each(|driven, _| driven.outcomes()),
                    0xf2 => self.each(|driven, _| driven.expire()),
                    0xf3 => {
                        self.end();
                        self.now = start();
                        let client = self.client;
                        self.each(|driven, how| driven.again(how, client.as_ref()));
                    }
                    0xf5 => {
                        let lasts = Duration::from_secs(bytes.number());
                        self.each(|driven, _| driven.announce(lasts));
                    }
                    0xf7 => self.hows.iter_mut().for_each(|how| how.keeps = !how.keeps),
                    _ => self.turn(0),
                },
            }
        }
    }

    fn handled(&mut self, result: HandlerResult) {
        if self.hand.waits() {
            self.each(|driven, _| driven.handled(result));
        }
    }
}

/// Whatever happens, the halves tell and write what a connection does that is driven by hand. The first byte chooses a
/// service, whose operations are those of `service_ops`, or a client, whose are those of `client_ops`.
pub fn halves(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (mut both, canned) = if bytes.byte().is_multiple_of(2) {
        (Both::service(), &*FROM_CLIENT)
    } else {
        let choice = bytes.byte();
        (Both::client(choice % 3 == 1, choice / 3 % 2 == 1), &*FROM_SERVICE)
    };
    both.operate(canned, &mut bytes);
    both.turn(usize::MAX);
    both.end();
    both.turn(usize::MAX);
}
