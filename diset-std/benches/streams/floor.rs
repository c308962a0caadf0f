//! The floor: what a careful author would write by hand for this one message over tokio-rustls. No catalog, no
//! validation, no acknowledgement, no liveness: a length, then the message in postcard, encoded straight into the
//! buffer that is written and decoded borrowed from the buffer that was read.

use core::hint::black_box;
use core::net::Ipv4Addr;
use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::common::{Outcome, crypto, say_listening};
use crate::job::{Job, Note};
use crate::measure::Meter;

/// Plaintext handed to TLS at a time: four full records.
const BATCH: usize = 64 * 1024;
/// rustls asks for 4 KiB at a time; reading ahead saves most of these calls.
const READ_AHEAD: usize = 64 * 1024;
const LENGTH: usize = size_of::<u32>();

pub(crate) async fn serve(job: &Job, meter: &mut Meter) -> Outcome<()> {
    let provider = Arc::new(crypto());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(job.tls.roots()?), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(job.tls.chain(), job.tls.key())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    say_listening(listener.local_addr()?);
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    let tls = TlsAcceptor::from(Arc::new(config))
        .accept(BufReader::with_capacity(READ_AHEAD, tcp))
        .await?;
    let mut link = Link::new(tls);
    if job.plan.workload.in_flight.is_some() {
        answer(&mut link, job.plan.warm_up).await?;
        meter.start()?;
        answer(&mut link, job.plan.messages).await?;
        meter.stop()?;
    } else {
        receive(&mut link, job.plan.warm_up).await?;
        meter.start()?;
        link.confirm().await?;
        receive(&mut link, job.plan.messages).await?;
        meter.stop()?;
        link.confirm().await?;
    }
    link.drain().await;
    Ok(())
}

pub(crate) async fn drive(job: &Job, meter: &mut Meter) -> Outcome<()> {
    let address = job.connect.ok_or("no address to connect to")?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(crypto()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(job.tls.roots()?)
        .with_client_auth_cert(job.tls.chain(), job.tls.key())?;
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, BufReader::with_capacity(READ_AHEAD, tcp))
        .await?;
    let mut link = Link::new(tls);
    let name = job.plan.workload.name();
    if let Some(in_flight) = job.plan.workload.in_flight {
        request(&mut link, job.plan.warm_up, in_flight, &name).await?;
        meter.start()?;
        request(&mut link, job.plan.messages, in_flight, &name).await?;
    } else {
        send(&mut link, job.plan.warm_up, &name).await?;
        link.confirmed().await?;
        meter.start()?;
        send(&mut link, job.plan.messages, &name).await?;
        link.confirmed().await?;
    }
    meter.stop()?;
    link.tls.shutdown().await?;
    Ok(())
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(link: &mut Link<S>, messages: u64, name: &str) -> Outcome<()> {
    for n in 0..messages {
        if !link.out.put(&Note::number(n, name))? {
            link.write().await?;
            link.out.put(&Note::number(n, name))?;
        }
    }
    link.write().await
}

async fn receive<S: AsyncRead + AsyncWrite + Unpin>(link: &mut Link<S>, messages: u64) -> Outcome<()> {
    let (mut seen, mut sum) = (0, 0_i64);
    while seen < messages {
        link.input.fill(&mut link.tls).await?;
        while seen < messages
            && let Some(note) = link.input.take()?
        {
            sum = sum.wrapping_add(note.id + note.name.len() as i64 + note.value as i64);
            seen += 1;
        }
    }
    black_box(sum);
    Ok(())
}

async fn request<S: AsyncRead + AsyncWrite + Unpin>(
    link: &mut Link<S>,
    messages: u64,
    in_flight: usize,
    name: &str,
) -> Outcome<()> {
    let (mut sent, mut answered) = (0, 0);
    while answered < messages {
        while sent < messages && sent - answered < in_flight as u64 {
            link.out.put(&Note::number(sent, name))?;
            sent += 1;
        }
        link.write().await?;
        link.input.fill(&mut link.tls).await?;
        while let Some(note) = link.input.take()? {
            black_box(note.id);
            answered += 1;
        }
    }
    Ok(())
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(link: &mut Link<S>, messages: u64) -> Outcome<()> {
    let mut seen = 0;
    while seen < messages {
        link.input.fill(&mut link.tls).await?;
        while seen < messages
            && let Some(note) = link.input.take()?
        {
            link.out.put(&note)?;
            seen += 1;
        }
        link.write().await?;
    }
    Ok(())
}

/// A TLS stream with its two buffers.
struct Link<S> {
    tls: S,
    input: Input,
    out: Output,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    fn new(tls: S) -> Self {
        Self {
            tls,
            input: Input {
                bytes: vec![0; BATCH].into(),
                start: 0,
                end: 0,
            },
            out: Output {
                bytes: vec![0; BATCH].into(),
                end: 0,
            },
        }
    }

    async fn write(&mut self) -> Outcome<()> {
        self.tls.write_all(&self.out.bytes[..self.out.end]).await?;
        self.tls.flush().await?;
        self.out.end = 0;
        Ok(())
    }

    /// Tells the other side that a phase of a one-way stream has arrived.
    async fn confirm(&mut self) -> Outcome<()> {
        self.out.put(&Note::number(0, ""))?;
        self.write().await
    }

    async fn confirmed(&mut self) -> Outcome<()> {
        while self.input.take()?.is_none() {
            self.input.fill(&mut self.tls).await?;
        }
        Ok(())
    }

    /// Reads until the other side has closed.
    async fn drain(&mut self) {
        while self.input.fill(&mut self.tls).await.is_ok() {}
    }
}

struct Output {
    bytes: Box<[u8]>,
    end: usize,
}

impl Output {
    /// Appends a message, or nothing and `false` when it has no room.
    fn put(&mut self, note: &Note<'_>) -> Outcome<bool> {
        let body = self.end + LENGTH;
        let Some(room) = self.bytes.get_mut(body..) else {
            return Ok(false);
        };
        let len = match postcard::to_slice(note, room) {
            Ok(encoded) => encoded.len(),
            Err(postcard::Error::SerializeBufferFull) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.bytes[self.end..body].copy_from_slice(&(len as u32).to_le_bytes());
        self.end = body + len;
        Ok(true)
    }
}

struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    /// The next whole message.
    fn take(&mut self) -> Outcome<Option<Note<'_>>> {
        let Some((length, rest)) = self.bytes[self.start..self.end].split_first_chunk::<LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += LENGTH + length;
        Ok(Some(postcard::from_bytes(body)?))
    }

    /// Reads more behind what is there.
    async fn fill<S: AsyncRead + Unpin>(&mut self, tls: &mut S) -> io::Result<()> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match tls.read(&mut self.bytes[self.end..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }
}
