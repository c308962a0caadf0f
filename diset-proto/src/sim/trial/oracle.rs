//! Judges a world by what it was given to send and what it was told, message by message.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::lines::Line;
use super::message::{Known, Message};
use super::notes::{Fate, index_of};
use super::{Report, Tally, Trace};
use crate::session::{Delivered, Outcome, Resumption};
use crate::sim::random::Random;
use crate::sim::world::{App, Arrived, Delivery, Fault, Handling, Keeps, Sent, Setup, Stores, What, Who};
use crate::status::Code;
use crate::store::Unsure;
use crate::time::Instant;
use crate::wire::session::NewReason;

/// Judges, and handles messages.
#[derive(Debug)]
pub(super) struct Oracle {
    random: Random,
    pub(super) messages: Vec<Message>,
    /// Acked messages by session and number.
    pub(super) numbers: BTreeMap<(u64, u64), usize>,
    /// Those without an outcome.
    pub(super) open: BTreeSet<(u64, u64)>,
    begun: BTreeMap<u64, u32>,
    /// Services of clients of which there are two.
    pub(super) cloned: BTreeSet<Who>,
    /// A client has lost its session.
    forgets: bool,
    /// The last message of each session that was handled for the first time.
    pub(super) last_first: BTreeMap<u64, usize>,
    /// The last one that this process has handled, repeated or not, of this session of its since that began.
    pub(super) last_of: BTreeMap<(Who, u64, u64, u64), usize>,
    pub(super) last_plain: BTreeMap<(u64, Who), usize>,
    pub(super) tally: Tally,
    /// Connections, as each side has them.
    pub(super) lines: BTreeMap<(Who, u64), Line>,
    /// The last message of a session that its peer was said to have.
    received: BTreeMap<u64, u64>,
    /// Whether clients, and the service, have durable inboxes.
    durable: [bool; 2],
    /// There were peers that take no secrets.
    forbade: bool,
    /// Which service each client talks to.
    pub(super) services: BTreeMap<Who, Who>,
    /// Clients that came with a stolen token, and what the service has of them.
    thieves: BTreeSet<Who>,
    /// Copies of those.
    heirs: BTreeSet<Who>,
    broken: Option<String>,
    trace: Option<Trace>,
    now: Instant,
    pub(super) slow: u64,
}

impl Oracle {
    pub(super) fn new(setup: &Setup, trace: Option<Trace>) -> Self {
        let durable = |stores: Stores| stores.keeps == Keeps::All;
        Self {
            random: Random::new(!setup.seed),
            messages: Vec::new(),
            numbers: BTreeMap::new(),
            open: BTreeSet::new(),
            begun: BTreeMap::new(),
            cloned: BTreeSet::new(),
            // Without a proof a lost first acceptance is as bad (PROTOCOL N-4).
            forgets: !setup.proven,
            last_first: BTreeMap::new(),
            last_of: BTreeMap::new(),
            last_plain: BTreeMap::new(),
            tally: Tally::default(),
            lines: BTreeMap::new(),
            received: BTreeMap::new(),
            durable: [durable(setup.client_stores), durable(setup.service_stores)],
            forbade: false,
            services: BTreeMap::new(),
            thieves: BTreeSet::new(),
            heirs: BTreeSet::new(),
            broken: None,
            trace,
            now: Instant::ZERO,
            slow: 0,
        }
    }

