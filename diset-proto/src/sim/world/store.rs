//! Stores of simulated sessions: in memory, with bounds, and a disk that keeps late.
//!
//! The disk is a picture of the whole session that is taken now and then. What is not in the last
//! one a kill loses, so nothing of it may have been told to the peer (PROTOCOL Q-6).

use alloc::boxed::Box;

use crate::id::Trid;
use crate::session::{Session, SessionRecord};
use crate::store::{FixedReplay, HeapReplay, Inbox, Replay, Stored, StoredInbox};

/// A simulated session.
pub type SimSession = Session<SimReplay, SimInbox>;

/// What outlives the process of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "tests choose one of them")]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// Counters, and what is to be sent.
    Sent,
    /// What was received, too.
    All,
}

/// The stores of a side.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a plain record that tests fill in")]
pub struct Stores {
    /// What outlives the process.
    pub keeps: Keeps,
    /// Whether the disk keeps only when [`World::sync`](super::World::sync) is called; else at once.
    pub late: bool,
    /// The replay store is a buffer, not boxes on the heap.
    pub buffer: bool,
    /// Most messages that wait to be sent or for their outcome.
    pub messages: usize,
    /// Most bytes of them.
    pub bytes: usize,
    /// Most messages that a durable inbox takes.
    pub inbox: usize,
}

impl Stores {
    /// In memory only, with room for 64 messages.
    pub const MEMORY: Self = Self {
        keeps: Keeps::Nothing,
        late: false,
        buffer: false,
        messages: 64,
        bytes: 4096,
        inbox: 64,
    };

    /// A session that has not begun.
    pub(super) fn session(&self) -> Box<SimSession> {
        let store = if self.buffer {
            Store::Buffer(FixedReplay::new(alloc::vec![0; self.bytes].into_boxed_slice()))
        } else {
            Store::Heap(HeapReplay::new(self.messages, self.bytes))
        };
        let late = self.late && self.keeps != Keeps::Nothing;
        let replay = SimReplay {
            store,
            last: 0,
            kept: late.then_some(0),
        };
        let inbox = SimInbox {
            messages: (self.keeps == Keeps::All).then(|| inbox(self.inbox)),
            put: 0,
            done: 0,
            kept: late.then_some((0, 0)),
        };
        Box::new(Session::new(replay, inbox))
    }
}

#[derive(Debug, Clone)]
enum Store {
    Buffer(FixedReplay<Box<[u8]>>),
    Heap(HeapReplay),
}

/// Keeps what is to be sent.
#[derive(Debug, Clone)]
pub struct SimReplay {
    store: Store,
    last: u64,
    /// Up to which number the disk has it; `None`: all.
    kept: Option<u64>,
}

impl Replay for SimReplay {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        let number = head.number;
        let place = match &mut self.store {
            Store::Buffer(store) => store.reserve(head, len),
            Store::Heap(store) => store.reserve(head, len),
        };
        if place.is_some() {
            self.last = number;
        }
        place
    }

    fn commit(&mut self) {
        match &mut self.store {
            Store::Buffer(store) => store.commit(),
            Store::Heap(store) => store.commit(),
        }
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        match &self.store {
            Store::Buffer(store) => store.after(number),
            Store::Heap(store) => store.after(number),
        }
    }

    fn remove(&mut self, number: u64) {
        match &mut self.store {
            Store::Buffer(store) => store.remove(number),
            Store::Heap(store) => store.remove(number),
        }
    }

    fn remove_through(&mut self, number: u64) {
        match &mut self.store {
            Store::Buffer(store) => store.remove_through(number),
            Store::Heap(store) => store.remove_through(number),
        }
    }

    fn mark_repeated(&mut self, number: u64) {
        match &mut self.store {
            Store::Buffer(store) => store.mark_repeated(number),
            Store::Heap(store) => store.mark_repeated(number),
        }
    }

    fn kept(&self) -> u64 {
        self.kept.unwrap_or(u64::MAX)
    }

    fn len(&self) -> usize {
        match &self.store {
            Store::Buffer(store) => store.len(),
            Store::Heap(store) => store.len(),
        }
    }

    fn bytes(&self) -> usize {
        match &self.store {
            Store::Buffer(store) => store.bytes(),
            Store::Heap(store) => store.bytes(),
        }
    }
}

/// One for so many messages.
const fn inbox(messages: usize) -> StoredInbox<HeapReplay> {
    StoredInbox::new(HeapReplay::new(messages, usize::MAX))
}

/// Keeps what was received.
#[derive(Debug, Clone)]
pub struct SimInbox {
    /// `None`: it is not durable.
    messages: Option<StoredInbox<HeapReplay>>,
    put: u64,
    done: u64,
    /// What the disk has; `None`: all.
    kept: Option<(u64, u64)>,
}

impl Inbox for SimInbox {
    fn put(&mut self, message: Stored<'_>) -> bool {
        if let Some(messages) = &mut self.messages
            && !messages.put(message)
        {
            return false;
        }
        self.put = message.number;
        true
    }

    fn done_through(&mut self, number: u64) {
        self.done = number;
        if let Some(messages) = &mut self.messages {
            messages.done_through(number);
        }
    }

    fn begin_anew(&mut self, began: Trid) {
        if let Some(messages) = &mut self.messages {
            messages.begin_anew(began);
        }
        (self.put, self.done) = (0, 0);
        self.kept = self.kept.map(|_| (0, 0));
    }

    fn first(&self) -> Option<u64> {
        self.messages.as_ref().and_then(StoredInbox::first)
    }

    fn unhandled(&self, each: &mut dyn FnMut(Trid, Stored<'_>) -> bool) {
        if let Some(messages) = &self.messages {
            messages.unhandled(each);
        }
    }

    fn handled_before(&mut self, began: Trid, number: u64) {
        if let Some(messages) = &mut self.messages {
            messages.handled_before(began, number);
        }
    }

    fn kept(&self) -> (u64, u64) {
        self.kept.unwrap_or((u64::MAX, u64::MAX))
    }

    fn is_durable(&self) -> bool {
        self.messages.is_some()
    }
}

/// What is on the disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) record: SessionRecord,
    replay: SimReplay,
    inbox: SimInbox,
}

impl Disk {
    /// The session, as it is; from now on this may be told.
    pub(super) fn keep(session: &mut SimSession) -> Self {
        let replay = session.replay_mut();
        replay.kept = replay.kept.map(|_| replay.last);
        let inbox = session.inbox_mut();
        inbox.kept = inbox.kept.map(|_| (inbox.put.max(inbox.done), inbox.done));
        Self {
            record: session.record(),
            replay: session.replay().clone(),
            inbox: session.inbox().clone(),
        }
    }

    /// The session after a restart.
    pub(super) fn restore(&self) -> Box<SimSession> {
        match Session::restore(&self.record, self.replay.clone(), self.inbox.clone()) {
            Ok(session) => Box::new(session),
            Err(bad) => panic!("a kept session does not come back: {bad}"),
        }
    }
}
