//! Judges a world by what it was given to send and what it was told, message by message.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::notes::{Fate, index_of};
use super::{Report, Tally};
use crate::session::{Outcome, Resumption};
use crate::sim::random::Random;
use crate::sim::world::{App, Arrived, Delivery, Fault, Handling, Sent, What, Who};
use crate::status::Code;
use crate::store::Unsure;
use crate::time::Instant;
use crate::wire::session::NewReason;

#[derive(Debug)]
struct Message {
    who: Who,
    delivery: Delivery,
    fate: Fate,
    /// Not every peer takes it.
    secret: bool,
    sent: Sent,
    /// How often its session had begun when it was sent.
    begun: u32,
    told: Option<Outcome>,
    /// Its sender has lost it, or was killed before it was kept.
    lost: bool,
    unkept: bool,
    /// Its sender was cloned, or killed after it had been told: nothing is held against it.
    lax: bool,
    /// In which processes it was handled.
    handlings: Vec<u64>,
    results: Vec<Result<(), Code>>,
}

/// Judges, and handles messages.
#[derive(Debug)]
pub(super) struct Oracle {
    random: Random,
    messages: Vec<Message>,
    /// Acked messages by session and number.
    numbers: BTreeMap<(u64, u64), usize>,
    /// Those without an outcome.
    open: BTreeSet<(u64, u64)>,
    begun: BTreeMap<u64, u32>,
    /// Services of clients of which there are two.
    cloned: BTreeSet<Who>,
    /// A client has lost its session.
    forgets: bool,
    /// The last message of each session that was handled for the first time.
    last_first: BTreeMap<u64, usize>,
    last_plain: BTreeMap<(u64, Who), usize>,
    pub(super) tally: Tally,
    broken: Option<String>,
    trace: Option<Vec<String>>,
    now: Instant,
    pub(super) slow: u64,
}

impl Oracle {
    pub(super) fn new(seed: u64, proven: bool, traced: bool) -> Self {
        Self {
            random: Random::new(!seed),
            messages: Vec::new(),
            numbers: BTreeMap::new(),
            open: BTreeSet::new(),
            begun: BTreeMap::new(),
            cloned: BTreeSet::new(),
            // Without a proof a lost first acceptance is as bad (PROTOCOL N-4).
            forgets: !proven,
            last_first: BTreeMap::new(),
            last_plain: BTreeMap::new(),
            tally: Tally::default(),
            broken: None,
            trace: traced.then(Vec::new),
            now: Instant::ZERO,
            slow: 0,
        }
    }

    pub(super) fn report(self) -> Report {
        Report {
            tally: self.tally,
            broken: self.broken,
            trace: self.trace.unwrap_or_default(),
        }
    }

