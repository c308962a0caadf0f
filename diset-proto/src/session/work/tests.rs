//! Every order of what can happen to messages and links, a few messages at a time, against a list of what became of each.

use core::marker::PhantomData;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::collections::{HashSet, VecDeque};
use std::panic::catch_unwind;

use super::super::queue::{FixedQueue, NoQueue};
use super::*;
use crate::definition::Direction;
use crate::drive::schedule::{Next, Schedule};
use crate::error::Cause;
use crate::id::Trid;
use crate::session::queue::Acked;
use crate::session::slot::NoSession;
use crate::status::Notice;

/// What a handler that waits comes to when it is asked; `None`: it waits on.
#[derive(Debug, Clone, Default)]
struct Script(Option<HandlerResult>);

impl Running for Script {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(self.0.take().unwrap_or(Err(Failure::ABANDONED)))
    }
}

/// What the halves would be made of.
struct Made<Q>(PhantomData<Q>);

impl<Q: Queue> Parts for Made<Q> {
    type Buffer = [u8; 0];
    type Session = NoSession;
    type Queue = Q;
    type Running = Script;
}

static DEF: MessageDef = MessageDef::new::<u8>("Byte", Direction::Both);
const SECOND: Duration = Duration::from_secs(1);
const FAILED: HandlerResult = Err(Failure::new(Code::HandlerFailed));
const AGAIN: HandlerResult = Err(Failure::retry_in(SECOND));

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// A message arrives: acked or not. When nothing stands before it, it is lent at once.
    Arrive { acked: bool, handler: Handler },
    /// The one that waits is lent.
    Lend(Handler),
    /// The handler that waits comes to this.
    Return(HandlerResult),
    /// The time is over of what is of a link that has ended.
    Expire,
    /// What has ended is counted.
    Complete,
    /// A second goes by.
    Time,
    /// A link opens.
    Open,
    /// It ends: by this side, and then plain messages are not handled; or otherwise.
    End { ours: bool },
    /// What is to be told is; a callback runs then, or none.
    Tell { calls: bool },
}

/// What the handler does with its loan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Returns(HandlerResult),
    /// The message does not fit.
    Invalid,
    Panics,
    /// The loan is dropped as it is, or when it was decoded.
    Ignores,
    Forgets,
    Waits,
}

const HANDLERS: [Handler; 8] = [
    Handler::Returns(Ok(())),
    Handler::Returns(FAILED),
    Handler::Returns(AGAIN),
    Handler::Invalid,
    Handler::Panics,
    Handler::Ignores,
    Handler::Forgets,
    Handler::Waits,
];

fn acts() -> Vec<Act> {
    let mut acts = vec![Act::Expire, Act::Complete, Act::Time, Act::Open];
    acts.extend([true, false].map(|ours| Act::End { ours }));
    acts.extend([true, false].map(|calls| Act::Tell { calls }));
    acts.extend([Ok(()), FAILED, AGAIN].map(Act::Return));
    acts.extend(HANDLERS.map(Act::Lend));
    for handler in HANDLERS {
        acts.extend([true, false].map(|acked| Act::Arrive { acked, handler }));
    }
    acts
}

/// What the test knows of a message that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    number: u8,
    acked: Option<u64>,
    /// What its handler said last, when it is not known to Work yet, or wants it again.
    said: Option<End>,
    /// On which link it came.
    link: u8,
}

/// Work, and what must be true of it.
#[derive(Clone)]
struct World<Q: Queue> {
    work: Work<Q, Script>,
    schedule: Schedule<Q>,
    /// What was received is kept, and does not come again.
    durable: bool,
    now: Instant,
    /// Messages without an outcome, in the order in which they came.
    open: VecDeque<Known>,
    /// How many came, of either kind; the last acked one.
    came: u8,
    received: u64,
    /// The last one on this link: those that are here already come again.
    arriving: u64,
    /// The last acked message with an outcome, and the last that has begun.
    processed: u64,
    begun: u64,
    /// Whether the first of those is with a handler that waits, or was lent and not counted; of which link.
    out: Option<Of>,
    /// A callback runs: of which link.
    calls: Option<Of>,
    link: u8,
    /// Whether that is not over, and was told to be open.
    lives: bool,
    told: bool,
    /// The link that is over, and not told; 0 when it was not told to be open.
    ended: Option<u8>,
    /// How many messages have their turn as those of it.
    rest: usize,
    /// Bytes of credit of this link: taken by what came, given back by what was completed.
    taken: u32,
    returned: u32,
}

