//! One attack: what is sent, cut, or broken, decided by the seed and its number alone.

use core::error::Error;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use diset_std::rustls::pki_types::ServerName;
use diset_std::rustls::{ClientConfig as TlsConfig, ClientConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::common::*;
use crate::support::*;

/// How long a peer waits for an answer, or for its bytes to be taken.
const PATIENCE: Duration = Duration::from_secs(3);

/// SplitMix64: each attack has one of its own.
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        // Those at which something turns are frequent.
        match self.below(4) {
            0 => *self.pick(&[0, 1, 2, 0x7f, 0x80, 0x81, 0xc0, 0xff]),
            _ => self.next() as u8,
        }
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Some bytes changed, put in, taken out, doubled, or cut off.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.byte(),
                2 => bytes.insert(at, self.byte()),
                3 => drop(bytes.drain(at..end)),
                4 => {
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => bytes.truncate(end),
            }
        }
    }
}

/// Who is attacked, and what peers need for it.
pub(crate) struct Target {
    address: String,
    /// With tickets, so that many handshakes are resumed ones.
    tls: Arc<TlsConfig>,
}

impl Target {
    pub(crate) fn new(world: &World, running: &Running<PingPong>) -> Result<Self, Box<dyn Error>> {
        let mut tls = tls_config(world, Some(&world.ca.client("attacker")?))?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            address: format!("127.0.0.1:{}", running.port()),
            tls: Arc::new(tls),
        })
    }
}

/// One attack.
pub(crate) struct Attack {
    number: u64,
    random: Random,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) number: u64,
    pub(crate) kind: &'static str,
    pub(crate) sent: usize,
    /// The code that came back, or how else it ended.
    pub(crate) told: &'static str,
}

pub(crate) const KINDS: [&str; 10] = [
    "bare", "hello", "cut", "proposal", "frames", "payloads", "control", "credit", "flood", "records",
];

impl Attack {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut random = Random(seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        Self { number, random }
    }

