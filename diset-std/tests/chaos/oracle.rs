//! What was seen, and whether it may be: the rules of docs/DELIVERY.md.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diset_std::{Cause, Code, Dropped, Outcome, Resumption, SendError};
use tokio::sync::watch;

use super::handlers::ANSWER;
use super::plan::{Act, End, Plan, Store};

/// What ends the process of the service.
const PROCESS: [&str; 2] = ["restart", "kill"];

/// Why connections may end: no side does what its protocol forbids.
const REASONS: [Code; 12] = [
    Code::Silent,
    Code::HandshakeTimeout,
    Code::NoHandler,
    Code::Forbidden,
    Code::HandlerFailed,
    Code::NotAdmitted,
    Code::Busy,
    Code::Disconnected,
    Code::Displaced,
    Code::Shutdown,
    Code::CredentialsEnd,
    Code::Done,
];

/// To the service, or to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Way {
    const fn back(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Runs,
    Ok,
    Failed,
    Panicked,
    /// It was not driven to its end.
    Dropped,
}

/// One call of a handler.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Which process of the service: they are counted.
    life: usize,
    marked: bool,
    ended: Ended,
}

/// What a sender was told of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Outcome(Outcome),
    /// Its process has ended before.
    Over,
    /// Nothing, in all the time there was.
    Nothing,
}

#[derive(Default)]
struct Direction {
    /// By message.
    runs: BTreeMap<i64, Vec<Run>>,
    /// Life and message.
    order: Vec<(usize, i64)>,
    plain: Vec<i64>,
    /// Plain messages that have passed the acked one before them.
    passed: Vec<i64>,
    /// Answers to acked messages of the other direction.
    answers: Vec<i64>,
    /// How many plain messages were sent, answers among them.
    said: usize,
    /// How many messages, acked ones among them, may be lost: as their sender has learned at the ends of connections.
    unconfirmed: usize,
    /// How many of these were not in order.
    broken: usize,
    /// Answers of handlers in this direction: those that were sent, and those that were not for a go-away.
    answered: Vec<i64>,
    gagged: Vec<i64>,
    /// Life, number and message.
    sent: Vec<(usize, u64, i64)>,
    told: BTreeMap<i64, Told>,
    /// Life, number and outcome, as the callback had it.
    outcomes: Vec<(usize, u64, Outcome)>,
}

#[derive(Default)]
struct Notes {
    ways: [Direction; 2],
    ends: BTreeMap<&'static str, usize>,
    /// How often the session was new: as the service saw it, and the client.
    news: [usize; 2],
    wrong: Vec<String>,
    stage: &'static str,
    /// How often handlers have committed their effects, by message to the service.
    effects: Option<BTreeMap<i64, u64>>,
}

/// All notes of one seed.
pub(crate) struct Seen {
    notes: Mutex<Notes>,
    pub(crate) life: AtomicUsize,
    /// How many handlers have begun, and outcomes have become known.
    pub(crate) progress: watch::Sender<u64>,
}

/// What came of a seed, or of many.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) sent: usize,
    pub(crate) handled: usize,
    pub(crate) ok: usize,
    pub(crate) failed: usize,
    pub(crate) unknown: usize,
    /// Told Ok, and no handler has returned it.
    pub(crate) false_ok: usize,
    pub(crate) hangs: usize,
    pub(crate) ends: BTreeMap<&'static str, usize>,
    pub(crate) wrong: Vec<String>,
}

impl Verdict {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.handled += other.handled;
        self.ok += other.ok;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.false_ok += other.false_ok;
        self.hangs += other.hangs;
    }
}

impl Seen {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            notes: Mutex::default(),
            life: AtomicUsize::new(0),
            progress: watch::channel(0).0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn life(&self) -> usize {
        self.life.load(SeqCst)
    }

    /// A handler begins; which call of its message it is.
    pub(crate) fn begins(&self, way: Way, id: i64, marked: bool) -> usize {
        let life = self.life();
        let mut notes = self.lock();
        let seen = &mut notes.ways[way as usize];
        seen.order.push((life, id));
        let runs = seen.runs.entry(id).or_default();
        runs.push(Run {
            life,
            marked,
            ended: Ended::Runs,
        });
        let run = runs.len() - 1;
        drop(notes);
        self.progress.send_modify(|progress| *progress += 1);
        run
    }

    /// It has ended, if it had not before.
    pub(crate) fn ends(&self, way: Way, id: i64, run: usize, ended: Ended) {
        let mut notes = self.lock();
        let runs = notes.ways[way as usize].runs.entry(id).or_default();
        if let Some(run) = runs.get_mut(run).filter(|run| run.ended == Ended::Runs) {
            run.ended = ended;
        }
    }

