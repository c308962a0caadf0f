//! Two channels connected in memory, and what the tests of this folder share.

mod refusal;
mod resumption;
mod small;
mod traffic;

use rustls::AlertDescription;
use rustls::pki_types::ServerName;

use super::*;
use crate::tls::throwaway::ThrowawayCa;

type TestResult = Result<(), Box<dyn core::error::Error>>;

/// One end of a connection, with the buffers that its driver would have.
struct End {
    channel: Box<dyn Channel>,
    input: Vec<u8>,
    out: OutBuf,
    plaintext: Vec<u8>,
    established: Option<Established>,
    closed: bool,
    error: Option<ChannelError>,
    /// Longest tail that was left unconsumed.
    tail: usize,
}

impl End {
    fn new(channel: Result<Box<dyn Channel>, ChannelError>) -> Result<Self, ChannelError> {
        let mut end = Self {
            channel: channel?,
            input: Vec::new(),
            out: OutBuf::default(),
            plaintext: Vec::new(),
            established: None,
            closed: false,
            error: None,
            tail: 0,
        };
        end.turn();
        Ok(end)
    }

    fn turn(&mut self) {
        loop {
            let was_established = self.channel.is_established();
            let plaintext = &mut self.plaintext;
            let received = self.channel.receive(&mut self.input, &mut self.out, &mut |piece| {
                assert!(was_established, "plaintext before the peer is proven");
                plaintext.extend_from_slice(piece);
            });
            match received {
                Ok(received) => {
                    self.input.drain(..received.consumed);
                    self.closed |= received.closed;
                    if let Some(established) = self.channel.established() {
                        assert!(self.established.is_none() && received.again);
                        self.established = Some(established);
                    }
                    if !received.again {
                        break;
                    }
                }
                Err(error) => {
                    assert!(self.error.is_none());
                    self.error = Some(error);
                    self.input.clear();
                    break;
                }
            }
        }
        self.tail = self.tail.max(self.input.len());
    }

    fn subject(&self) -> &str {
        let credentials = self
            .established
            .as_ref()
            .and_then(|established| established.credentials.as_ref().ok());
        credentials
            .and_then(Credentials::certificate)
            .map_or("", CertificateCredentials::subject)
    }

    fn resumed(&self) -> Option<bool> {
        self.established.as_ref().map(|established| established.resumed)
    }
}

/// Carries bytes both ways, at most `chunk` at a time, until nothing moves.
fn carry(a: &mut End, b: &mut End, chunk: usize) {
    loop {
        let moved = carry_one_way(a, b, chunk) + carry_one_way(b, a, chunk);
        if moved == 0 {
            return;
        }
    }
}

fn carry_one_way(from: &mut End, to: &mut End, chunk: usize) -> usize {
    let count = from.out.pending().len().min(chunk);
    if count > 0 {
        to.input.extend_from_slice(&from.out.pending()[..count]);
        from.out.sent(count);
        to.turn();
    }
    count
}

fn name(text: &'static str) -> ServerName<'static> {
    ServerName::try_from(text).expect("a valid name")
}

struct World {
    ca: ThrowawayCa,
    server: ServerTls,
    client: ClientTls,
}

impl World {
    fn new() -> Result<Self, Box<dyn core::error::Error>> {
        let ca = ThrowawayCa::new()?;
        let server = ServerTls::new(ca.server(&["localhost", "127.0.0.1"])?, ca.authorities())?;
        let client = ClientTls::new(ca.client("alice")?, ca.authorities())?;
        Ok(Self { ca, server, client })
    }

    /// A connected client and server.
    fn pair(&self) -> Result<(End, End), ChannelError> {
        meet(&self.client, &self.server, usize::MAX)
    }
}

fn meet(client_tls: &ClientTls, server_tls: &ServerTls, chunk: usize) -> Result<(End, End), ChannelError> {
    let mut client = End::new(client(client_tls, name("localhost")))?;
    let mut server = End::new(server(server_tls))?;
    carry(&mut client, &mut server, chunk);
    Ok((client, server))
}

/// The service says something, without which the client would not resume, and both close.
fn part(client: &mut End, server: &mut End) -> Result<(), ChannelError> {
    server.channel.seal(b"hello", &mut server.out)?;
    carry(client, server, usize::MAX);
    client.channel.close(&mut client.out);
    server.channel.close(&mut server.out);
    carry(client, server, usize::MAX);
    Ok(())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}
