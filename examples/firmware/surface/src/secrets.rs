//! What TLS is given. Nobody is to be convinced by it: this image is not run.

use board::random;
use diset_embedded::tls::{
    CryptoRng, MAX_RECORDS, PinnedAuthority, PinnedKey, SecretKey, Tls, TlsBuffers, TlsConfig, TlsError, Validity,
};
use rand_core::RngCore;

/// Makes a client's TLS over this stream, and gives it to `open`.
pub(crate) fn with_tls<'b, T, R>(
    stream: T,
    buffers: &'b TlsBuffers,
    is_pinned: bool,
    open: impl FnOnce(Tls<'b, '_, T>) -> R,
) -> Result<Option<R>, TlsError> {
    let mut bytes = [0; 400];
    random(&mut bytes);
    let [authority, certificate] = [bytes.get(..200), bytes.get(200..)].map(Option::unwrap_or_default);
    let Some(mut key) = bytes.first_chunk::<32>().and_then(SecretKey::from_bytes) else {
        return Ok(None);
    };
    let authorities = [authority];
    let authority = PinnedAuthority::new(
        &authorities,
        "service.example.org",
        board::unix_time().map_or(Validity::NotChecked, Validity::At),
    );
    let pins = bytes.first_chunk::<32>().map_or([[0; 32]; 1], |pin| [*pin]);
    let pinned = PinnedKey::new(&pins).with_server_name("service.example.org");
    let config = TlsConfig {
        server: if is_pinned { &pinned } else { &authority },
        certificate,
        key: &mut key,
        random: &mut Random,
        max_records: MAX_RECORDS,
    };
    Tls::new(stream, config, buffers).map(|tls| Some(open(tls)))
}

/// The random numbers of the board.
struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        random(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        random(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        random(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        random(bytes);
        Ok(())
    }
}

impl CryptoRng for Random {}