    /// What the next message is called.
    pub(super) fn next_id(&self) -> u64 {
        self.messages.len() as u64
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn log(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} ms  {}", now.as_millis(), line()));
        }
    }

    pub(super) fn breaks(&mut self, rule: &str, why: String) {
        self.log(|| format!("BROKEN {rule}: {why}"));
        if self.broken.is_none() {
            self.broken = Some(format!("at {} ms, {rule}: {why}", self.now.as_millis()));
        }
    }

    /// A message was taken.
    pub(super) fn sent(&mut self, who: Who, delivery: Delivery, (fate, secret): (Fate, bool), sent: Sent) {
        let index = self.messages.len();
        self.log(|| format!("{who:?} sends m{index} {delivery:?} {fate:?} {sent:?}"));
        self.tally.count(match delivery {
            Delivery::Plain => "sent: plain",
            Delivery::Acked(Unsure::Report) => "sent: acked, report",
            Delivery::Acked(Unsure::Resend) => "sent: acked, resend",
        });
        if sent.number.is_some() && sent.link.is_none() {
            self.tally.count("sent: while absent");
        }
        if let Some(number) = sent.number {
            let name = (sent.session, number);
            if self.numbers.insert(name, index).is_some() {
                self.breaks("Q-1", format!("number {name:?} is given twice"));
            }
            self.open.insert(name);
        }
        let begun = self.begun.get(&sent.session).copied().unwrap_or(0);
        self.messages.push(Message {
            who,
            delivery,
            fate,
            secret,
            sent,
            begun,
            told: None,
            lost: false,
            unkept: false,
            lax: false,
            handlings: Vec::new(),
            results: Vec::new(),
        });
    }

    /// A copy of this client begins: what it has not been told of may come from either, and what
    /// comes for it may come to either.
    pub(super) fn cloned(&mut self, origin: Who, service: Who) {
        self.cloned.insert(service);
        for message in self.messages.iter_mut().filter(|message| message.who == origin) {
            message.lax = true;
        }
    }

    /// Messages without an outcome, when there should be none.
    pub(super) fn stuck(&mut self) {
        let stuck: Vec<_> = self.open.iter().copied().collect();
        if !stuck.is_empty() {
            let names: Vec<_> = stuck.iter().filter_map(|name| self.numbers.get(name)).collect();
            let text = format!("messages {names:?} (session, number) {stuck:?} never get an outcome");
            self.breaks("Q-5", text);
        }
    }

    pub(super) fn outcome(&mut self, session: u64, number: u64, outcome: Outcome) {
        let name = (session, number);
        let begun = self.begun.get(&session).copied().unwrap_or(0);
        let Some(message) = self.numbers.get(&name).and_then(|index| self.messages.get_mut(*index)) else {
            // A copy is told of what its origin sent.
            return;
        };
        self.open.remove(&name);
        self.tally.count(match outcome {
            Outcome::Ok => "outcome: ok",
            Outcome::Failed(Code::HandlerFailed) => "outcome: handler failed",
            Outcome::Failed(Code::Invalid) => "outcome: invalid",
            Outcome::Failed(_) => "outcome: refused",
            Outcome::NotAgreed(_) | Outcome::TooLong => "outcome: not agreed",
            Outcome::Skipped => "outcome: skipped",
            Outcome::Unknown => "outcome: unknown",
        });
        let told = message.told.replace(outcome);
        if message.lax {
            return;
        }
        let fits = match outcome {
            Outcome::Ok => message.results.contains(&Ok(())),
            Outcome::Failed(code) => message.results.contains(&Err(code)),
            Outcome::NotAgreed(_) | Outcome::TooLong | Outcome::Skipped => message.handlings.is_empty(),
            Outcome::Unknown => begun > message.begun || message.secret,
        };
        let text = format!("{message:?}");
        if told.is_some() {
            self.breaks("Q-5", format!("second outcome {outcome:?}: {text}"));
        } else if !fits {
            self.breaks("Q-5", format!("outcome {outcome:?} is wrong: {text}"));
        }
    }

    fn begin_plain(&mut self, index: usize, link: Option<u64>, to: Who) {
        let Some(message) = self.messages.get(index) else {
            return;
        };
        let (sent, from) = (message.sent, message.who);
        if !message.handlings.is_empty() {
            self.breaks("M-3", format!("plain m{index} is handled twice"));
        }
        if sent.link != link {
            self.breaks("M-3", format!("plain m{index} comes on another connection"));
        }
        let last = self.last_plain.insert((link.unwrap_or(0), to), index);
        if last.is_some_and(|last| last >= index) {
            self.breaks("M-3", format!("plain m{index} comes after m{last:?}"));
        }
        let before = self.messages.iter().take(index).filter(|before| before.who == from);
        let passed = before
            .filter(|before| before.sent.session == sent.session && before.sent.number.is_some())
            .find(|before| before.handlings.is_empty() && before.told.is_none() && !before.lost && !before.lax);
        if let Some(passed) = passed {
            let text = format!("plain m{index} passes {:?}", passed.sent);
            self.breaks("Q-7", text);
        }
    }

    fn begin_acked(&mut self, index: usize, arrived: &Arrived<'_>, unsure: Unsure) {
        let Some(message) = self.messages.get(index) else {
            return;
        };
        if message.lax {
            return;
        }
        let (session, from) = (message.sent.session, message.who);
        let begun = self.begun.get(&session).copied().unwrap_or(0);
        let never = matches!(
            message.told,
            Some(Outcome::Skipped | Outcome::NotAgreed(_) | Outcome::TooLong)
        );
        let failed = matches!(message.told, Some(Outcome::Failed(_)));
        let copied = self.cloned.contains(&message.who);
        if never || (failed && !copied) || message.unkept {
            let text = format!("m{index} is handled: {message:?}");
            return self.breaks(if message.unkept { "Q-6" } else { "Q-5" }, text);
        }
        match message.handlings.last() {
            None => {
                self.tally.count(if arrived.maybe_repeated {
                    "handled: marked, first time"
                } else {
                    "handled: first time"
                });
                let last = self.last_first.insert(session, index);
                if last.is_some_and(|last| last > index) && !self.cloned.contains(&from) {
                    self.breaks("Q-1", format!("m{index} is handled after {last:?}"));
                }
            }
            Some(life) => {
                self.tally.count("handled: repeated, marked");
                // By this process once more each time that the session begins anew.
                let here = message.handlings.iter().filter(|life| **life == arrived.life).count();
                let resent = unsure == Unsure::Resend && here <= (begun - message.begun) as usize;
                let again = here == 0 || resent;
                let by_copy = *life != arrived.life && copied;
                if !by_copy && (!again || !arrived.maybe_repeated) {
                    let marked = if arrived.maybe_repeated { "marked" } else { "not marked" };
                    let text = format!("m{index} is handled again, {marked}: {message:?}");
                    self.breaks("Q-3", text);
                }
            }
        }
    }

    fn gone(&mut self, session: u64) {
        for (name, index) in self.numbers.range((session, 0)..=(session, u64::MAX)) {
            if let Some(message) = self.messages.get_mut(*index) {
                message.lost |= message.told.is_none();
            }
            self.open.remove(name);
        }
    }

    fn restored(&mut self, session: u64, stored: u64) {
        let unkept = self.numbers.split_off(&(session, stored + 1));
        for (name, index) in unkept {
            if name.0 != session {
                self.numbers.insert(name, index);
                continue;
            }
            self.open.remove(&name);
            let Some(message) = self.messages.get_mut(index) else {
                continue;
            };
            message.lost = true;
            message.unkept = true;
            if !message.handlings.is_empty() && !message.lax {
                let text = format!("m{index} was handled before it was kept");
                self.breaks("Q-6", text);
            }
        }
        for index in self
            .numbers
            .range((session, 0)..=(session, stored))
            .map(|(_, index)| *index)
        {
            if let Some(message) = self.messages.get_mut(index) {
                // Whoever was told is dead; the next process may be told again.
                message.lax |= message.told.is_some();
            }
        }
    }

    fn delivered(&mut self, session: u64, processed: u64) {
        let done: Vec<_> = self.open.range((session, 0)..=(session, processed)).copied().collect();
        for (session, number) in done {
            self.outcome(session, number, Outcome::Ok);
        }
    }

    /// Where nobody was copied and no client lost its memory, a client goes on with its session, or
    /// begins one (PROTOCOL N-4, N-5).
    fn check_conflict(&mut self, who: Who, session: u64) {
        let excused = self.forgets || !self.cloned.is_empty();
        if matches!(who, Who::Client(_)) && !excused {
            self.breaks("N-4", format!("session {session} is in conflict with itself"));
        }
    }

    fn opened(&mut self, who: Who, session: u64, resumption: Option<Resumption>) {
        let Some(resumption) = resumption else {
            return self.breaks("N-6", format!("session {session} opened without a word"));
        };
        if let Resumption::New { .. } = resumption {
            *self.begun.entry(session).or_default() += 1;
        }
        let what = match resumption {
            Resumption::Resumed { replayed: 0 } => "opened: resumed",
            Resumption::Resumed { .. } => "opened: resumed with replay",
            Resumption::New { why } => match why {
                NewReason::First => "opened: new, first",
                NewReason::Forgotten => "opened: new, forgotten",
                NewReason::StateConflict => {
                    self.check_conflict(who, session);
                    "opened: new, state conflict"
                }
                NewReason::NoRoom => "opened: new, no room",
                NewReason::Other(_) => "opened: new, other",
            },
        };
        self.tally.count(what);
    }

    fn handled(&mut self, payload: &[u8], result: Result<(), Code>, counted: bool) {
        let Some(message) = index_of(payload).and_then(|index| self.messages.get_mut(index)) else {
            return;
        };
        message.results.push(result);
        if !counted {
            self.tally.count("handled: session gone meanwhile");
        }
    }
}

