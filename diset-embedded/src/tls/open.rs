//! From a connected transport to a channel: the handshake.

use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use diset_proto::Storage;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use embedded_tls::{CryptoRngCore, TlsConfig as Settings, TlsConnection, TlsContext};
use p256::elliptic_curve::zeroize::Zeroize;

use super::buffers::{Lent, MemoryOf, TlsBuffers};
use super::channel::TlsChannel;
use super::error::TlsError;
use super::flight::ALPN;
use super::identity::ClientKey;
use super::port::{Gate, Port};
use super::provider::{Proof, Provider};
use super::records::{Incoming, LIMITS, Outgoing, RecordKey};
use super::suite::{HAND_OVER, KEYS, Suite, meaning};
use super::verify::VerifyServer;
use crate::{asynch, blocking};

/// Half of what rustls sends under one key before it changes it, and a third of what AES-GCM allows for the longest
/// records. At ten records a second it lasts for nine days.
///
/// It is the usual [`max_records`](TlsConfig::max_records); the most is 2^24.
pub const MAX_RECORDS: u32 = 1 << 23;

/// Who is who in a handshake. Lent for each, so the same key and the same source of random numbers serve all.
#[expect(clippy::exhaustive_structs, reason = "a plain record that its user fills in")]
pub struct TlsConfig<'c> {
    /// Judges the server.
    pub server: &'c dyn VerifyServer,
    /// The client's certificate, in DER. Authorities between it and the one that the service knows cannot be shown.
    pub certificate: &'c [u8],
    /// The key of this certificate.
    pub key: &'c mut dyn ClientKey,
    /// Random numbers that nobody can guess; all security rests on them. See `rand_core` 0.6.
    pub random: &'c mut dyn CryptoRngCore,
    /// How many records each direction may carry, after the handshake: [`MAX_RECORDS`], or less in tests; 64 to 2^24.
    /// The service is told. Before they are used up [`is_worn`](TlsChannel::is_worn) says so; not one more leaves or is
    /// taken.
    pub max_records: u32,
}

/// Sizes and names only.
impl fmt::Debug for TlsConfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("server_name", &self.server.server_name())
            .field("max_records", &self.max_records)
            .finish_non_exhaustive()
    }
}

/// A connected transport, and what it takes to make a TLS channel of it.
pub struct Tls<'b, 'c, T> {
    stream: T,
    end: Option<fn(&mut T)>,
    config: TlsConfig<'c>,
    memory: MemoryOf<'b>,
}

impl<'b, 'c, T> Tls<'b, 'c, T> {
    /// Over this transport, in these buffers. They are lent until the channel is dropped; then they serve the next.
    ///
    /// # Errors
    /// [`TlsError::ReadBuffer`] or [`TlsError::WriteBuffer`]: they are too short. [`TlsError::MaxRecords`]: not 64 to
    /// 2^24.
    pub fn new<const READ: usize, const WRITE: usize>(
        stream: T,
        config: TlsConfig<'c>,
        buffers: &'b TlsBuffers<READ, WRITE>,
    ) -> Result<Self, TlsError> {
        let name = config.server.server_name().map_or(0, str::len);
        if READ < 256 {
            return Err(TlsError::ReadBuffer);
        }
        if WRITE
            < 384
                .max(name.saturating_add(256))
                .max(config.certificate.len().saturating_add(64))
        {
            return Err(TlsError::WriteBuffer);
        }
        if !LIMITS.contains(&config.max_records) {
            return Err(TlsError::MaxRecords);
        }
        Ok(Self {
            stream,
            end: None,
            config,
            memory: buffers.memory(),
        })
    }

    /// Ends the writing direction of the transport so, once, when close_notify has left: as PROTOCOL X-4 demands where
    /// the transport can, which the traits of embedded-io do not tell; `TcpSocket::close` of some stacks, a line that is
    /// hung up. Reading goes on, if it can. Without it close_notify alone tells the peer, which may then wait two
    /// seconds until the transport is closed.
    #[must_use]
    pub const fn ending_with(mut self, end: fn(&mut T)) -> Self {
        self.end = Some(end);
        self
    }
}

