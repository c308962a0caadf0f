//! The TLS channel of diset-embedded as minimq wants it.

use board::Uart;
use diset_embedded::Channel;
use diset_embedded::tls::{TlsChannel, TlsError};
use embedded_io_async::{ErrorType, Read, Write};
use line::Call;

pub(crate) struct Io(pub(crate) TlsChannel<'static, Call<'static, Uart>>);

impl ErrorType for Io {
    type Error = TlsError;
}

impl Read for Io {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TlsError> {
        Channel::read(&mut self.0, buffer).await
    }
}

impl Write for Io {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, TlsError> {
        Channel::write(&mut self.0, bytes).await
    }

    async fn flush(&mut self) -> Result<(), TlsError> {
        Channel::flush(&mut self.0).await
    }
}