impl App for Oracle {
    fn handle(&mut self, now: Instant, who: Who, arrived: &Arrived<'_>) -> Handling {
        self.now = now;
        let index = index_of(arrived.payload).unwrap_or(usize::MAX);
        let (link, session, number) = (arrived.link, arrived.session, arrived.number);
        let repeated = arrived.maybe_repeated;
        self.log(|| {
            format!("{who:?} handles m{index} link {link:?} session {session} number {number:?} repeated {repeated}")
        });
        let Some((delivery, fate)) = self.messages.get(index).map(|message| (message.delivery, message.fate)) else {
            self.breaks("M-2", format!("m{index} was never sent"));
            return Handling::Refuse(Code::NoHandler);
        };
        match delivery {
            Delivery::Plain => {
                self.tally.count("handled: plain");
                self.begin_plain(index, link, who);
            }
            Delivery::Acked(unsure) => {
                if link.is_none() {
                    self.tally.count("handled: from the inbox");
                }
                self.begin_acked(index, arrived, unsure);
            }
        }
        if let Some(message) = self.messages.get_mut(index) {
            message.handlings.push(arrived.life);
        }
        let takes = if self.random.once_in(3) {
            self.random.millis(self.slow)
        } else {
            Duration::ZERO
        };
        let run = |result| Handling::Run { takes, result };
        match fate {
            Fate::Ok | Fate::Invalid => run(Ok(())),
            Fate::Fails => run(Err(Code::HandlerFailed)),
            Fate::Forbidden => Handling::Refuse(Code::Forbidden),
            Fate::NoHandler => Handling::Refuse(Code::NoHandler),
        }
    }

