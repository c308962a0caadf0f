//! What a client takes on a 32-bit chip. The figures stand in the documentation of the crate, too; a test compares
//! them, and a build for such a chip fails when they are exceeded.

/// [`Buffers`](crate::Buffers) of the default lengths.
pub(crate) const BUFFERS: usize = 1412;
/// A [`Client`](crate::Client), less its channel and clock.
pub(crate) const CLIENT: usize = 528;
/// The same of a client with an outbox.
pub(crate) const ACKED: usize = 528;
/// An [`Outbox`](crate::Outbox), less its bytes for messages.
pub(crate) const OUTBOX: usize = 488;
/// An [`Event`](crate::Event).
pub(crate) const EVENT: usize = 112;

#[cfg(target_pointer_width = "32")]
const _: () = {
    diset_proto::define_service! { Any = "Any/Any"; }
    assert!(size_of::<crate::Buffers>() <= BUFFERS);
    assert!(size_of::<crate::Client<'static, Any, ()>>() <= CLIENT);
    assert!(size_of::<crate::Client<'static, Any, (), crate::NoClock, crate::Outbox<64>>>() <= ACKED);
    assert!(size_of::<crate::Outbox<64>>() <= OUTBOX + 64);
    assert!(size_of::<crate::Event<'static, 'static, Any>>() <= EVENT);
    // What is to be had beyond the bytes for frames and messages.
    assert!(ACKED + OUTBOX <= 1024);
    // The documentation of `tls` says so.
    #[cfg(feature = "embedded-tls")]
    assert!(size_of::<crate::tls::TlsChannel<'static, ()>>() <= 150);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_documentation() {
        let documentation = include_str!("lib.rs");
        for (what, bytes) in [
            ("[`Buffers`]", BUFFERS),
            ("[`Client`]", CLIENT),
            ("[`Client`] with an outbox", ACKED),
            ("[`Outbox`], and its `N`", OUTBOX),
            ("[`Event`]", EVENT),
        ] {
            let row = format!("//! | {what} | {bytes} |");
            assert!(documentation.contains(&row), "put into the table of lib.rs: {row}");
        }
    }
}