impl<Q: Queue + Clone> World<Q> {
    fn new(queue: Q, durable: bool) -> Self {
        Self {
            work: Work::new(queue),
            schedule: Schedule::new(),
            durable,
            now: Instant::ZERO,
            open: VecDeque::new(),
            came: 0,
            received: 0,
            arriving: 0,
            processed: 0,
            begun: 0,
            out: None,
            calls: None,
            link: 0,
            lives: false,
            told: false,
            ended: None,
            rest: 0,
            taken: 0,
            returned: 0,
        }
    }

    /// Does it, if it can be done now.
    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Arrive { acked, handler } => return self.arrive(acked, handler),
            Act::Lend(handler) => {
                if !self.lends() {
                    return false;
                }
                let Some(meta) = self.work.waiting(self.now) else {
                    return false;
                };
                assert_eq!(meta.number, self.open[0].number, "I7: in order");
                let said = handle::<Q>(self.work.lend_front(&DEF).unwrap(), handler);
                let of = match (self.rest, self.open[0].link == self.link) {
                    (0, true) => Of::Link,
                    (0, false) => Of::Carried,
                    _ => Of::Over,
                };
                self.lent(said, of);
            }
            Act::Return(result) => {
                // That a callback may ask for a retry is nothing new.
                if !self.waits() {
                    return false;
                }
                self.work.running.0 = Some(result);
                assert!(self.work.poll(&mut Context::from_waker(Waker::noop())).is_ready());
                if self.calls.is_none() {
                    self.open[0].said = Some(end_of(result));
                }
            }
            Act::Expire => return self.expire(),
            Act::Complete => return self.complete(),
            Act::Time => self.now = self.now.after(SECOND),
            Act::Open => {
                // Where nothing waits there is one link at a time.
                if self.lives || (!Q::WAITS && (self.work.has_job() || self.schedule.has_ended())) {
                    return false;
                }
                self.link += 1;
                (self.lives, self.told) = (true, false);
                self.schedule.opened(Trid::new(self.link.into()));
                // What is claimed then.
                let waits = self.open.iter().take(self.rest).filter_map(|known| known.acked).max();
                self.forget(self.begun.max(waits.unwrap_or(0)));
                self.arriving = if self.durable { self.received } else { self.begun };
                (self.taken, self.returned) = (0, 0);
            }
            Act::End { ours } => return self.end(ours),
            Act::Tell { calls } => return self.tell(calls),
        }
        true
    }

    /// Whether messages may be lent, by what this knows.
    fn lends(&self) -> bool {
        let free = self.out.is_none() && self.calls.is_none();
        let lends = free && (self.rest > 0 || (self.ended.is_none() && self.lives && self.told));
        assert_eq!(self.schedule.lends(&self.work), lends, "whose turn it is");
        lends
    }

    fn lent(&mut self, said: Option<End>, of: Of) {
        self.open[0].said = said;
        self.out = Some(of);
        self.begun = self.open[0].acked.unwrap_or(self.begun);
    }

    /// Those above come again.
    fn forget(&mut self, above: u64) {
        if self.durable {
            return;
        }
        let began = Trid::new(1);
        self.work.forget(Acked { began, number: above });
        let mut at = 0;
        let (before, mut rest, link, taken) = (self.rest, 0, self.link, &mut self.taken);
        self.open.retain(|known| {
            at += 1;
            let stays = known.acked.is_none_or(|number| number <= above);
            rest += usize::from(stays && at <= before);
            if !stays && known.link == link {
                *taken -= COST;
            }
            stays
        });
        self.rest = rest;
        self.received = self.received.min(above);
    }

    fn end(&mut self, ours: bool) -> bool {
        if !self.lives {
            return false;
        }
        let notice = Notice::new(Code::Internal);
        let cause = if ours { Cause::OurError(notice) } else { Cause::Lost };
        let waits = self.schedule.over(self.now, ours, || cause, &mut self.work);
        let told = core::mem::take(&mut self.told);
        self.lives = false;
        let others = self.ended.is_some() || self.out == Some(Of::Over) || self.calls == Some(Of::Over);
        if told && !ours {
            self.rest = self
                .open
                .iter()
                .rposition(|known| known.acked.is_none())
                .map_or(0, |at| at + 1);
        }
        // The one with its handler stays.
        let kept = self.rest.max(usize::from(self.out.is_some()));
        let mut at = 0;
        self.open.retain(|known| {
            at += 1;
            at <= kept || known.acked.is_some()
        });
        if told || !others {
            self.ended = Some(if told { self.link } else { 0 });
        }
        self.out = self.out.map(|_| Of::Over);
        self.calls = self.calls.map(|_| Of::Over);
        let last = self.open.iter().take(self.rest).filter_map(|known| known.acked).max();
        let queued = waits.map(|waits| waits.number);
        assert!(queued == last || self.out.is_some() && queued < last, "what stays");
        self.forget(self.begun.max(last.unwrap_or(0)));
        true
    }

    fn tell(&mut self, calls: bool) -> bool {
        let busy = self.out.is_some() || self.calls.is_some();
        let what = match self.schedule.next(self.now, &self.work) {
            Next::Ended(over, _) => {
                assert!(!busy && self.rest == 0, "what is left of a link comes before its end");
                let link = self.ended.take().expect("there is one");
                let told = over.map(|over| over.trid.map_or(0, Trid::number));
                assert_eq!(told, Q::WAITS.then_some(link.into()));
                Of::Over
            }
            Next::Connected => {
                assert!(!busy && self.rest == 0 && self.ended.is_none(), "D-2");
                assert!(self.lives && !core::mem::replace(&mut self.told, true));
                let told = self.schedule.trid().map(Trid::number);
                assert_eq!(told, Q::WAITS.then_some(self.link.into()));
                Of::Link
            }
            Next::Messages => {
                assert!(self.lends());
                return false;
            }
            Next::Nothing => {
                assert!(busy || !self.lives, "nothing is left out");
                return false;
            }
        };
        if calls {
            self.work
                .call(what == Of::Over, &mut Context::from_waker(Waker::noop()), |script| {
                    script.0 = None;
                });
            self.calls = Some(what);
        }
        true
    }

    /// As 30 s after the end.
    fn expire(&mut self) -> bool {
        if self.schedule.until(&self.work).is_none() {
            return false;
        }
        let plain = |known: &&Known| known.acked.is_none();
        let kept = usize::from(self.out.is_some());
        let rest = self.open.iter().take(self.rest).skip(kept).filter(plain).count();
        let dropped = self.work.drop_rest();
        assert_eq!(dropped, rest);
        self.schedule.leaves(dropped);
        self.schedule.expired();
        let mut at = 0;
        let before = self.rest;
        self.open.retain(|known| {
            at += 1;
            at <= kept || at > before || known.acked.is_some()
        });
        self.rest = 0;
        if self.waits() {
            assert!(self.work.expire().is_ready());
            if self.calls.is_none() {
                self.open[0].said = Some(End::Abandoned);
            }
        }
        self.complete();
        self.forget(self.begun.max(self.arriving));
        true
    }

    /// Whether a handler waits.
    fn waits(&self) -> bool {
        self.work.job.is_some_and(|job| job.state == State::Waits)
    }

    fn arrive(&mut self, acked: bool, handler: Handler) -> bool {
        if !self.lives {
            return false;
        }
        if acked && self.arriving < self.received {
            // It is here, and costs nothing: it is dropped.
            self.arriving += 1;
            return handler == HANDLERS[0];
        }
        let number = acked.then(|| self.received + 1);
        let meta = Meta {
            number: self.came,
            cost: COST,
            acked: number.map(|number| Acked {
                began: Trid::new(1),
                number,
            }),
            repeated: false,
        };
        let known = Known {
            number: self.came,
            acked: number,
            said: None,
            link: self.link,
        };
        let payload = [self.came];
        if self.lends() && self.work.is_empty() {
            let said = handle::<Q>(self.work.lend(meta, &payload, &DEF), handler);
            self.open.push_back(known);
            self.lent(said, Of::Link);
        } else {
            // How it will be handled is chosen when it is lent.
            if handler != HANDLERS[0] || !self.work.accept(&meta, &payload) {
                return false;
            }
            self.open.push_back(known);
        }
        self.came += 1;
        self.taken += COST;
        if let Some(number) = number {
            (self.received, self.arriving) = (number, number);
        }
        true
    }

    fn complete(&mut self) -> bool {
        let Some(completed) = self.work.complete(self.now) else {
            // What has said something is counted.
            assert!((self.out.is_none() && self.calls.is_none()) || self.waits());
            return false;
        };
        let Some(meta) = completed.meta else {
            assert_eq!(self.calls.take(), Some(completed.of), "of which link");
            return true;
        };
        let of = self.out.take();
        assert_eq!(of, Some(completed.of), "I10: only what was lent is completed");
        let known = self.open[0];
        assert_eq!(meta.number, known.number, "I10: no other one");
        let said = known.said.unwrap();
        let stays = Q::WAITS && known.acked.is_some();
        match (completed.end, said) {
            (End::Retry(span), End::Retry(_)) => {
                assert!(stays && span == Millis::of(SECOND));
                self.open[0].said = None;
                self.begun = known.acked.unwrap() - 1;
                return true;
            }
            // It cannot be asked for again.
            (End::Failed(Code::HandlerFailed), End::Retry(_)) => assert!(!stays),
            (end, said) => assert_eq!(end, said, "I10: nothing but what its handler said"),
        }
        self.open.pop_front();
        self.rest = self.rest.saturating_sub(1);
        if completed.of == Of::Link {
            assert_eq!(
                known.link, self.link,
                "I4: nothing goes back to a link that it has not cost"
            );
            self.returned += meta.cost;
        }
        if let Some(number) = known.acked {
            assert_eq!(number, self.processed + 1, "I9: none is passed over");
            self.processed = number;
        }
        true
    }

    /// What must be true whatever has happened.
    fn check(&self) {
        // I7, I8: what has no outcome is the job, or waits, in order and once.
        let mut places = Vec::new();
        let mut rest = self.work.clone();
        if let Some(meta) = rest.job.and_then(|job| job.meta) {
            places.push(meta.number);
            if rest.job.is_some_and(|job| job.queued) {
                assert_eq!(rest.queue.front().unwrap().0, meta, "its message waits as the front");
                rest.queue.pop();
            }
        }
        let mut waiting = 0;
        while let Some((meta, payload)) = rest.queue.front() {
            assert_eq!(payload, [meta.number]);
            assert!(places.len() < self.open.len(), "I7");
            waiting += u32::from(self.open[places.len()].link == self.link) * meta.cost;
            places.push(meta.number);
            rest.queue.pop();
        }
        assert!(places.iter().eq(self.open.iter().map(|known| &known.number)), "I7");
        assert_eq!(
            self.work.job.is_some(),
            self.out.is_some() || self.calls.is_some(),
            "I8"
        );
        // I4: credit is where its message is, and goes back once.
        if self.lives {
            let running = self.work.job.and_then(|job| job.meta.filter(|_| job.of == Of::Link));
            let running = running.map_or(0, |meta| meta.cost);
            let carried = self.out.filter(|of| *of != Of::Link).map_or(0, |_| {
                // It has cost an earlier one.
                assert_ne!(self.open[0].link, self.link);
                0
            });
            assert_eq!(waiting + running + carried + self.returned, self.taken, "I4");
        }
        // I9: what is processed is the number before the first acked one without an outcome.
        let first = self.open.iter().find_map(|known| known.acked);
        assert_eq!(first.map_or(self.received, |first| first - 1), self.processed, "I9");
    }

    /// As far as the future depends on it.
    fn key(&self) -> String {
        let Self { work, open, link, .. } = self;
        let open: Vec<_> = open
            .iter()
            .map(|known| (known.acked.is_some(), known.said, *link == known.link))
            .collect();
        let front = work.front();
        let retry = front.retry.map(|retry| retry.at.since(self.now));
        let job = work.job.map(|job| (job.queued, job.of, job.state));
        let links = (self.lives, self.told, self.ended.map(|ended| ended > 0), self.rest);
        let numbers = (self.begun - self.processed, self.received.saturating_sub(self.arriving));
        format!(
            "{open:?} {job:?} {retry:?} {} {} {:?} {links:?} {numbers:?} {:?}",
            front.old,
            front.rest,
            work.queue.waiting(),
            self.schedule.until(work).is_some()
        )
    }
}