    fn happened(&mut self, now: Instant, who: Who, what: &What) {
        self.now = now;
        self.log(|| format!("{who:?} {what:?}"));
        match what {
            What::Opened {
                session, resumption, ..
            } => self.opened(who, *session, *resumption),
            What::Outcome {
                session,
                number,
                outcome,
            } => self.outcome(*session, *number, *outcome),
            What::Delivered { session, delivered } => self.delivered(*session, delivered.processed),
            What::Handled {
                payload,
                result,
                counted,
                ..
            } => self.handled(payload, *result, *counted),
            What::Gone { session } => {
                self.forgets |= matches!(who, Who::Client(_));
                self.gone(*session);
            }
            What::Restored { session, stored } => {
                self.tally.count(match who {
                    Who::Client(_) => "fault: client killed, with store",
                    Who::Service(_) => "fault: service killed, with store",
                });
                self.restored(*session, *stored);
            }
            What::Fault(fault) => self.tally.count(name_of(*fault)),
            What::Dropped { .. } => {}
        }
    }
}

const fn name_of(fault: Fault) -> &'static str {
    match fault {
        Fault::Cut => "fault: cut",
        Fault::CutAtByte => "fault: cut at a byte",
        Fault::HalfOpen => "fault: half-open",
        Fault::Stall => "fault: stall",
        Fault::ClockJump => "fault: clock jump",
        Fault::Displace => "fault: displacement",
        Fault::KillClient => "fault: client killed",
        Fault::KillService => "fault: service killed",
        Fault::Clone => "fault: clone",
        Fault::Forgotten => "fault: retention over",
        Fault::GoAway => "fault: go-away",
        Fault::Disconnect => "fault: disconnect",
        Fault::Sync => "fault: late disk keeps",
    }
}
