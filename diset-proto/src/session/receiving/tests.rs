//! Messages of a peer: what counts as handled, and what comes again.

use super::*;
use crate::definition::Key;
use crate::store::{Unsure, Volatile};

/// Keeps what it is given at once, and knows of nothing else.
#[derive(Default)]
struct Exact {
    last: u64,
    done: u64,
}

impl Inbox for Exact {
    fn put(&mut self, message: Stored<'_>) -> bool {
        self.last = message.number;
        true
    }

    fn done_through(&mut self, number: u64) {
        self.done = number;
    }

    fn kept(&self) -> (u64, u64) {
        (self.last, self.done)
    }
}

const MESSAGE: Stored<'_> = Stored {
    number: 0,
    key: Key::from_bytes([0; 16]),
    unsure: Unsure::Report,
    repeated: false,
    payload: &[],
};

/// Messages 1, 2 and 4: 3 will never come.
fn four<I: Inbox>(inbox: I) -> Receiving<I> {
    let mut receiving = Receiving::new(inbox);
    receiving.arrive(MESSAGE);
    receiving.arrive(MESSAGE);
    assert!(receiving.skip(1, false).is_some());
    receiving.arrive(MESSAGE);
    assert_eq!(receiving.received, 4);
    receiving
}

#[test]
#[cfg(feature = "alloc")]
fn no_message_is_dealt_with_before_all_before_it_are() {
    use crate::store::{HeapReplay, StoredInbox};
    let failed = Outcome::Failed(Code::HandlerFailed);
    let mut receiving = four(StoredInbox::new(HeapReplay::new(9, 99)));
    assert!(!receiving.begin(2), "PROTOCOL Q-2: 1 is not dealt with");
    assert!(!receiving.settle(2, Outcome::Ok) && !receiving.settle(2, failed));
    assert!(!receiving.settle(4, Outcome::Ok) && receiving.processed == 0);
    assert!(receiving.begin(1) && receiving.settle(1, Outcome::Ok));
    assert!(
        !receiving.begin(4) && !receiving.settle(4, Outcome::Ok),
        "PROTOCOL Q-2: nor 2 now"
    );
    assert!(receiving.begin(2) && receiving.settle(2, failed));
    assert!(receiving.begin(4) && receiving.settle(4, Outcome::Ok) && receiving.processed == 4);
    assert!(receiving.settle(2, Outcome::Ok), "known, and nothing changes");
    assert_eq!(receiving.failed.len(), 1);
}

/// What was in a durable inbox when the process was killed; 4 and 5 were skipped.
#[test]
#[cfg(feature = "alloc")]
fn numbers_that_never_come_are_dealt_with_after_a_restart() {
    use crate::session::Session;
    use crate::store::{HeapReplay, StoredInbox};
    let mut before = four(StoredInbox::new(HeapReplay::new(9, 99)));
    assert!(before.settle(1, Outcome::Ok) && before.skip(2, false).is_some());
    assert_eq!((before.received, before.processed), (6, 1), "2 and 4 wait");
    let mut record = Session::new(HeapReplay::new(0, 0), Volatile).record();
    (record.received, record.processed) = (before.received, before.processed);

    let mut after = Receiving::restored(before.inbox, &record);
    assert!(after.begin(2) && after.settle(2, Outcome::Ok));
    assert_eq!(after.processed, 2, "PROTOCOL Q-2: 4 waits");
    assert!(after.begin(4) && after.settle(4, Outcome::Ok));
    assert_eq!(after.processed, 6, "PROTOCOL Q-3: 5 and 6 are none");
}

#[test]
fn an_inbox_in_memory_is_passed_over_by_no_more_than_numbers_that_never_come() {
    let mut receiving = four(Volatile);
    assert!(!receiving.begin(4) && !receiving.settle(4, Outcome::Ok), "PROTOCOL Q-2");
    assert!(receiving.settle(1, Outcome::Ok) && receiving.settle(2, Outcome::Ok));
    assert!(receiving.begin(4), "PROTOCOL Q-3: 3 is none");
    receiving.detach();
    assert_eq!((receiving.received, receiving.processed), (4, 2), "PROTOCOL Q-8");
    receiving.claim();
    receiving.arrive(MESSAGE);
    receiving.arrive(MESSAGE);
    assert!(!receiving.begin(5) && receiving.settle(4, Outcome::Ok));
    assert!(!receiving.begin(6) && receiving.begin(5), "PROTOCOL Q-2");
}

#[test]
fn a_failure_without_room_is_no_outcome() {
    let mut receiving = Receiving::new(Volatile);
    let failed = Outcome::Failed(Code::HandlerFailed);
    let full = MAX_FAILURES as u64;
    for number in 1..=full {
        receiving.arrive(MESSAGE);
        assert!(receiving.begin(number) && receiving.settle(number, failed));
    }
    (receiving.arriving, receiving.received, receiving.last) = (full + 1, full + 1, full + 1);
    assert!(!receiving.settle(full + 1, failed), "PROTOCOL Q-5: nobody can be told");
    assert_eq!((receiving.processed, receiving.failed.len()), (full, MAX_FAILURES));
}

#[test]
fn what_was_passed_over_comes_again() {
    let mut receiving = four(Volatile);
    receiving.decoded(4);
    assert!(!receiving.settle(4, Outcome::Ok));
    receiving.detach();
    assert_eq!((receiving.received, receiving.processed), (0, 0), "PROTOCOL Q-4");
}

#[test]
fn skipped_numbers_are_kept_when_they_are_done() {
    let mut receiving = Receiving::new(Exact::default());
    receiving.arrive(MESSAGE);
    receiving.settle(1, Outcome::Ok);
    assert!(receiving.skip(3, false).is_some());
    let told = receiving.tell();
    assert_eq!((told.received, told.processed), (4, 4), "PROTOCOL Q-3");
    let claim = receiving.claim().unwrap();
    assert_eq!((claim.received, claim.processed), (4, 4), "PROTOCOL N-3");
}