    /// A plain message was handled: an answer, or the one behind this acked one.
    pub(crate) fn note(&self, way: Way, text: &str, plan: &Plan) {
        let mut notes = self.lock();
        let seen = &mut notes.ways[way as usize];
        if let Some(id) = text.strip_prefix(ANSWER) {
            return seen.answers.push(id.parse().unwrap_or(-1));
        }
        let id = text.parse().unwrap_or(-1);
        seen.plain.push(id);
        let runs = !matches!(plan.act(id, way == Way::Down).0, Act::NoHandler | Act::Forbidden);
        if runs && !seen.runs.contains_key(&id) {
            seen.passed.push(id);
        }
    }

    /// A plain message was sent, or not.
    pub(crate) fn said(&self, way: Way, said: Result<(), SendError>) {
        self.lock().ways[way as usize].said += usize::from(said.is_ok());
    }

    /// The handler of a message in this direction has answered, or could not.
    pub(crate) fn answers(&self, way: Way, id: i64, said: Result<(), SendError>) {
        self.said(way.back(), said);
        let mut notes = self.lock();
        let seen = &mut notes.ways[way as usize];
        match said {
            Ok(()) => seen.answered.push(id),
            Err(SendError::GoingAway) => seen.gagged.push(id),
            Err(_) => {}
        }
    }

    /// A connection has ended, as the sender of this direction learned.
    pub(crate) fn dropped(&self, way: Way, why: &Dropped) {
        let mut notes = self.lock();
        let seen = &mut notes.ways[way as usize];
        seen.unconfirmed += why.unconfirmed() as usize;
        seen.broken += usize::from(!matches!(why.cause(), Cause::WentAway(_)));
        if why.code().is_some_and(|code| !REASONS.contains(&code)) {
            notes.wrong.push(format!("{way:?}: a connection ended by {why}"));
        }
    }

    pub(crate) fn effects(&self, effects: BTreeMap<i64, u64>) {
        self.lock().effects = Some(effects);
    }

    /// A message was taken for delivery under this number.
    pub(crate) fn sent(&self, way: Way, life: usize, number: u64, id: i64) {
        self.lock().ways[way as usize].sent.push((life, number, id));
    }

    pub(crate) fn told(&self, way: Way, id: i64, told: Told) {
        self.lock().ways[way as usize].told.insert(id, told);
        self.progress.send_modify(|progress| *progress += 1);
    }

    pub(crate) fn outcome(&self, way: Way, life: usize, number: u64, outcome: Outcome) {
        self.lock().ways[way as usize].outcomes.push((life, number, outcome));
        self.progress.send_modify(|progress| *progress += 1);
    }

    /// A connection has opened, as who receives in this way sees it; one that is over by then says nothing any more.
    pub(crate) fn connected(&self, way: Way, resumption: Option<Resumption>) {
        if matches!(resumption, Some(Resumption::New { .. })) {
            self.lock().news[way as usize] += 1;
        }
    }

    pub(crate) fn ended(&self, end: End) {
        *self.lock().ends.entry(end.name()).or_default() += 1;
    }

    pub(crate) fn wrong(&self, what: String) {
        self.lock().wrong.push(what);
    }

    pub(crate) fn stage(&self, stage: &'static str) {
        self.lock().stage = stage;
    }

    /// The watchdog has come.
    pub(crate) fn stuck(&self) {
        let mut notes = self.lock();
        let line = format!("stuck, {}", notes.stage);
        notes.wrong.push(line);
    }

    /// Holds what was seen against what may be.
    pub(crate) fn judge(&self, plan: &Plan) -> Verdict {
        let mut notes = self.lock();
        let mut verdict = Verdict {
            ends: notes.ends.clone(),
            wrong: core::mem::take(&mut notes.wrong),
            ..Verdict::default()
        };
        let forgets = plan.store == Store::Memory && notes.ends.keys().any(|end| PROCESS.contains(end));
        if !forgets && notes.news[Way::Down as usize] > 1 {
            let line = format!("the client's session is new {:?} times", notes.news);
            verdict.wrong.push(line);
        }
        for way in [Way::Up, Way::Down] {
            let judge = Judge {
                plan,
                way,
                seen: &notes.ways[way as usize],
                back: &notes.ways[way.back() as usize],
                effects: notes.effects.as_ref().filter(|_| way == Way::Up),
                process_ended: notes.ends.keys().any(|end| PROCESS.contains(end)),
                began_twice: notes.news[Way::Up as usize] > 1 && notes.news[Way::Down as usize] <= 1,
                killed: notes.ends.contains_key(End::Kill.name()),
            };
            judge.judge(&mut verdict);
        }
        verdict
    }
}