    pub(super) fn report(self) -> Report {
        Report {
            tally: self.tally,
            broken: self.broken,
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
        if let Some(Trace(tell)) = &mut self.trace {
            tell(format!("{:>9} ms  {}", now.as_millis(), line()));
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
        if let (None, Some(link)) = (sent.number, sent.link) {
            self.lines.entry((who, link)).or_default().plain.push(index);
        }
        let begun = self.begun(sent.session);
        self.messages
            .push(Message::new(who, delivery, (fate, secret), sent, begun));
    }

    /// How often this session has begun.
    pub(super) fn begun(&self, session: u64) -> u32 {
        self.begun.get(&session).copied().unwrap_or(0)
    }

    /// Whether all that is to be sent again is: nothing of it is refused, or somebody else's.
    pub(super) fn is_exact(&self, who: Who) -> bool {
        self.cloned.is_empty() && !self.forbade && !self.is_thief(who)
    }

    /// Connections that begin from now on may be with peers that take no secrets.
    pub(super) const fn forbids(&mut self) {
        self.forbade = true;
    }

    /// This client comes from now on.
    pub(super) fn comes(&mut self, client: Who, service: Who) {
        self.services.insert(client, service);
    }

    /// This client comes with the token of another one, of another principal.
    pub(super) fn steals(&mut self, thief: Who, service: Who) {
        self.tally.count("fault: thief");
        self.comes(thief, service);
        self.thieves.extend([thief, service]);
    }

    /// What a thief has copied with the token: handled from the inbox, or sent in a session of its own,
    /// which is between it and the service.
    fn is_loot(&self, to: Who, message: &Message) -> bool {
        let has_loot = self.thieves.contains(&to) || self.heirs.contains(&to);
        has_loot && !self.thieves.contains(&message.who)
    }

    /// Whether this side has what it has not sent: a client that came with a copy.
    pub(super) fn is_thief(&self, who: Who) -> bool {
        matches!(who, Who::Client(_)) && self.thieves.contains(&who)
    }

    /// A copy of this client begins: what it has not been told of may come from either, and what
    /// comes for it may come to either.
    pub(super) fn cloned(&mut self, origin: Who, copy: Who, service: Who) {
        self.cloned.insert(service);
        if self.is_thief(origin) {
            // It has the loot, too.
            self.heirs.insert(copy);
        }
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
        let mut known = Known {
            begun: self.begun(session),
            freed: self.received.get(&session).is_some_and(|received| number <= *received),
            forbade: self.forbade,
        };
        let [clients, service] = self.durable;
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
        known.freed &= match message.who {
            Who::Client(_) => service,
            Who::Service(_) => clients,
        };
        let fits = message.fits(outcome, known);
        let text = format!("{message:?}");
        if told.is_some() {
            self.breaks("Q-5", format!("second outcome {outcome:?}: {text}"));
        } else if !fits {
            self.breaks("Q-5", format!("outcome {outcome:?} is wrong: {text}"));
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
        let begun = self.begun(session);
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
                message.left = Some(begun);
            }
        }
    }

    fn delivered(&mut self, session: u64, Delivered { received, processed }: Delivered) {
        let most = self.received.entry(session).or_default();
        *most = received.max(*most);
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

    fn opened(&mut self, who: Who, link: u64, session: u64, resumption: Option<Resumption>) {
        let Some(resumption) = resumption else {
            return self.breaks("N-6", format!("session {session} opened without a word"));
        };
        if let Resumption::Resumed { .. } = resumption
            && self.thieves.contains(&who)
            && self.begun(session) == 0
        {
            self.breaks("N-1", format!("{who:?} goes on with the session of another principal"));
        }
        self.line_opens(who, link, session, resumption);
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

    fn handled(&mut self, who: Who, payload: &[u8], result: Result<(), Code>, counted: bool) {
        let index = index_of(payload).unwrap_or(usize::MAX);
        if self
            .messages
            .get(index)
            .is_none_or(|message| self.is_loot(who, message))
        {
            return;
        }
        if let Some(message) = self.messages.get_mut(index) {
            message.results.push(result);
        }
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
        let Some(message) = self.messages.get(index) else {
            self.breaks("M-2", format!("m{index} was never sent"));
            return Handling::Refuse(Code::NoHandler);
        };
        let (delivery, fate) = (message.delivery, message.fate);
        let may_have = link.is_none() || matches!(who, Who::Service(_));
        if may_have && self.is_loot(who, message) {
            self.tally.count("handled: from a thief");
            return Handling::Run {
                takes: Duration::ZERO,
                result: Ok(()),
            };
        }
        self.check_peer(index, who);
        match delivery {
            Delivery::Plain => {
                self.tally.count("handled: plain");
                self.begin_plain(index, link, who);
            }
            Delivery::Acked(unsure) => {
                if link.is_none() {
                    self.tally.count("handled: from the inbox");
                }
                self.begin_acked(index, arrived, who, unsure);
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
                link,
                session,
                resumption,
            } => self.opened(who, *link, *session, *resumption),
            What::Left {
                link,
                session,
                acked,
                payload,
            } => self.left(who, (*link, *session), *acked, payload),
            What::Outcome {
                session,
                number,
                outcome,
            } => self.outcome(*session, *number, *outcome),
            What::Delivered { session, delivered } => self.delivered(*session, *delivered),
            What::Handled {
                payload,
                result,
                counted,
                ..
            } => self.handled(who, payload, *result, *counted),
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
            What::Dropped { link, unconfirmed, .. } => self.line_drops(who, *link, *unconfirmed),
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
        Fault::Overtaken => "fault: connects out of order",
    }
}
