//! TLS 1.3 with one suite and one curve, as far as it takes to break it.

use std::io::{self, Write};

use aes_gcm::{Aes128Gcm, KeyInit, aead::AeadInPlace};
use embedded_tls::Sha256;
use hkdf::Hkdf;
use hkdf::hmac::{Hmac, Mac};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::signature::digest::Digest;
use p256::ecdsa::{DerSignature, SigningKey};
use rand_core::OsRng;

use super::Loot;

pub(crate) const ALPN: &[u8] = b"diset-1k/1";

type Secret = [u8; 32];

fn label<const N: usize>(secret: &Secret, label: &str, context: &[u8]) -> [u8; N] {
    let mut info = u16::try_from(N).unwrap().to_be_bytes().to_vec();
    info.extend(with_length::<1>(format!("tls13 {label}").as_bytes()));
    info.extend(with_length::<1>(context));
    let mut out = [0; N];
    Hkdf::<Sha256>::from_prk(secret)
        .unwrap()
        .expand(&info, &mut out)
        .unwrap();
    out
}

fn extract(salt: &Secret, secret: &[u8]) -> Secret {
    Hkdf::<Sha256>::extract(Some(salt), secret).0.into()
}

/// Bytes after their length in `N` bytes.
pub(crate) fn with_length<const N: usize>(bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[8 - N..], bytes].concat()
}

struct Keys {
    cipher: Aes128Gcm,
    iv: [u8; 12],
    secret: Secret,
    count: u64,
}

impl Keys {
    fn new(secret: Secret) -> Self {
        Self {
            cipher: Aes128Gcm::new(&label::<16>(&secret, "key", &[]).into()),
            iv: label(&secret, "iv", &[]),
            secret,
            count: 0,
        }
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (byte, number) in nonce.iter_mut().rev().zip(self.count.to_le_bytes()) {
            *byte ^= number;
        }
        self.count += 1;
        nonce
    }

    fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut body = plaintext.to_vec();
        let header = record_header(23, body.len() + 16);
        let nonce = self.nonce();
        let tag = self.cipher.encrypt_in_place_detached(&nonce.into(), &header, &mut body);
        [&header[..], &body, &tag.unwrap()].concat()
    }

    fn open(&mut self, record: &[u8]) -> Option<(Vec<u8>, u8)> {
        let (header, body) = record.split_at(5);
        let (body, tag) = body.split_at(body.len().checked_sub(16)?);
        let mut body = body.to_vec();
        let nonce = self.nonce();
        let cipher = &self.cipher;
        cipher
            .decrypt_in_place_detached(&nonce.into(), header, &mut body, tag.into())
            .ok()?;
        let kind = body.pop()?;
        Some((body, kind))
    }

    fn finished(&self, transcript: &[u8]) -> Vec<u8> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&label::<32>(&self.secret, "finished", &[])).unwrap();
        mac.update(transcript);
        mac.finalize().into_bytes().to_vec()
    }
}

fn record_header(kind: u8, length: usize) -> [u8; 5] {
    let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
    [kind, 3, 3, high, low]
}

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [vec![kind], with_length::<3>(body)].concat()
}

fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
    [vec![0, kind], with_length::<2>(body)].concat()
}

pub(crate) fn extensions(alpn: &[u8]) -> Vec<u8> {
    let alpn = extension(16, &with_length::<2>(&with_length::<1>(alpn)));
    message(8, &with_length::<2>(&alpn))
}

pub(crate) fn certificate_request() -> Vec<u8> {
    let schemes = extension(13, &with_length::<2>(&[4, 3]));
    message(13, &[vec![0], with_length::<2>(&schemes)].concat())
}

pub(crate) fn certificate(chain: &[&[u8]]) -> Vec<u8> {
    let entries: Vec<u8> = chain
        .iter()
        .flat_map(|one| [with_length::<3>(one), vec![0, 0]].concat())
        .collect();
    message(11, &[vec![0], with_length::<3>(&entries)].concat())
}

/// What the server's hello says.
pub(crate) struct Hello {
    pub(crate) random: [u8; 32],
    pub(crate) version: Option<[u8; 2]>,
    pub(crate) group: u8,
    pub(crate) share: Option<Vec<u8>>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Data(Vec<u8>),
    Handshake(Vec<u8>),
    Alert(Vec<u8>),
    /// A plaintext record of this type.
    Plain(u8),
    /// A record that cannot be opened.
    Sealed,
    End,
}

/// A server in the middle of a handshake.
pub(crate) struct Server<S> {
    pub(crate) stream: S,
    transcript: Sha256,
    master: Secret,
    client_point: Vec<u8>,
    session: Vec<u8>,
    writing: Option<Keys>,
    reading: Option<Keys>,
    after: Option<(Keys, Keys)>,
    loot: Loot,
}

impl<S: io::Read + Write> Server<S> {
    /// Reads the client's hello; `None` if there is none.
    pub(crate) fn accept(mut stream: S) -> Option<Self> {
        let hello = read_record(&mut stream)?;
        let hello = &hello[5..];
        let session = hello[39..39 + usize::from(hello[38])].to_vec();
        // The share: group 23, 65 bytes, uncompressed.
        let at = hello.windows(5).position(|bytes| bytes == [0, 23, 0, 65, 4])? + 4;
        Some(Self {
            stream,
            transcript: Sha256::new_with_prefix(hello),
            master: [0; 32],
            client_point: hello[at..at + 65].to_vec(),
            session,
            writing: None,
            reading: None,
            after: None,
            loot: Loot::default(),
        })
    }

    fn hash(&self) -> Vec<u8> {
        self.transcript.clone().finalize().to_vec()
    }

