//! The halves, with a handler that waits until the test says what it comes to.

use core::cell::Cell;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::rc::Rc;

use diset_proto::drive::{Event, Failure, FixedQueue, HandlerResult, Handling, Lent, Parts, Running, Rx, Tx};
use diset_proto::store::Unsure;
use diset_proto::{ClientConfig, Code, Instant, Notice, Phase, ServiceDef};

use super::super::engine::{Count, Fuzzed, Memory, OUTPUT, Words, limits, start};
use super::{Driven, How};

/// What the halves are made of.
pub(super) struct Fuzz;

impl Parts for Fuzz {
    type Buffer = [u8; OUTPUT];
    type Session = Option<Box<Memory>>;
    type Queue = FixedQueue<[u8; 4096]>;
    type Running = Later;
}

/// A handler that waits until it is told what it comes to.
#[derive(Default)]
pub(super) struct Later(Rc<Cell<Option<HandlerResult>>>);

impl Running for Later {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(Err(Failure::ABANDONED))
    }
}

pub(super) struct Halves {
    pub(super) rx: Rx<Fuzz>,
    pub(super) tx: Tx<Fuzz>,
    /// What the handler that waits comes to.
    said: Rc<Cell<Option<HandlerResult>>>,
}

impl Halves {
    pub(super) fn new(session: Option<Box<Memory>>) -> Self {
        Self {
            rx: Rx::new([0; OUTPUT], FixedQueue::new([0; 4096])),
            tx: Tx::new([0; OUTPUT], session),
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
    fn ok<T: core::fmt::Debug>(decoded: Option<(T, Handling<'_, Fuzz>)>) -> Option<String> {
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
        _ => Some("nobody".into()),
    };
    how.message(number, acked, repeated, what.as_deref().unwrap_or("is not one"));
}

impl Driven for Halves {
    fn feed(&mut self, now: Instant, how: &mut How, bytes: &[u8]) {
        let mut input = bytes;
        while let Some(event) = self.rx.next(now, &mut self.tx, &mut input) {
            match event {
                Event::Proposed(proposal) => {
                    how.saw(format!("proposed {:?}", proposal.identity()));
                    match how.mode % 4 {
                        known @ (0 | 1) => self.admit(now, how, known + how.mode / 4 * 2),
                        2 => self.refuse(Notice::new(Code::Busy)),
                        _ => {}
                    }
                }
                Event::Message(lent) => handle(how, lent, &self.said),
                Event::Connected(opened) => how.saw(format!("connected {}", opened.trid().number())),
                Event::Acknowledged => how.saw("acknowledged"),
                Event::NextKey(..) => how.saw("next key"),
                Event::GoingAway(notice) => how.saw(format!("going away: {notice}")),
                Event::Ended(ended) => how.saw(format!("ended: {}; {}", ended.cause(), ended.unhandled())),
                _ => unreachable!(),
            }
        }
        assert!(input.is_empty(), "all of it is taken in");
    }

    fn admit(&mut self, now: Instant, how: &mut How, choice: u8) {
        let admission = how.admission(choice);
        let request = self.tx.connection().resume_request().cloned();
        match how.welcome(request.as_ref()) {
            Ok(Some(session)) => {
                let admitted = self.rx.admit_in_session(now, &mut self.tx, admission, Some(session));
                if let Err((_, session)) = admitted {
                    how.kept = session;
                }
            }
            Ok(None) => {
                let _ = self.rx.admit(now, &mut self.tx, admission);
            }
            Err(notice) => self.refuse(notice),
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