const COST: u32 = 3;

fn end_of(result: HandlerResult) -> End {
    match result {
        Ok(()) => End::Ok,
        Err(Failure(Why::Code(code))) => End::Failed(code),
        Err(Failure(Why::Retry(span))) => End::Retry(Millis::of(span)),
        Err(Failure(Why::Abandoned)) => End::Abandoned,
        Err(Failure(Why::Unsent)) => End::Unsent,
    }
}

/// What a handler does with its loan; what it says by that, if it says something.
fn handle<Q: Queue>(lent: Lent<'_, Made<Q>>, handler: Handler) -> Option<End> {
    match handler {
        Handler::Returns(result) => {
            lent.run::<u8>(|_| result);
            Some(end_of(result))
        }
        Handler::Invalid => {
            assert!(lent.handling.checked::<()>(Err(Invalid::TooShort)).is_none());
            Some(End::Invalid(Invalid::TooShort))
        }
        Handler::Panics => {
            let panicked = catch_unwind(AssertUnwindSafe(|| lent.run::<u8>(|_| panic!("in a handler"))));
            assert!(panicked.is_err());
            Some(End::Abandoned)
        }
        Handler::Ignores => Some(End::Abandoned),
        Handler::Forgets => {
            let _ = lent.decode::<u8>();
            Some(End::Abandoned)
        }
        Handler::Waits => {
            let (_, handling) = lent.decode::<u8>().unwrap();
            handling.start(&mut Context::from_waker(Waker::noop()), |script| script.0 = None);
            None
        }
    }
}

