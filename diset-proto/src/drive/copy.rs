//! Copies of the halves, and what makes two of them the same: for tools that visit each state once.
//!
//! By hand, since what is derived asks that of [`Parts`] itself.

use core::hash::{Hash, Hasher};

use super::{Parts, Rx, Tx};

impl<P: Parts> Clone for Rx<P>
where
    P::Buffer: Clone,
    P::Queue: Clone,
    P::Running: Clone,
{
    fn clone(&self) -> Self {
        Self {
            deframer: self.deframer.clone(),
            work: self.work.clone(),
            schedule: self.schedule.clone(),
            #[cfg(feature = "alloc")]
            held: self.held.clone(),
            #[cfg(feature = "alloc")]
            stray: self.stray,
            #[cfg(feature = "alloc")]
            is_alone: self.is_alone,
            heard: self.heard,
            unloaded: self.unloaded,
            expired: self.expired,
            discarded: self.discarded,
        }
    }
}

/// All that can make a difference to what it does.
impl<P: Parts> Hash for Rx<P>
where
    P::Queue: Hash,
    P::Running: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            deframer,
            work,
            schedule,
            #[cfg(feature = "alloc")]
            held,
            #[cfg(feature = "alloc")]
            stray,
            #[cfg(feature = "alloc")]
            is_alone,
            heard,
            unloaded,
            expired,
            discarded,
        } = self;
        (deframer, work, schedule, heard, unloaded, expired, discarded).hash(state);
        #[cfg(feature = "alloc")]
        (held, stray, is_alone).hash(state);
    }
}

/// Of the copy no log is kept.
impl<P: Parts> Clone for Tx<P>
where
    P::Buffer: Clone,
    P::Session: Clone,
{
    fn clone(&self) -> Self {
        Self {
            conn: self.conn.clone(),
        }
    }
}

/// As [`Rx`].
impl<P: Parts> Hash for Tx<P>
where
    P::Session: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.conn.hash(state);
    }
}