    pub(crate) async fn run(mut self, target: &Target) -> Outcome {
        let kind = *self.random.pick(&KINDS);
        let mut sent = 0;
        let attack = async {
            match kind {
                "bare" | "hello" => self.without_tls(kind, target, &mut sent).await,
                _ => self.within_tls(kind, target, &mut sent).await,
            }
        };
        let told = match tokio::time::timeout(PATIENCE, attack).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => "broken",
            Err(_) => "nothing in time",
        };
        Outcome {
            number: self.number,
            kind,
            sent,
            told,
        }
    }

    /// Noise, or a hello that is changed or cut.
    async fn without_tls(&mut self, kind: &str, target: &Target, sent: &mut usize) -> io::Result<&'static str> {
        let mut socket = TcpStream::connect(&target.address).await?;
        let bytes = if kind == "bare" {
            let mut bytes = self.random.bytes(2000);
            let front: [&[u8]; 4] = [b"", b"GET / HTTP/1.1\r\n", b"dka", &[22, 3, 1, 2, 0, 1]];
            bytes.splice(0..0, self.random.pick(&front).iter().copied());
            bytes
        } else {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let mut tls = ClientConnection::new(Arc::clone(&target.tls), name).map_err(io::Error::other)?;
            let mut hello = Vec::new();
            tls.write_tls(&mut hello)?;
            self.random.mutate(&mut hello);
            hello
        };
        socket.write_all(&bytes).await?;
        *sent += bytes.len();
        match self.random.below(4) {
            0 => Ok("left"),
            1 => socket.set_zero_linger().map(|()| "reset"),
            2 => socket.shutdown().await.map(|()| "half an end"),
            _ => {
                let mut told = Vec::new();
                socket.read_to_end(&mut told).await?;
                Ok(if told.first() == Some(&21) { "alert" } else { "the end" })
            }
        }
    }

    async fn within_tls(&mut self, kind: &str, target: &Target, sent: &mut usize) -> io::Result<&'static str> {
        let stream = connect(&target.address, Arc::clone(&target.tls)).await?;
        let engine = Engine::new().map_err(io::Error::other)?;
        let mut peer = Peer { stream, engine };
        let mut proposal = peer.engine.says();
        // Another client each time, or they would displace each other; sometimes they shall.
        let identity = [0x82, 16];
        if let Some(at) = proposal.windows(2).position(|part| part == identity) {
            proposal[at + 2] = self.random.byte();
            proposal[at + 3] = self.random.byte();
        }
        match kind {
            "cut" => proposal.truncate(self.random.below(proposal.len())),
            // Of a later version: a field that must be understood. Its length is behind the preamble.
            "proposal" if self.random.below(16) == 0 && proposal[5] < 0x7e => {
                proposal[5] += 2;
                proposal.extend([0x8c, 0]);
            }
            "proposal" => self.random.mutate(&mut proposal),
            _ => {
                if peer.propose(&proposal).await.is_err() {
                    return Ok("not accepted");
                }
                *sent += proposal.len();
                proposal = self.after_the_handshake(kind);
            }
        }
        if kind == "records" {
            peer.stream.get_mut().0.write_all(&proposal).await?;
            *sent += proposal.len();
            return self.end(peer).await;
        }
        // Whole, or in pieces.
        let piece = if self.random.below(2) == 0 {
            proposal.len()
        } else {
            1 + self.random.below(100)
        };
        for part in proposal.chunks(piece.max(1)) {
            // A service that has ended the connection takes no more, and has said why.
            if peer.say(part).await.is_err() {
                break;
            }
            *sent += part.len();
        }
        self.end(peer).await
    }

    /// What an open connection gets.
    fn after_the_handshake(&mut self, kind: &str) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..1 + self.random.below(20) {
            let mut bytes = match kind {
                "payloads" => self.message(),
                "control" => frame(0x80 | self.random.byte(), &self.random.bytes(40)),
                "credit" => frame(0x85, &self.random.bytes(6)),
                // More than its credit, at times, and more than is read after an error.
                "flood" => {
                    let message = self.message();
                    message.repeat(1 + self.random.below(600_000 / message.len()))
                }
                "records" => [&[self.random.byte(), 3, 3, 0][..], &self.random.bytes(60)].concat(),
                _ => self.message(),
            };
            if kind == "frames" && self.random.below(3) == 0 {
                self.random.mutate(&mut bytes);
            }
            all.extend_from_slice(&bytes);
            if all.len() > 1 << 20 {
                break;
            }
        }
        all
    }

    /// A message of any number: good, nearly good, or noise.
    fn message(&mut self) -> Vec<u8> {
        let good: [&[u8]; 5] = [
            &[0, 2],
            &[4, 3, b'a', b'b', b'c'],
            &[6, 1, 1, b'a', 0, 0, 5, 1, b'b', 2, 3, 4],
            // Its handler fails.
            &[6, 1, 1, b'a', 0, 1, 7, 5, 0, 0],
            &[6, 0, 1, b'z', 1, 9, 0, 0xff, 1, 0, 0],
        ];
        let mut body = match self.random.below(8) {
            0 => [&[self.random.byte()][..], &self.random.bytes(60)].concat(),
            _ => self.random.pick(&good).to_vec(),
        };
        if self.random.below(4) == 0 {
            self.random.mutate(&mut body);
        }
        frame(0, &body)
    }

    /// Goes, rudely or not; or reads to the end.
    async fn end(&mut self, mut peer: Peer) -> io::Result<&'static str> {
        match self.random.below(8) {
            0 => return Ok("left"),
            1 => return peer.stream.get_ref().0.set_zero_linger().map(|()| "reset"),
            2 => peer.stream.get_mut().0.shutdown().await?,
            _ => peer.stream.shutdown().await.unwrap_or(()),
        }
        let mut told = Vec::new();
        let end = read_some(&mut peer.stream, &mut told).await;
        Ok(match code_in(&told) {
            Some(code) => code.name(),
            None if end.is_err() => "broken",
            None => "the end",
        })
    }
}

/// All that comes, as far as it does.
async fn read_some(stream: &mut TlsStream<TcpStream>, told: &mut Vec<u8>) -> io::Result<()> {
    let mut part = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            count => told.extend_from_slice(&part[..count]),
        }
    }
}