impl<T> fmt::Debug for Tls<'_, '_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<'b, T: embedded_io_async::Read + embedded_io_async::Write> asynch::Open for Tls<'b, '_, T> {
    type Channel = TlsChannel<'b, T>;
    type Error = TlsError;

    async fn open(self) -> Result<Self::Channel, TlsError> {
        let Self {
            mut stream,
            end,
            config,
            memory,
        } = self;
        let (incoming, outgoing) = handshake(&mut stream, config, memory).await?;
        Ok(TlsChannel {
            stream,
            end,
            incoming,
            outgoing,
        })
    }
}

impl<'b, T: Read + Write + ReadReady + WriteReady> blocking::Open for Tls<'b, '_, T> {
    type Channel = TlsChannel<'b, T>;
    type Error = TlsError;

    /// Waits for the handshake as long as the transport does.
    fn open(self) -> Result<Self::Channel, TlsError> {
        let Self {
            mut stream,
            end,
            config,
            memory,
        } = self;
        let (incoming, outgoing) = at_once(handshake(&mut Waiting(&mut stream), config, memory))?;
        Ok(TlsChannel {
            stream,
            end,
            incoming,
            outgoing,
        })
    }
}

/// The outcome of a future over [`Waiting`]: its parts are always ready, so one look is enough.
fn at_once<R>(future: impl Future<Output = Result<R, TlsError>>) -> Result<R, TlsError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(TlsError::Internal),
    }
}

/// The handshake by embedded-tls, in the memory in which the records pass afterwards.
async fn handshake<'b, T: embedded_io_async::Read + embedded_io_async::Write>(
    stream: &mut T,
    config: TlsConfig<'_>,
    (input, output): MemoryOf<'b>,
) -> Result<(Incoming<'b>, Outgoing<'b>), TlsError> {
    let (Some(mut input), Some(mut output)) = (Lent::of(input), Lent::of(output)) else {
        return Err(TlsError::BuffersInUse);
    };
    let gate = Gate::new();
    let most = config.max_records;
    let keys = agree(stream, config, &gate, input.bytes_mut(), output.bytes_mut()).await;
    // The keys have passed through there.
    input.bytes_mut().zeroize();
    output.bytes_mut().zeroize();
    let (reading, writing) = keys.map_err(|error| gate.fault().unwrap_or(error))?;
    let (reading, writing) = (RecordKey::new(reading, most), RecordKey::new(writing, most));
    Ok((Incoming::new(reading, input), Outgoing::new(writing, output)))
}

async fn agree<T: embedded_io_async::Read + embedded_io_async::Write>(
    stream: &mut T,
    config: TlsConfig<'_>,
    gate: &Gate,
    input: &mut [u8],
    output: &mut [u8],
) -> Result<([u8; KEYS], [u8; KEYS]), TlsError> {
    let mut settings = Settings::new().with_alpn(&[ALPN]);
    if let Some(name) = config.server.server_name() {
        settings = settings.with_server_name(name);
    }
    let port = Port {
        stream,
        gate,
        limit: input.len(),
        body: 0,
    };
    let provider = Provider {
        gate,
        proof: Proof::new(gate, config.server),
        certificate: config.certificate,
        key: config.key,
        random: config.random,
    };
    let mut tls = TlsConnection::<_, Suite>::new(port, input, output);
    tls.open(TlsContext::new(&settings, provider)).await.map_err(meaning)?;
    // embedded-tls says that it is open, without a proof too. The port has let nothing out then.
    if let Some(fault) = gate.objection() {
        return Err(fault);
    }
    gate.hand_over();
    let mut keys = [0; KEYS];
    let read = tls.read(&mut keys).await.map_err(meaning)?;
    let written = tls.write(HAND_OVER).await.map_err(meaning)?;
    tls.flush().await.map_err(meaning)?;
    let (Some(writing), KEYS, true) = (gate.keys(), read, written == HAND_OVER.len()) else {
        return Err(TlsError::Internal);
    };
    Ok((keys, writing))
}

/// A blocking transport whose futures are ready when they are made.
struct Waiting<'t, T>(&'t mut T);

impl<T: ErrorType> ErrorType for Waiting<'_, T> {
    type Error = T::Error;
}

impl<T: Read> embedded_io_async::Read for Waiting<'_, T> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, T::Error> {
        self.0.read(buffer)
    }
}

impl<T: Write> embedded_io_async::Write for Waiting<'_, T> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, T::Error> {
        self.0.write(bytes)
    }

    async fn flush(&mut self) -> Result<(), T::Error> {
        self.0.flush()
    }
}