/// One direction.
struct Judge<'s> {
    plan: &'s Plan,
    way: Way,
    seen: &'s Direction,
    back: &'s Direction,
    /// When the messages of this direction have such.
    effects: Option<&'s BTreeMap<i64, u64>>,
    /// A process of the service has ended, and another one has begun.
    process_ended: bool,
    /// The client did not read its first acceptance: the session has begun anew for a new client.
    began_twice: bool,
    killed: bool,
}

impl Judge<'_> {
    fn judge(&self, verdict: &mut Verdict) {
        let Direction { runs, sent, told, .. } = self.seen;
        verdict.sent += sent.len();
        verdict.handled += runs.len();
        for (_, number, id) in sent {
            let told = told.get(id).copied().unwrap_or(Told::Nothing);
            let none = Vec::new();
            let runs = runs.get(id).unwrap_or(&none);
            match told {
                Told::Outcome(Outcome::Ok) => verdict.ok += 1,
                Told::Outcome(Outcome::Failed(_)) => verdict.failed += 1,
                Told::Outcome(_) => verdict.unknown += 1,
                Told::Nothing => verdict.hangs += 1,
                Told::Over => {}
            }
            if let Err(rule) = self.outcome(*id, told, runs) {
                verdict.false_ok += usize::from(told == Told::Outcome(Outcome::Ok));
                let act = self.plan.act(*id, self.way == Way::Down).0;
                let line = format!(
                    "{:?} {id} (number {number}, {act:?}): {rule}; told {told:?}, {runs:?}",
                    self.way
                );
                verdict.wrong.push(line);
            }
        }
        self.order(verdict);
        self.answers(verdict);
        self.callbacks(verdict);
    }

    /// Whether this message may have come to this.
    fn outcome(&self, id: i64, told: Told, runs: &[Run]) -> Result<(), &'static str> {
        let act = self.plan.act(id, self.way == Way::Down).0;
        let ended = |ended: &[Ended]| runs.iter().any(|run| ended.contains(&run.ended));
        for (run, before) in runs.iter().skip(1).zip(runs) {
            if run.life == before.life || self.way == Way::Down {
                return Err("handled twice while both processes live");
            }
            if !run.marked {
                return Err("handled again without a mark");
            }
        }
        let is_committed = self.is_committed(id, act, told, runs)?;
        match told {
            // Its process ended before its handler could return.
            Told::Outcome(Outcome::Ok) if is_committed => Ok(()),
            Told::Outcome(Outcome::Failed(_)) if is_committed => Err("told Failed, and its effect is there"),
            Told::Outcome(Outcome::Ok) if !ended(&[Ended::Ok]) => Err("told Ok, and no handler has returned it"),
            Told::Outcome(Outcome::Ok) => Ok(()),
            Told::Outcome(Outcome::Failed(Code::HandlerFailed))
                if ended(&[Ended::Failed, Ended::Panicked, Ended::Dropped]) =>
            {
                Ok(())
            }
            Told::Outcome(Outcome::Failed(Code::NoHandler)) if act == Act::NoHandler => Ok(()),
            Told::Outcome(Outcome::Failed(Code::Forbidden)) if act == Act::Forbidden => Ok(()),
            Told::Outcome(Outcome::Failed(_)) => Err("told Failed without a reason"),
            // What a service stores in memory ends with it; what it was sent nobody knows.
            Told::Outcome(Outcome::Unknown) if self.process_ended && self.plan.store == Store::Memory => Ok(()),
            Told::Outcome(Outcome::Unknown) if self.way == Way::Down && self.began_twice => Ok(()),
            Told::Outcome(Outcome::Skipped)
                if self.process_ended
                    && self.plan.store == Store::Memory
                    && self.way == Way::Down
                    && runs.is_empty() =>
            {
                Ok(())
            }
            Told::Outcome(_) => Err("told what cannot be"),
            // The next process goes on with it, if it was in the file.
            Told::Over if self.way == Way::Down && self.process_ended && self.plan.store == Store::File => {
                let runs_at_all = !matches!(act, Act::NoHandler);
                if runs.is_empty() && runs_at_all && !self.killed {
                    return Err("it was in the file, and is lost");
                }
                Ok(())
            }
            Told::Over => Err("the end of this side came before the outcome"),
            Told::Nothing => Err("no outcome"),
        }
    }

    /// Whether the effect of a message is there, as it may be: once, and if a handler says so.
    fn is_committed(&self, id: i64, act: Act, told: Told, runs: &[Run]) -> Result<bool, &'static str> {
        let (Act::Transacts, Some(effects)) = (act, self.effects) else {
            return Ok(false);
        };
        let times = effects.get(&id).copied().unwrap_or(0);
        let is_said = told == Told::Outcome(Outcome::Ok) || runs.iter().any(|run| run.ended == Ended::Ok);
        match times {
            0 if is_said => Err("committed, and its effect is not there"),
            0 | 1 => Ok(times == 1),
            _ => Err("its effect is there more than once"),
        }
    }

    /// Answers arrive at most once, in order, and no more plain messages are lost than their sender has learned of.
    fn answers(&self, verdict: &mut Verdict) {
        let way = self.way;
        let mut wrong = |what: String| verdict.wrong.push(format!("{way:?}: {what}"));
        // What came on an earlier connection, and waited in the file or behind another handler, has nothing unconfirmed on
        // the one that goes away: its handler must not answer there (PROTOCOL G-7). Nor one of what came behind the go-away
        // (G-2): as long as a handler runs, whatever else its side sends may be an answer.
        let may_be_carried = match way {
            Way::Up => self.plan.store == Store::File,
            Way::Down => self.plan.ends.len() > 1 || self.plan.ends.iter().any(|(_, end)| end.says_go_away()),
        };
        if !self.seen.gagged.is_empty() && !may_be_carried {
            let gagged = &self.seen.gagged;
            wrong(format!("handlers could not answer because of a go-away: {gagged:?}"));
        }
        let mut left = self.seen.answered.clone();
        for id in &self.back.answers {
            match left.iter().position(|answered| answered == id) {
                Some(place) => drop(left.remove(place)),
                None => wrong(format!("an answer to {id} that was not sent, or twice")),
            }
        }
        for pair in self.back.answers.windows(2).filter(|pair| pair[1] <= pair[0]) {
            if !self.process_ended {
                wrong(format!("answer to {} after that to {}", pair[1], pair[0]));
            }
        }
        let lost = self
            .seen
            .said
            .saturating_sub(self.seen.plain.len() + self.seen.answers.len());
        // Nobody learns it from a process that was killed.
        let is_known = way == Way::Up || !self.killed;
        let Direction {
            unconfirmed, broken, ..
        } = self.seen;
        if self.plan.is_orderly() && (lost, *unconfirmed, *broken) != (0, 0, 0) {
            wrong(format!(
                "in order, and {lost} plain messages are lost, {unconfirmed} were unconfirmed, {broken} ends are others"
            ));
        }
        if lost > self.seen.unconfirmed && is_known {
            let unconfirmed = self.seen.unconfirmed;
            wrong(format!(
                "{lost} plain messages are lost, {unconfirmed} were unconfirmed"
            ));
        }
    }

    /// Within a life in the order in which they were sent, plain ones among themselves, too.
    fn order(&self, verdict: &mut Verdict) {
        let way = self.way;
        for pair in self.seen.order.windows(2) {
            let (before, now) = (pair[0], pair[1]);
            if now.1 <= before.1 && (now.0 == before.0 || way == Way::Down) {
                verdict
                    .wrong
                    .push(format!("{way:?}: {} handled after {}", now.1, before.1));
            }
        }
        for pair in self.seen.plain.windows(2).filter(|pair| pair[1] <= pair[0]) {
            verdict
                .wrong
                .push(format!("{way:?}: plain {} after {}", pair[1], pair[0]));
        }
        if !self.process_ended && !self.seen.passed.is_empty() {
            let line = format!("{way:?}: plain messages have passed acked ones: {:?}", self.seen.passed);
            verdict.wrong.push(line);
        }
    }

    /// The callback tells each outcome that is not Ok once, as the receipt does.
    fn callbacks(&self, verdict: &mut Verdict) {
        let mut known = BTreeSet::new();
        for (life, number, outcome) in &self.seen.outcomes {
            // A file goes on with the numbers of the process before.
            let is_it = |sent: &&(usize, u64, i64)| {
                sent.1 == *number && (sent.0 == *life || (self.plan.store == Store::File && sent.0 < *life))
            };
            let Some((_, _, id)) = self.seen.sent.iter().rev().find(is_it) else {
                continue;
            };
            let told = self.seen.told.get(id).copied();
            if !known.insert(*id) {
                verdict
                    .wrong
                    .push(format!("{:?} {id}: told twice to on_outcome", self.way));
            }
            if !matches!(told, Some(Told::Over | Told::Nothing) | None) && told != Some(Told::Outcome(*outcome)) {
                let line = format!("{:?} {id}: on_outcome says {outcome:?}, the receipt {told:?}", self.way);
                verdict.wrong.push(line);
            }
        }
    }
}
