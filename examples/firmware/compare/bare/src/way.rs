//! How a call becomes a channel: by the TLS of diset-embedded, or as it is.

use board::Uart;
use diset_embedded::TrustedLine;
use diset_embedded::blocking::{Channel, Open as _};
use diset_embedded::tls::{Tls, TlsChannel};
use line::Call;
use trust::{Secure, Trust};

/// How a call becomes a channel.
pub trait Way {
    /// What it becomes.
    type Channel: Channel;

    /// The channel of a new connection; `None` when there is none, which is logged.
    fn open(&mut self, call: Call<'static, Uart>) -> Option<Self::Channel>;
}

impl<T: Trust> Way for Secure<T> {
    type Channel = TlsChannel<'static, Call<'static, Uart>>;

    fn open(&mut self, call: Call<'static, Uart>) -> Option<Self::Channel> {
        let verifier = self.trust.verifier();
        let opened = Tls::new(call, self.device.handshake(&verifier), self.records).and_then(|tls| tls.open());
        opened
            .inspect_err(|error| defmt::warn!("not connected: {}", error))
            .ok()
    }
}

/// As it is: nobody else can reach the line.
pub struct Trusted;

impl Way for Trusted {
    type Channel = TrustedLine<Call<'static, Uart>>;

    fn open(&mut self, call: Call<'static, Uart>) -> Option<Self::Channel> {
        Some(TrustedLine::new(call))
    }
}
