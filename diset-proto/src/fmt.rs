//! The log macros of all diset crates: to `log`, to `defmt`, to both, or to nothing.
//!
//! State changes and refusals only; never the body of a message, never an argument.

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
