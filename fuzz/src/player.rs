//! Does to the halves what a list of calls says, as an adapter would, and holds them to what is true of every connection.

use core::cell::Cell;
use core::task::{Context, Poll, Waker};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use diset_proto::drive::{Event, Failure, HandlerResult, Handling, Io, Lent, Parts, Running, Rx, Turn, Tx};
use diset_proto::store::{Inbox, Replay};
use diset_proto::{
    AdoptConfig, Catalog, ClientConfig, Descriptions, Instant, LearnedCatalog, Limits, Misuse, NewReason, Notice,
    Outcome, Phase, Proposal, Resume, SendError, Session, Unwelcome,
};

use super::call::{Admit, Call, Raw};
use super::check::Output;
use super::engine::Fuzzed;

/// What the halves of a target are made of: any storage, a session in a box, and handlers that wait to be told.
pub(super) trait Kind: Parts<Running = Later, Session = Slot<Self>> {
    type Replay: Replay;
    type Inbox: Inbox;
    /// So many bytes may wait to be written.
    const OUTPUT: usize;
}

pub(super) type Memory<K> = Session<<K as Kind>::Replay, <K as Kind>::Inbox>;
pub(super) type Slot<K> = Option<Box<Memory<K>>>;

/// A handler that waits until it is told what it comes to.
#[derive(Default)]
pub(super) struct Later(Said);

pub(super) type Said = Rc<Cell<Option<HandlerResult>>>;

impl Running for Later {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(Err(Failure::ABANDONED))
    }
}

