//! Which cryptography TLS uses, and the tickets of a server. No other place names a cryptography crate.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

use super::TlsError;

/// The provider given, else the default of the process, else the one of the enabled feature (`aws-lc-rs` before `ring`).
pub(super) fn choose(explicit: Option<Arc<CryptoProvider>>) -> Result<Arc<CryptoProvider>, TlsError> {
    explicit
        .or_else(|| CryptoProvider::get_default().cloned())
        .or_else(of_features)
        .ok_or(TlsError::NoCryptoProvider)
}

fn of_features() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "aws-lc-rs")]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    None
}

/// A new ticket maker with keys of its own. Without a feature that brings one the answer is none: sessions are then kept in the memory of
/// the server, a bounded number of them.
pub(super) fn ticketer() -> Result<Option<Arc<dyn ProducesTickets>>, TlsError> {
    #[cfg(feature = "aws-lc-rs")]
    return rustls::crypto::aws_lc_rs::Ticketer::new()
        .map(Some)
        .map_err(TlsError::Crypto);
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    return rustls::crypto::ring::Ticketer::new()
        .map(Some)
        .map_err(TlsError::Crypto);
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    Ok(None)
}

#[cfg(all(test, not(any(feature = "aws-lc-rs", feature = "ring"))))]
mod tests {
    use super::{TlsError, choose};

    #[test]
    fn without_cryptography_the_error_says_what_to_enable() {
        let message = choose(None).map_err(|error: TlsError| error.to_string());
        assert!(message.is_err_and(|message| message.contains("`aws-lc-rs` or `ring`")));
    }
}
