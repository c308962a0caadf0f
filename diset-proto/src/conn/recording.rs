//! What a connection notes in a log, when one is kept (feature `record`): one line, `note!`, in
//! each call that may change something. Without the feature that line is nothing.

/// Notes an entry, at a time if it has one: before what it says is done, or after that when it
/// says what came of it.
macro_rules! note {
    ($conn:expr, = $entry:expr) => {
        #[cfg(feature = "record")]
        {
            if $conn.log.is_some() {
                $conn.note(None, &$entry);
            }
        }
    };
    ($conn:expr, at $now:expr, = $entry:expr) => {
        #[cfg(feature = "record")]
        {
            if $conn.log.is_some() {
                $conn.note(Some($now), &$entry);
            }
        }
    };
    ($conn:expr, at $now:expr, $($entry:tt)*) => {
        #[cfg(feature = "record")]
        {
            if $conn.log.is_some() {
                $conn.note(Some($now), &crate::recording::Entry::$($entry)*);
            }
        }
    };
    ($conn:expr, $($entry:tt)*) => {
        #[cfg(feature = "record")]
        {
            if $conn.log.is_some() {
                $conn.note(None, &crate::recording::Entry::$($entry)*);
            }
        }
    };
}

/// Calls a method of the connection for its log, when one is kept.
macro_rules! when_recorded {
    ($conn:ident.$method:ident($($argument:expr),*)) => {
        #[cfg(feature = "record")]
        {
            if $conn.log.is_some() {
                $conn.$method($($argument),*);
            }
        }
    };
}

pub(super) use {note, when_recorded};

#[cfg(feature = "record")]
mod entries;

#[cfg(feature = "record")]
pub(super) use self::entries::{GivenTable, decoded, failed, going, invalid, invalid_from, released, said};