    /// An honest hello; from then on records are encrypted.
    pub(crate) fn hello(&mut self) -> io::Result<()> {
        self.hello_of(|_| {})
    }

    pub(crate) fn hello_of(&mut self, change: impl Fn(&mut Hello)) -> io::Result<()> {
        let own = p256::ecdh::EphemeralSecret::random(&mut OsRng);
        let point = p256::EncodedPoint::from(own.public_key());
        let mut hello = Hello {
            random: [7; 32],
            version: Some([3, 4]),
            group: 23,
            share: Some(point.as_bytes().to_vec()),
        };
        change(&mut hello);
        let mut list = Vec::new();
        if let Some(version) = hello.version {
            list.extend(extension(43, &version));
        }
        if let Some(share) = hello.share {
            list.extend(extension(
                51,
                &[vec![0, hello.group], with_length::<2>(&share)].concat(),
            ));
        }
        let body = [
            &[3, 3][..],
            &hello.random,
            &with_length::<1>(&self.session),
            &[0x13, 1, 0],
            &with_length::<2>(&list),
        ]
        .concat();
        let hello = message(2, &body);
        self.transcript.update(&hello);
        self.plain(22, &hello)?;

        let peer = p256::PublicKey::from_sec1_bytes(&self.client_point).unwrap();
        let shared = own.diffie_hellman(&peer);
        let empty = Sha256::digest([]);
        let early = extract(&[0; 32], &[0; 32]);
        let secret = extract(&label(&early, "derived", &empty), shared.raw_secret_bytes());
        self.master = extract(&label(&secret, "derived", &empty), &[0; 32]);
        self.writing = Some(Keys::new(label(&secret, "s hs traffic", &self.hash())));
        self.reading = Some(Keys::new(label(&secret, "c hs traffic", &self.hash())));
        Ok(())
    }

    /// CertificateVerify with this key, over the transcript so far and these messages.
    pub(crate) fn verify(&self, key: &SigningKey, messages: &[Vec<u8>]) -> Vec<u8> {
        let hash = self.transcript.clone().chain_update(messages.concat()).finalize();
        let signed = [&[0x20; 64][..], b"TLS 1.3, server CertificateVerify\0", &hash].concat();
        let signature: DerSignature = key.sign(&signed);
        message(15, &[vec![4, 3], with_length::<2>(signature.as_ref())].concat())
    }

    /// Finished over the transcript so far and these messages.
    pub(crate) fn finished(&self, messages: &[Vec<u8>]) -> Vec<u8> {
        let hash = self.transcript.clone().chain_update(messages.concat()).finalize();
        message(20, &self.writing.as_ref().unwrap().finished(&hash))
    }

    /// These messages in one record; they become part of the transcript.
    pub(crate) fn flight(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        let flight = messages.concat();
        self.transcript.update(&flight);
        self.seal(&flight, 22)
    }

    /// These messages and a Finished in one record. The keys for data are there then.
    pub(crate) fn finish(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        let finished = self.finished(messages);
        let flight = [messages.concat(), finished].concat();
        self.transcript.update(&flight);
        let hash = self.hash();
        self.seal(&flight, 22)?;
        self.writing = Some(Keys::new(label(&self.master, "s ap traffic", &hash)));
        let server = Keys::new(label(&self.master, "s ap traffic", &hash));
        self.after = Some((server, Keys::new(label(&self.master, "c ap traffic", &hash))));
        Ok(())
    }

    /// An encrypted record with this content and type.
    pub(crate) fn seal(&mut self, content: &[u8], kind: u8) -> io::Result<()> {
        self.seal_raw(&[content, &[kind]].concat())
    }

    /// An encrypted record with this plaintext, type and padding included.
    pub(crate) fn seal_raw(&mut self, plaintext: &[u8]) -> io::Result<()> {
        let record = self.sealed(plaintext);
        self.raw(&record)
    }

    pub(crate) fn sealed(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.writing.as_mut().expect("after the hello").seal(plaintext)
    }

    /// A plaintext record.
    pub(crate) fn plain(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let record = [&record_header(kind, body.len())[..], body].concat();
        self.raw(&record)
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next record of the client.
    pub(crate) fn read(&mut self) -> Read {
        let Some(record) = read_record(&mut self.stream) else {
            return Read::End;
        };
        if record[0] != 23 {
            return Read::Plain(record[0]);
        }
        let Some((content, kind)) = self.reading.as_mut().and_then(|keys| keys.open(&record)) else {
            return Read::Sealed;
        };
        match kind {
            23 => Read::Data(content),
            22 => {
                match content[0] {
                    11 => self.loot.certificate = true,
                    20 => self.reading = self.after.take().map(|(_, client)| client),
                    _ => {}
                }
                Read::Handshake(content)
            }
            _ => Read::Alert(content),
        }
    }

    /// Reads until the client's Finished.
    pub(crate) fn take_client(&mut self) -> bool {
        loop {
            match self.read() {
                Read::Handshake(message) if message[0] == 20 => return true,
                Read::Handshake(_) => {}
                _ => return false,
            }
        }
    }

    /// Reads until the client ends, with whatever keys there are.
    pub(crate) fn loot(mut self) -> Loot {
        loop {
            match self.read() {
                Read::Data(data) => self.loot.application.extend(data),
                Read::End => return self.loot,
                _ => {}
            }
        }
    }
}

fn read_record(stream: &mut impl io::Read) -> Option<Vec<u8>> {
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).ok()?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + length, 0);
    stream.read_exact(&mut record[5..]).ok()?;
    Some(record)
}
