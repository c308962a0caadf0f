//! The log macros of all diset crates: to `log`, to `defmt`, to both, or to nothing; text in quotes.
//!
//! State changes and refusals only; never the body of a message, never an argument.

use core::fmt::{Debug, Formatter, Result, Write as _};

/// Text for `Debug`, all but ASCII by its number. core's own way would panic if it were wrong about its tables.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Debug for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '\'' => f.write_char(character)?,
                _ => character.escape_default().try_for_each(|part| f.write_char(part))?,
            }
        }
        f.write_char('"')
    }
}

/// Logs at debug level through whichever of `log` and `defmt` is enabled.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($format:literal $(, $arg:expr)* $(,)?) => {{
        #[cfg(feature = "log")]
        ::log::debug!($format $(, $arg)*);
        #[cfg(feature = "defmt")]
        ::defmt::debug!($format $(, $arg)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        { $( let _ = &$arg; )* }
    }};
}

/// Logs at warn level through whichever of `log` and `defmt` is enabled.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($format:literal $(, $arg:expr)* $(,)?) => {{
        #[cfg(feature = "log")]
        ::log::warn!($format $(, $arg)*);
        #[cfg(feature = "defmt")]
        ::defmt::warn!($format $(, $arg)*);
        #[cfg(not(any(feature = "log", feature = "defmt")))]
        { $( let _ = &$arg; )* }
    }};
}

pub(crate) use __log_debug as debug;
pub(crate) use __log_warn as warn;

#[cfg(test)]
mod tests {
    use super::Quoted;

    #[test]
    fn text_is_quoted_as_core_does() {
        for text in ["", "plain", "it's \"said\"", "a\\b\n\t\u{7f}"] {
            assert_eq!(format!("{:?}", Quoted(text)), format!("{text:?}"));
        }
        assert_eq!(format!("{:?}", Quoted("naïve\u{202e}")), r#""na\u{ef}ve\u{202e}""#);
    }
}
