//! Applies the entries of a log to a connection like the one that was recorded.

mod apply;
mod stores;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::time::Duration;

use self::stores::{Came, Sent, Slot, set_full};
use super::Connection;
use super::adopt::Adopted;
use super::core::Core;
use super::learner::Learner;
use super::role::Role;
use super::service::SERVICE;
use super::state::Phase;
use crate::definition::Digest;
use crate::error::Cause;
use crate::id::ServiceName;
use crate::limits::Limits;
use crate::recording::{BadLog, Begin, Entries, Entry, Logged, Summary};
use crate::schema::learned::LearnedCatalog;
use crate::schema::told::Descriptions;
use crate::schema::{Catalog, ServiceDef};
use crate::session::Session;
use crate::store::Replay as _;
use crate::time::{Instant, Millis};
use crate::wire::outbox::Outbox;
use crate::wire::storage::GrowBuf;

/// Why a log was not replayed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// It is no whole log.
    Log(BadLog),
    /// It is of a connection with another catalog, which had this digest.
    OtherCatalog(Digest),
    /// The engine did something else than the recorded one did.
    Difference {
        /// The number of the entry where that showed.
        entry: u64,
        /// What the recorded engine transmitted, and how it stood.
        recorded: Summary,
        /// What this one does.
        replayed: Summary,
    },
}

impl core::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Log(bad) => bad.fmt(f),
            Self::OtherCatalog(digest) => write!(f, "the connection had a catalog with the digest {digest:?}"),
            Self::Difference {
                entry,
                recorded,
                replayed,
            } => {
                write!(f, "entry {entry}: the recorded engine lent {}", recorded.len)?;
                write!(f, " bytes in phase {}, code {};", recorded.phase, recorded.code)?;
                write!(f, " this one {} in phase {},", replayed.len, replayed.phase)?;
                write!(f, " code {}", replayed.code)?;
                if recorded.len == replayed.len && recorded.check != replayed.check {
                    f.write_str(", and the bytes differ")?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for ReplayError {}

impl From<BadLog> for ReplayError {
    fn from(bad: BadLog) -> Self {
        Self::Log(bad)
    }
}

/// What came of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// So many entries were applied.
    pub entries: u64,
    /// So many bytes were transmitted.
    pub bytes: u64,
    /// In which phase the log ends.
    pub phase: Phase,
    /// Why the connection was over, if it was.
    pub cause: Option<Cause>,
}

/// One entry that was applied.
#[non_exhaustive]
pub struct Step<'r, 'l> {
    /// The entry.
    pub logged: Logged<'l>,
    /// The bytes that left with it: those of a `Transmitted`.
    pub left: &'r [u8],
}

/// The bytes that left do not show.
impl core::fmt::Debug for Step<'_, '_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Step")
            .field("logged", &self.logged)
            .field("left", &self.left.len())
            .finish()
    }
}

/// A connection that does what a log says.
pub struct Replay<'l> {
    entries: Entries<'l>,
    /// The entry that comes next, read ahead: it may say that the stores were full.
    ahead: Option<Result<Logged<'l>, BadLog>>,
    conn: Connection<GrowBuf, Slot>,
    told: Option<Descriptions>,
    /// The last message that the log gave to the session.
    last_stored: u64,
    kept: (u64, (u64, u64), [bool; 3]),
    left: Vec<u8>,
    done: Replayed,
}