/// Goes through all orders of acts with so many messages at a time, each state once, until there is no new one.
fn explore<Q: Queue + Clone>(queue: Q, durable: bool, most: usize) -> usize {
    // The panics are part of it.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some("in a handler") {
            hook(info);
        }
    }));
    let acts = acts();
    let mut seen = HashSet::new();
    let mut layer = vec![World::new(queue, durable)];
    let mut depth = 0;
    while !layer.is_empty() {
        depth += 1;
        let mut next = Vec::new();
        for world in layer {
            for &act in &acts {
                let mut world = world.clone();
                if matches!(act, Act::Arrive { .. }) && world.open.len() >= most {
                    continue;
                }
                if world.act(act) {
                    world.check();
                    if seen.insert(world.key()) {
                        next.push(world);
                    }
                }
            }
        }
        layer = next;
    }
    println!("{} states, the last ones after {depth} acts", seen.len());
    seen.len()
}

#[test]
fn no_order_of_events_loses_doubles_or_passes_over_a_message() {
    assert!(explore(FixedQueue::new([0; 160]), false, 4) > 5000);
}

#[test]
fn nor_when_what_was_received_is_kept() {
    assert!(explore(FixedQueue::new([0; 160]), true, 4) > 5000);
}

#[test]
fn without_a_queue_neither() {
    assert!(explore(NoQueue, false, 1) > 10);
}

/// The oracle would notice: a completion that takes the wrong message out.
#[test]
#[should_panic(expected = "I7")]
fn a_message_that_is_lost_is_noticed() {
    let mut world = World::new(FixedQueue::new([0; 128]), false);
    assert!(world.act(Act::Open) && world.act(Act::Tell { calls: false }));
    for acked in [false, true, true] {
        let handler = if acked { HANDLERS[0] } else { Handler::Waits };
        assert!(world.act(Act::Arrive { acked, handler }));
    }
    world.work.pop();
    world.check();
}
