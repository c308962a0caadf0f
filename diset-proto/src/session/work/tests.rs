//! Every order of what can happen to messages, a few of them at a time, against a list of what became of each.

use core::marker::PhantomData;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::collections::{HashSet, VecDeque};
use std::panic::catch_unwind;

use super::super::queue::{FixedQueue, NoQueue};
use super::*;
use crate::definition::Direction;
use crate::id::Trid;
use crate::session::queue::Acked;
use crate::session::slot::NoSession;

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
    /// Its time is over.
    Expire,
    /// What has ended is counted.
    Complete,
    /// A second goes by.
    Time,
    /// This side ends the link: plain messages are not handled.
    Cut,
    /// What was not begun comes again.
    Forget,
    /// Another link begins.
    Link,
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
    let mut acts = vec![Act::Expire, Act::Complete, Act::Time, Act::Cut, Act::Forget, Act::Link];
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
    now: Instant,
    /// Messages without an outcome, in the order in which they came.
    open: VecDeque<Known>,
    /// How many came, of either kind; the last acked one.
    came: u8,
    received: u64,
    /// The last acked message with an outcome.
    processed: u64,
    /// Whether the first of those is with a handler that waits, or was lent and not counted.
    out: bool,
    link: u8,
    /// Bytes of credit of this link: taken by what came, given back by what was completed.
    taken: u32,
    returned: u32,
}

impl<Q: Queue + Clone> World<Q> {
    fn new(queue: Q) -> Self {
        Self {
            work: Work::new(queue),
            now: Instant::ZERO,
            open: VecDeque::new(),
            came: 0,
            received: 0,
            processed: 0,
            out: false,
            link: 0,
            taken: 0,
            returned: 0,
        }
    }

