//! How a call becomes a channel to the service: by TLS, or as it is.

use core::convert::Infallible;

use board::Uart;
use defmt::Format;
use diset_embedded::blocking::Channel;
use diset_embedded::tls::{Tls, TlsChannel, TlsError};
use diset_embedded::{ConnectError, Instant, TrustedLine};
use line::Call;
use trust::{Secure, Trust};

use crate::Agent;

/// How a call becomes a channel.
pub trait Way {
    /// What it becomes.
    type Channel: Channel;
    /// Why it does not.
    type Error: embedded_io::Error + Format;

    /// Connects the client over this call.
    ///
    /// # Errors
    /// As those of the client, which knows when to try again.
    fn connect(
        &mut self,
        client: &mut Agent<Self::Channel>,
        call: Call<'static, Uart>,
        now: Instant,
    ) -> Result<(), ConnectError<Self::Error>>;

    /// Whether it does not because who has answered is not the service.
    fn is_impostor(error: &Self::Error) -> bool;

    /// Logs what was wrong with the channel, which is over, if it knows more than the client does.
    fn log_fault(channel: &Self::Channel);
}

impl<T: Trust> Way for Secure<T> {
    type Channel = TlsChannel<'static, Call<'static, Uart>>;
    type Error = TlsError;

    fn connect(
        &mut self,
        client: &mut Agent<Self::Channel>,
        call: Call<'static, Uart>,
        now: Instant,
    ) -> Result<(), ConnectError<TlsError>> {
        let verifier = self.trust.verifier();
        match Tls::new(call, self.device.handshake(&verifier), self.records) {
            Ok(tls) => client.connect(tls, now),
            Err(error) => {
                client.unreachable(now);
                Err(ConnectError::Channel(error))
            }
        }
    }

    fn is_impostor(error: &TlsError) -> bool {
        trust::is_impostor(error)
    }

    fn log_fault(channel: &Self::Channel) {
        trust::log_fault(channel.fault());
    }
}

/// As it is: nobody else can reach the line.
pub struct Trusted;

impl Way for Trusted {
    type Channel = TrustedLine<Call<'static, Uart>>;
    type Error = Infallible;

    fn connect(
        &mut self,
        client: &mut Agent<Self::Channel>,
        call: Call<'static, Uart>,
        now: Instant,
    ) -> Result<(), ConnectError<Infallible>> {
        client.connect(TrustedLine::new(call).ending_with(Call::hang_up), now)
    }

    fn is_impostor(error: &Infallible) -> bool {
        match *error {}
    }

    fn log_fault(_: &Self::Channel) {}
}
