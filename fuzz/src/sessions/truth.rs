//! What became of the messages, held against what their sender is told.

use std::collections::{BTreeMap, BTreeSet};

use diset_proto::{Code, Outcome};

/// What became of the messages of one side, as the other saw it, and as it was told.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) next: u32,
    /// Whether the next one may be handled twice.
    pub(super) resends: bool,
    /// Values by their numbers in the session that is.
    pub(super) numbers: BTreeMap<u64, u32>,
    pub(super) resend: BTreeSet<u32>,
    pub(super) outcomes: BTreeMap<u32, Outcome>,
    /// How often each was handled well, and with what code it was not.
    pub(super) handled: BTreeMap<u32, usize>,
    pub(super) failed: BTreeMap<u32, Code>,
    /// The highest that was handled, either way.
    pub(super) last: Option<u32>,
}

impl Truth {
    /// The next one was stored under this number.
    pub(super) fn stored(&mut self, number: u64) {
        self.numbers.insert(number, self.next);
        if self.resends {
            self.resend.insert(self.next);
        }
        self.next += 1;
    }

    /// A handler has come to its end, or there was none.
    pub(super) fn ended(&mut self, value: u32, repeated: bool, code: Option<Code>) {
        let before = self.handled.contains_key(&value) || self.failed.contains_key(&value);
        assert!(
            !before || (repeated && self.resend.contains(&value)),
            "{value} is handled twice"
        );
        assert!(
            repeated || self.last.is_none_or(|last| last < value),
            "{value} is out of order"
        );
        self.last = self.last.max(Some(value));
        match code {
            None => *self.handled.entry(value).or_default() += 1,
            Some(code) => {
                self.failed.insert(value, code);
            }
        }
    }

    /// Its sender was told of it.
    pub(super) fn told(&mut self, number: u64, outcome: Outcome) {
        let Some(&value) = self.numbers.get(&number) else {
            panic!("an outcome of no message: {number}");
        };
        let earlier = self.outcomes.insert(value, outcome);
        assert_eq!(earlier, None, "{value} has two outcomes: {outcome:?}");
        match outcome {
            Outcome::Failed(code) => assert_eq!(self.failed.get(&value), Some(&code), "{value}"),
            Outcome::Unknown => assert!(!self.resend.contains(&value)),
            _ => assert!(
                !self.handled.contains_key(&value) && !self.failed.contains_key(&value),
                "{value}"
            ),
        }
    }

    /// Everything up to this number has an outcome, and all that are not Ok were told.
    pub(super) fn settled(&self, processed: u64) {
        for (_, value) in self.numbers.range(..=processed) {
            if !self.outcomes.contains_key(value) {
                assert!(self.handled.contains_key(value), "{value} was not handled");
            }
        }
    }
}