/// What a user does with what it is told.
pub(super) trait Host<K: Kind> {
    /// A client proposes: what is done at once.
    fn proposed(&mut self, proposal: &Proposal<'_>) -> Option<Call<'static>>;
    fn message(&mut self, lent: Lent<'_, K>, tx: &Tx<K>, later: &Said);
    /// Any other event.
    fn told(&mut self, event: Event<'_, K>, tx: &Tx<K>);
    /// An acked message was stored, or was not.
    fn stored(&mut self, _: Result<u64, SendError>) {}
    fn outcome(&mut self, _: u64, _: Outcome) {}
    /// A session does not welcome its client.
    fn unwelcome(&mut self, _: &Unwelcome) {}
}

/// Its handler waits.
pub(super) fn wait<K: Kind>(handling: Handling<'_, K>, later: &Said) {
    let mut cx = Context::from_waker(Waker::noop());
    handling.start(&mut cx, |running| running.0 = Rc::clone(later));
}

/// What a service has of its client.
pub(super) struct Sessions<R, I> {
    pub(super) kept: Option<Box<Session<R, I>>>,
    /// It keeps sessions at all.
    pub(super) keeps: bool,
    pub(super) new: Box<dyn Fn() -> Box<Session<R, I>>>,
}

impl<R: Replay, I: Inbox> Sessions<R, I> {
    pub(super) fn new(keeps: bool, new: impl Fn() -> Box<Session<R, I>> + 'static) -> Self {
        Self {
            kept: None,
            keeps,
            new: Box::new(new),
        }
    }

    /// The session that welcomes this client, when it wants one; or with what it is refused.
    pub(super) fn welcome(
        &mut self,
        request: Option<&Resume>,
        admit: &Admit,
        told: impl FnOnce(&Unwelcome),
    ) -> Result<Option<Box<Session<R, I>>>, Notice> {
        let Some(request) = request.filter(|_| self.keeps) else {
            return Ok(None);
        };
        let trid = admit.trid;
        let mut session = (self.new)();
        let Some(mut kept) = self.kept.take() else {
            let why = if request.is_return() {
                NewReason::Forgotten
            } else {
                NewReason::First
            };
            session.begin_with(request, trid, why, Some(admit.token));
            return Ok(Some(session));
        };
        let before = kept.record();
        let Err(unwelcome) = kept.welcome(request, trid, admit.proven, admit.token) else {
            return Ok(Some(kept));
        };
        assert!(kept.record() == before, "PROTOCOL N-5: it is left as it is");
        self.kept = Some(kept);
        told(&unwelcome);
        match unwelcome {
            Unwelcome::Refused(notice) => Err(notice),
            Unwelcome::Passing(why) => {
                session.begin_with(request, trid, why, None);
                Ok(Some(session))
            }
        }
    }
}

/// The halves, their clock, and what leaves.
pub(super) struct Player<K: Kind> {
    pub(super) rx: Rx<K>,
    pub(super) tx: Tx<K>,
    pub(super) now: Instant,
    pub(super) sessions: Sessions<K::Replay, K::Inbox>,
    /// What has left and nobody has taken.
    pub(super) wire: Vec<u8>,
    /// What the handler that waits will come to.
    said: Said,
    /// Of this link.
    output: Output,
    opened: usize,
    ended: usize,
}

impl<K: Kind> Player<K> {
    pub(super) fn new(rx: Rx<K>, tx: Tx<K>, now: Instant, sessions: Sessions<K::Replay, K::Inbox>) -> Self {
        Self {
            rx,
            tx,
            now,
            sessions,
            wire: Vec::new(),
            said: Rc::default(),
            output: Output::default(),
            opened: 0,
            ended: 1,
        }
    }

    // ── a link begins ───────────────────────────────────────────────────────────────

    pub(super) fn connect(&mut self, config: &ClientConfig<'_>) -> Result<(), Misuse> {
        self.rx.connect(self.now, &mut self.tx, config)?;
        self.begun();
        Ok(())
    }

    pub(super) fn adopt(&mut self, config: &AdoptConfig<'_>) -> Result<(), Misuse> {
        self.rx.adopt(self.now, &mut self.tx, config)?;
        self.begun();
        Ok(())
    }

    /// The session of the link before waits for its client.
    pub(super) fn listen(&mut self, catalog: &'static Catalog, limits: Limits, tells: Option<&Descriptions>) {
        let session = self.tx.take_session();
        self.sessions.kept = session.or_else(|| self.sessions.kept.take());
        self.rx.listen(self.now, &mut self.tx, catalog, limits).unwrap();
        if let Some(descriptions) = tells {
            self.tx.telling(descriptions.clone());
        }
        self.begun();
    }

    fn begun(&mut self) {
        self.wire.clear();
        self.output = Output::default();
        (self.opened, self.ended) = (0, 0);
    }

    // ── calls ───────────────────────────────────────────────────────────────────────

    /// Makes this call; then what waits has its turn.
    pub(super) fn play(&mut self, call: &Call<'_>, host: &mut impl Host<K>) {
        self.make(call, host);
        self.next(&[], host);
    }

    fn make(&mut self, call: &Call<'_>, host: &mut impl Host<K>) {
        let (now, tx) = (self.now, &mut self.tx);
        match *call {
            Call::Next(ref bytes, most) => bytes.chunks(most).for_each(|piece| self.next(piece, host)),
            Call::Heard => self.rx.heard(now),
            Call::Wrote(most) => self.write(most, host),
            Call::Later(span) => {
                self.now = now.after(span);
                self.turn(host);
            }
            Call::Earlier(span) => {
                let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                self.now = Instant::from_millis(now.as_millis().saturating_sub(span));
            }
            Call::Ended => self.rx.ended(now, tx),
            Call::Send(number, ref payload) => drop(tx.send(number, &Raw(payload))),
            Call::SendAcked(number, ref payload, unsure) => host.stored(tx.send_acked(number, &Raw(payload), unsure)),
            Call::SendLearned(choice, payload) => self.send_learned(choice, payload),
            Call::SkipOldest => drop(tx.skip_oldest()),
            Call::TakeOutcomes => {
                while let Some((number, outcome)) = tx.take_outcome() {
                    host.outcome(number, outcome);
                }
            }
            Call::GoAway(ref notice, span) => drop(tx.go_away(now, notice.clone(), span)),
            Call::Disconnect(ref notice) => tx.disconnect(notice.clone()),
            Call::Admit(ref admit) => self.admit(admit, host),
            Call::Refuse(ref notice) => drop(self.rx.refuse(tx, notice.clone())),
            Call::Done(result) => self.done(result),
            Call::Expire => assert!(self.rx.expire().is_ready()),
            Call::Announce(lasts) => {
                let _ = tx.announce_next_key([1; 32], lasts);
                let _ = tx.next_key_remembered([1; 32], lasts);
            }
        }
    }

    /// The handler that waits, if one does, comes to this.
    pub(super) fn done(&mut self, result: HandlerResult) {
        if self.waits() {
            self.said.set(Some(result));
            assert!(!self.waits(), "it has come to an end");
        }
    }

    /// Whether there is no link, or all that came on it is done with.
    pub(super) const fn is_over(&self) -> bool {
        self.ended > 0
    }

    /// Whether a handler waits.
    pub(super) fn waits(&mut self) -> bool {
        self.rx.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    fn next(&mut self, input: &[u8], host: &mut impl Host<K>) {
        let mut rest = input;
        while let Some(event) = self.rx.next(self.now, &mut self.tx, &mut rest) {
            match event {
                Event::Proposed(proposal) => {
                    if let Some(call) = host.proposed(&proposal) {
                        self.make(&call, host);
                    }
                }
                Event::Message(lent) => host.message(lent, &self.tx, &self.said),
                event => {
                    self.opened += usize::from(matches!(event, Event::Connected(_)));
                    self.ended += usize::from(matches!(event, Event::Ended(_)));
                    host.told(event, &self.tx);
                }
            }
            assert!(self.opened <= 1 && self.ended <= 1, "once for each link");
        }
        assert!(rest.is_empty(), "all of it is taken in");
    }

    fn admit(&mut self, admit: &Admit, host: &mut impl Host<K>) {
        let request = self.tx.connection().resume_request().cloned();
        let welcome = self
            .sessions
            .welcome(request.as_ref(), admit, |why| host.unwelcome(why));
        let (now, tx, admission) = (self.now, &mut self.tx, admit.admission.clone());
        match welcome {
            Ok(Some(session)) => {
                if let Err((_, session)) = self.rx.admit_in_session(now, tx, admission, Some(session)) {
                    self.sessions.kept = session;
                }
            }
            Ok(None) => drop(self.rx.admit(now, tx, admission)),
            Err(notice) => drop(self.rx.refuse(tx, notice)),
        }
    }

    /// What leaves fits.
    fn send_learned(&mut self, choice: u8, payload: &[u8]) {
        static CATALOG: LazyLock<Arc<LearnedCatalog>> =
            LazyLock::new(|| Arc::new(LearnedCatalog::of::<Fuzzed>().unwrap()));
        let catalog = Arc::clone(self.tx.connection().learned().unwrap_or(&CATALOG));
        let message = &catalog.messages()[usize::from(choice) % catalog.messages().len()];
        if self.tx.send_learned(message, payload).is_ok() {
            assert_eq!(message.structure().check(payload), Ok(()));
        }
    }

    /// It comes to rest.
    fn turn(&mut self, host: &mut impl Host<K>) -> Turn {
        for _ in 0..5 {
            let turn = self.rx.turn(self.now, &mut self.tx);
            if turn.wake.is_none_or(|wake| wake > self.now) {
                return turn;
            }
            self.next(&[], host);
        }
        panic!("due for ever at {:?}", self.now);
    }

    fn write(&mut self, most: usize, host: &mut impl Host<K>) {
        self.turn(host);
        let bytes = self.tx.output();
        assert!(bytes.len() <= K::OUTPUT);
        let count = bytes.len().min(most);
        let written = bytes.get(..count).unwrap_or_default();
        self.output.wrote(written);
        self.wire.extend_from_slice(written);
        self.tx.wrote(count);
    }

    // ── the end ─────────────────────────────────────────────────────────────────────

    /// The transport ends, and all that came with it: that is told once.
    pub(super) fn end(&mut self, host: &mut impl Host<K>) {
        self.play(&Call::Ended, host);
        if !self.is_over() {
            self.play(&Call::Expire, host);
        }
        assert_eq!(self.ended, 1, "the end is told once");
        assert_eq!(self.tx.connection().phase(), Phase::Closed);
        assert!(self.tx.connection().cause().is_some());
        assert!(self.tx.output().is_empty());
    }

    /// However it was left, it ends, and nothing is to be done any more.
    pub(super) fn finish(&mut self, host: &mut impl Host<K>) {
        self.play(&Call::Wrote(usize::MAX), host);
        if self.turn(host).io == Io::Finish {
            assert!(self.tx.connection().is_output_empty());
        }
        self.end(host);
        assert_eq!(
            self.turn(host),
            Turn {
                io: Io::Over,
                wake: None
            }
        );
        assert!(self.tx.output().is_empty() && self.tx.connection().wake().is_none());
    }
}