impl core::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Replay")
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl<'l> Replay<'l> {
    /// Of this log, of either side of the service `S`.
    ///
    /// # Errors
    /// [`ReplayError::Log`]; [`ReplayError::OtherCatalog`] for a log of another service, or of
    /// another form of it.
    pub fn of<S: ServiceDef>(log: &'l [u8]) -> Result<Self, ReplayError> {
        Self::new(log, Some(S::CATALOG), Descriptions::of::<S>().ok())
    }

    /// Of the log of a client that adopted the catalog of its service.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn adopting(log: &'l [u8]) -> Result<Self, ReplayError> {
        Self::new(log, None, None)
    }

    fn new(log: &'l [u8], catalog: Option<&'static Catalog>, told: Option<Descriptions>) -> Result<Self, ReplayError> {
        let mut entries = Entries::new(log)?;
        let damaged = BadLog::Damaged(0);
        let Entry::Begin(begin) = entries.next().ok_or(BadLog::Truncated(0))??.entry else {
            return Err(damaged.into());
        };
        let catalog = match (begin.role, catalog) {
            (2, _) => &Catalog::LEARNED,
            (_, Some(catalog)) if *catalog.digest().as_bytes() == begin.digest => catalog,
            _ => return Err(ReplayError::OtherCatalog(Digest(begin.digest))),
        };
        let conn = begun(&begin, catalog).ok_or(damaged)?;
        Ok(Self {
            ahead: entries.next(),
            entries,
            done: Replayed {
                entries: 1,
                bytes: 0,
                phase: conn.phase(),
                cause: None,
            },
            conn,
            told,
            last_stored: 0,
            kept: (u64::MAX, (u64::MAX, u64::MAX), [false, true, true]),
            left: Vec::new(),
        })
    }

    /// Applies the next entry; `None` at the end of the log.
    ///
    /// # Errors
    /// [`ReplayError::Log`], [`ReplayError::Difference`]. Then it cannot go on.
    pub fn step(&mut self) -> Result<Option<Step<'_, 'l>>, ReplayError> {
        let Some(next) = self.ahead.take() else { return Ok(None) };
        let logged = next?;
        self.ahead = self.entries.next();
        let full = matches!(&self.ahead, Some(Ok(after)) if after.entry == Entry::NoRoom);
        set_full(&mut self.conn.slot, full);
        self.left.clear();
        let applied = self.apply(&logged);
        set_full(&mut self.conn.slot, false);
        if let Err(error) = applied {
            self.ahead = None;
            return Err(error);
        }
        self.done.entries += 1;
        self.done.bytes += self.left.len() as u64;
        self.done.phase = self.conn.phase();
        self.done.cause = self.conn.cause().cloned();
        Ok(Some(Step {
            logged,
            left: &self.left,
        }))
    }

    /// Applies the rest.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn run(mut self) -> Result<Replayed, ReplayError> {
        while self.step()?.is_some() {}
        Ok(self.done)
    }

    /// What came of it so far.
    pub const fn done(&self) -> &Replayed {
        &self.done
    }

    /// The catalog that the client has learned by now: names, kinds and structures. `None` when it was built with one.
    pub fn learned(&self) -> Option<&LearnedCatalog> {
        self.conn.learned().map(AsRef::as_ref)
    }

    /// The name of the entry with this number in the catalog of this side.
    pub fn name_of(&self, number: u8) -> Option<&str> {
        match self.learned() {
            Some(catalog) => Some(catalog.by_number(number)?.name()),
            None => self
                .conn
                .core
                .catalog
                .messages()
                .get(usize::from(number))
                .map(|def| def.name()),
        }
    }

    /// The name of the message with this number on the wire.
    pub fn name_on_wire(&self, wire: u8) -> Option<&str> {
        self.name_of(self.conn.core.agreement.own(wire).ok()?)
    }
}

/// A connection as it was when the log began; `None` when there is no such one.
fn begun(begin: &Begin<'_>, catalog: &'static Catalog) -> Option<Connection<GrowBuf, Slot>> {
    let (max_frame, credit_bytes, credit_messages) = begin.limits;
    let limits = Limits {
        max_frame,
        credit_bytes,
        credit_messages,
        max_silence: Millis::of(Duration::from_millis(begin.spans.0)),
        handshake: Millis::of(Duration::from_millis(begin.spans.1)),
        records: begin.records.and_then(NonZeroU32::new),
    };
    let role = match begin.role {
        0 => SERVICE,
        1 | 2 => Role::Client,
        _ => return None,
    };
    let mut core = Core::new(Instant::ZERO, role, catalog, limits).ok()?;
    core.deadline = Some(Instant::from_millis(begin.deadline));
    if begin.role == 2 {
        let service = ServiceName::parse(begin.service)?;
        core.adopted = Adopted::Learning(Box::new(Learner::new(service)));
        core.phase = Phase::Adopting;
    }
    // It grows only as it is filled.
    let mut out = Outbox::checked(GrowBuf::new(usize::try_from(begin.output_bound).ok()?)).ok()?;
    if !out.raw(begin.output.0) {
        return None;
    }
    Some(Connection::of(core, out, None))
}

impl Replay<'_> {
    fn is_like(&self, entry: u64, recorded: &Summary) -> Result<(), ReplayError> {
        let replayed = self.conn.summary();
        if *recorded == replayed {
            return Ok(());
        }
        Err(ReplayError::Difference {
            entry,
            recorded: *recorded,
            replayed,
        })
    }

    /// The stores say from now on that so much is kept.
    fn keep(&mut self) {
        let (sent, received, [durable, sends, takes]) = self.kept;
        if let Some(session) = &mut self.conn.slot {
            (session.replay_mut().kept, session.replay_mut().sends) = (sent, sends);
            session.inbox_mut().kept = received;
            (session.inbox_mut().durable, session.inbox_mut().takes) = (durable, takes);
        }
    }

    fn take_session(&mut self, state: &crate::session::SessionState) -> Option<()> {
        let session = Session::with_state(state, Sent::default(), Came::default()).ok()?;
        self.conn.slot = Some(Box::new(session));
        self.last_stored = 0;
        self.keep();
        Some(())
    }

    /// A message of the session; they come in order.
    fn take_stored(&mut self, head: crate::store::Stored<'_>) -> Option<()> {
        if head.number <= self.last_stored {
            return None;
        }
        self.last_stored = head.number;
        let session = self.conn.slot.as_mut()?;
        let stores = session.replay_mut();
        stores.reserve(head, head.payload.len())?.copy_from_slice(head.payload);
        stores.commit();
        Some(())
    }
}