    /// Does it, if it can be done now.
    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Arrive { acked, handler } => return self.arrive(acked, handler),
            Act::Lend(handler) => {
                let Some(meta) = self.work.waiting(self.now) else {
                    return false;
                };
                assert!(!self.out, "I8: nothing is lent beside the job");
                assert_eq!(meta.number, self.open[0].number, "I7: in order");
                let said = handle::<Q>(self.work.lend_front(&DEF).unwrap(), handler);
                self.open[0].said = said;
                self.out = true;
            }
            Act::Return(result) => {
                if !self.waits() {
                    return false;
                }
                self.work.running.0 = Some(result);
                assert!(self.work.poll(&mut Context::from_waker(Waker::noop())).is_ready());
                self.open[0].said = Some(end_of(result));
            }
            Act::Expire => {
                if !self.waits() {
                    return false;
                }
                assert!(self.work.expire().is_ready());
                self.open[0].said = Some(End::Abandoned);
            }
            Act::Complete => return self.complete(),
            Act::Time => self.now = self.now.after(SECOND),
            Act::Cut => {
                let kept = usize::from(self.out);
                let plain = self.open.iter().skip(kept).filter(|known| known.acked.is_none());
                let plain = plain.count();
                assert_eq!(self.work.drop_plain(), plain);
                let mut at = 0;
                let (link, taken) = (self.link, &mut self.taken);
                self.open.retain(|known| {
                    at += 1;
                    let stays = at <= kept || known.acked.is_some();
                    if !stays && known.link == link {
                        *taken -= COST;
                    }
                    stays
                });
            }
            Act::Forget => {
                // All above what has begun: the one with a handler, unless it was asked for again.
                let begun = self.open.front().filter(|_| self.out).and_then(|known| known.acked);
                let above = begun.unwrap_or(self.processed);
                self.work.forget(above);
                let (link, taken) = (self.link, &mut self.taken);
                self.open.retain(|known| {
                    let stays = known.acked.is_none_or(|number| number <= above);
                    if !stays && known.link == link {
                        *taken -= COST;
                    }
                    stays
                });
                self.received = self.received.min(above);
            }
            Act::Link => {
                // As after the end of a link: nothing runs, and plain messages have had their time.
                if self.out || self.open.iter().any(|known| known.acked.is_none()) {
                    return false;
                }
                self.work.begin_link();
                self.link += 1;
                (self.taken, self.returned) = (0, 0);
            }
        }
        true
    }

    /// Whether a handler waits.
    fn waits(&self) -> bool {
        self.work.job.is_some_and(|job| job.state == State::Waits)
    }

    fn arrive(&mut self, acked: bool, handler: Handler) -> bool {
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
        let mut known = Known {
            number: self.came,
            acked: number,
            said: None,
            link: self.link,
        };
        let payload = [self.came];
        if self.work.is_empty() {
            assert!(!self.out);
            known.said = handle::<Q>(self.work.lend(meta, &payload, &DEF), handler);
            self.out = true;
        } else {
            // How it will be handled is chosen when it is lent.
            if handler != HANDLERS[0] || !self.work.accept(&meta, &payload) {
                return false;
            }
        }
        self.open.push_back(known);
        self.came += 1;
        self.taken += COST;
        self.received = number.unwrap_or(self.received);
        true
    }

    fn complete(&mut self) -> bool {
        let Some(completed) = self.work.complete(self.now) else {
            // What has said something is counted.
            assert!(!self.out || self.waits());
            return false;
        };
        assert!(self.out, "I10: only what was lent is completed");
        self.out = false;
        let known = self.open[0];
        assert_eq!(completed.meta.number, known.number, "I10: no other one");
        let said = known.said.unwrap();
        let stays = Q::WAITS && known.acked.is_some();
        match (completed.end, said) {
            (End::Retry(span), End::Retry(_)) => {
                assert!(stays && span == Millis::of(SECOND));
                self.open[0].said = None;
                return true;
            }
            // It cannot be asked for again.
            (End::Failed(Code::HandlerFailed), End::Retry(_)) => assert!(!stays),
            (end, said) => assert_eq!(end, said, "I10: nothing but what its handler said"),
        }
        self.open.pop_front();
        assert_eq!(completed.old, known.link != self.link);
        if !completed.old {
            self.returned += completed.meta.cost;
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
        if let Some(job) = rest.job {
            places.push(job.meta.number);
            if job.queued {
                assert_eq!(
                    rest.queue.front().unwrap().0,
                    job.meta,
                    "its message waits as the front"
                );
                rest.queue.pop();
            }
        }
        let mut waiting = 0;
        while let Some((meta, payload)) = rest.queue.front() {
            assert_eq!(payload, [meta.number]);
            places.push(meta.number);
            waiting += u32::from(self.open[places.len() - 1].link == self.link) * meta.cost;
            rest.queue.pop();
        }
        assert!(places.iter().eq(self.open.iter().map(|known| &known.number)), "I7");
        assert_eq!(self.work.job.is_some(), self.out, "I8");
        // I4: credit is where its message is, and goes back once.
        let running = self.work.job.filter(|_| self.open[0].link == self.link);
        let running = running.map_or(0, |job| job.meta.cost);
        assert_eq!(waiting + running + self.returned, self.taken, "I4");
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
        let retry = work.retry.get().map(|retry| retry.at.since(self.now));
        let job = work.job.map(|job| (job.queued, job.old, job.state));
        format!("{open:?} {job:?} {retry:?} {} {:?}", work.old(), self.queue_key())
    }

    fn queue_key(&self) -> (usize, usize) {
        self.work.queue.waiting()
    }
}

const COST: u32 = 3;

fn end_of(result: HandlerResult) -> End {
    match result {
        Ok(()) => End::Ok,
        Err(Failure(Why::Code(code))) => End::Failed(code),
        Err(Failure(Why::Retry(span))) => End::Retry(Millis::of(span)),
        Err(Failure(Why::Abandoned)) => End::Abandoned,
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
fn explore<Q: Queue + Clone>(queue: Q, most: usize) -> usize {
    // The panics are part of it.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some("in a handler") {
            hook(info);
        }
    }));
    let acts = acts();
    let mut seen = HashSet::new();
    let mut layer = vec![World::new(queue)];
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
    assert!(explore(FixedQueue::new([0; 160]), 6) > 5000);
}

#[test]
fn without_a_queue_neither() {
    assert!(explore(NoQueue, 1) > 10);
}

/// The oracle would notice: a completion that takes the wrong message out.
#[test]
#[should_panic(expected = "I7")]
fn a_message_that_is_lost_is_noticed() {
    let mut world = World::new(FixedQueue::new([0; 128]));
    for acked in [false, true, true] {
        let handler = if acked { HANDLERS[0] } else { Handler::Waits };
        assert!(world.act(Act::Arrive { acked, handler }));
    }
    world.work.pop();
    world.check();
}
