//! What the two applications saw, held against the guarantee: handled in order, never twice,
//! exactly one outcome for each message, and the right one.

use diset_proto::store::Unsure;
use diset_proto::{Code, Outcome};

use super::given::Side;

/// The value of the first plain message.
const PLAIN: usize = 101;

/// What happened to one message, as the two applications know it.
#[derive(Clone, Copy, Default, Hash)]
struct Fate {
    /// How often its handler began.
    begun: u8,
    /// How its handler ended last.
    handled: Option<Outcome>,
    /// What its sender was told.
    outcome: Option<Outcome>,
}

/// The messages of one side, by their value: 1, 2, 3 …
#[derive(Clone, Default, Hash)]
pub(crate) struct Told {
    fates: Vec<Fate>,
    /// The last one whose handler began.
    last: usize,
    /// For each plain message that was sent: how many acked ones were before it, and on which connection.
    plain: Vec<(usize, usize)>,
    /// How many plain messages were handled, or never can be.
    plain_begun: usize,
}

impl Told {
    /// One more is sent; its value.
    pub(crate) fn send(&mut self) -> u32 {
        self.fates.push(Fate::default());
        u32::try_from(self.fates.len()).unwrap()
    }

    /// The value of the next plain message: 101, 102 …
    pub(crate) fn next_plain(&self) -> u32 {
        u32::try_from(PLAIN + self.plain.len()).unwrap()
    }

    pub(crate) fn send_plain(&mut self, link: usize) {
        self.plain.push((self.fates.len(), link));
    }

    /// The handler of a plain message begins: none behind it has begun, and all acked ones before it have. On which
    /// connection it has come.
    pub(crate) fn begin_plain(&mut self, value: u32) -> Result<usize, String> {
        let place = usize::try_from(value).unwrap() - PLAIN;
        let (before, link) = *self.plain.get(place).ok_or("a plain message that was never sent")?;
        if place < self.plain_begun {
            return Err(format!("{value} is handled twice, or behind another"));
        }
        self.plain_begun = place + 1;
        let mut acked = self.fates.iter().take(before);
        if acked.any(|fate| fate.begun == 0 && fate.outcome.is_none()) {
            return Err(format!("{value} is handled before what was sent before it"));
        }
        Ok(link)
    }

    pub(crate) fn sent(&self) -> usize {
        self.fates.len()
    }

    /// Its handler begins. `lost`: the peer has lost its memory, and a marked message may come again.
    pub(crate) fn begin(&mut self, value: u32, marked: bool, lost: bool) -> Result<(), String> {
        let value = usize::try_from(value).unwrap();
        let fate = self.fates.get_mut(value - 1).ok_or("a message that was never sent")?;
        let again = fate.begun > 0;
        if again && !(marked && lost) {
            return Err(format!("{value} is handled twice"));
        }
        if !again && value < self.last {
            return Err(format!("{value} is handled after {}", self.last));
        }
        // An unknown outcome says that it may be handled.
        if let Some(outcome) = fate.outcome.filter(|outcome| *outcome != Outcome::Unknown) {
            return Err(format!("{value} is handled, its sender was told: {outcome}"));
        }
        fate.begun += 1;
        self.last = value;
        Ok(())
    }

    /// Its handler has come to this end.
    pub(crate) fn finish(&mut self, value: u32, outcome: Outcome) {
        self.fates[usize::try_from(value).unwrap() - 1].handled = Some(outcome);
    }

    /// Its handler has asked for it again: so it has not begun.
    pub(crate) fn again(&mut self, value: u32) {
        self.fates[usize::try_from(value).unwrap() - 1].begun -= 1;
    }

    /// The sender is told an outcome. `unknown`: it may be that nobody knows.
    pub(crate) fn tell(&mut self, number: u64, outcome: Outcome, unknown: bool) -> Result<(), String> {
        let place = usize::try_from(number).unwrap() - 1;
        let fate = self.fates.get_mut(place).ok_or("the outcome of nothing")?;
        if let Some(before) = fate.outcome {
            return Err(format!("{number} has two outcomes: {before}; {outcome}"));
        }
        fate.outcome = Some(outcome);
        match outcome {
            Outcome::Ok | Outcome::Failed(Code::HandlerFailed | Code::NoHandler) if fate.handled == Some(outcome) => {
                Ok(())
            }
            Outcome::Unknown if unknown => Ok(()),
            _ => Err(format!("{number} is told to be '{outcome}', it is {:?}", fate.handled)),
        }
    }

    /// Up to this number all are dealt with, and those without another outcome well.
    pub(crate) fn tell_processed(&mut self, through: u64) -> Result<(), String> {
        for number in 1..=through {
            let fate = self.fates.get(usize::try_from(number).unwrap() - 1);
            if fate.ok_or("more is dealt with than was sent")?.outcome.is_none() {
                self.tell(number, Outcome::Ok, false)?;
            }
        }
        Ok(())
    }

    /// Nothing more can happen: each has its outcome.
    pub(crate) fn check_end(&self, side: Side, unsure: Unsure) -> Result<(), String> {
        for (fate, number) in self.fates.iter().zip(1..) {
            match fate.outcome {
                None => return Err(format!("message {number} of the {side} never gets an outcome")),
                Some(Outcome::Unknown) if unsure == Unsure::Resend => {
                    return Err(format!("message {number} of the {side} was to be sent again"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
