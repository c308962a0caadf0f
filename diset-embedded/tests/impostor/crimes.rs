//! What each of them does.

use std::io::{self, Read, Write};

use p256::ecdsa::SigningKey;

use super::certificates::{Credentials, World};
use super::tls13::{ALPN, Server, certificate, certificate_request, extensions, message, with_length};
use super::{Impostor, Traitor};

/// The flight of an honest server.
pub(super) fn prove<S: Read + Write>(world: &World, server: &mut Server<S>) -> io::Result<()> {
    server.hello()?;
    server.plain(20, &[1])?;
    show(server, &[&world.service.certificate], &world.service.key)
}

/// Shows these certificates, and signs with this key.
fn show<S: Read + Write>(server: &mut Server<S>, chain: &[&[u8]], key: &SigningKey) -> io::Result<()> {
    let mut flight = vec![extensions(ALPN), certificate_request(), certificate(chain)];
    flight.push(server.verify(key, &flight));
    server.finish(&flight)
}

impl Impostor {
    /// The certificate that it shows, with its key, if that is all that is wrong.
    fn claim(self, world: &World) -> Option<&Credentials> {
        let crooked = &world.crooked;
        Some(match self {
            Self::DeviceSigned => &crooked.device_signed,
            Self::ClientOnly => &crooked.client_only,
            Self::WrongName => &crooked.wrong_name,
            Self::NameInSubject => &crooked.name_in_subject,
            Self::Expired => &crooked.expired,
            Self::NotYetValid => &crooked.not_yet_valid,
            Self::OtherAuthority => &crooked.other_authority,
            Self::SelfSigned => &crooked.self_signed,
            Self::NoPurpose => &crooked.no_purpose,
            Self::AuthorityAsLeaf => &crooked.authority_as_leaf,
            Self::AuthorityItself => &world.authority,
            Self::NoSigning => &crooked.no_signing,
            Self::CriticalExtension => &crooked.critical,
            _ => return None,
        })
    }

    pub(super) fn act<S: Read + Write>(self, world: &World, server: &mut Server<S>) -> io::Result<()> {
        if self.before_the_keys(server)? {
            return Ok(());
        }
        server.hello()?;
        if let Some(claim) = self.claim(world) {
            return show(server, &[&claim.certificate], &claim.key);
        }
        let (genuine, device) = (&world.service, &world.device);
        let own = &world.crooked.self_signed;
        let start = [extensions(ALPN), certificate_request()];
        let shown = [&start[..], &[certificate(&[&genuine.certificate])]].concat();
        match self {
            Self::NoCertificate => server.finish(&start[..1]),
            Self::NoCertificateAsking => server.finish(&start),
            Self::EmptyCertificate => server.finish(&[&start[..], &[certificate(&[])]].concat()),
            Self::NoProof => server.finish(&shown),
            Self::WrongSignature => show(server, &[&genuine.certificate], &own.key),
            Self::OldSignature => {
                let verify = server.verify(&genuine.key, &start);
                server.finish(&[&shown[..], &[verify]].concat())
            }
            Self::DeviceSignedChain => {
                let claim = &world.crooked.device_signed;
                show(server, &[&claim.certificate, &device.certificate], &claim.key)
            }
            Self::OtherCurve => show(server, &[&world.crooked.other_curve], &own.key),
            Self::NotACertificate => show(server, &[b"certificate"], &own.key),
            Self::EarlyVerify | Self::EarlyVerifyAlone => {
                let verify = server.verify(&own.key, &start);
                if self == Self::EarlyVerifyAlone {
                    server.flight(&start)?;
                    return server.flight(&[verify]);
                }
                server.finish(&[&start[..], &[verify], &shown[2..]].concat())
            }
            Self::TwoCertificates => {
                server.flight(&shown)?;
                server.flight(&[certificate(&[&own.certificate])])?;
                let verify = server.verify(&own.key, &[]);
                server.finish(&[verify])
            }
            Self::EarlyFinished => {
                let finished = server.finished(&start);
                server.finish(&[&start[..], &[finished], &shown[2..]].concat())
            }
            Self::WrongFinished => {
                let verify = server.verify(&genuine.key, &shown);
                server.flight(&[&shown[..], &[verify, message(20, &[0; 32])]].concat())
            }
            Self::NoExtensions => {
                let verify = server.verify(&genuine.key, &shown[1..]);
                server.finish(&[&shown[1..], &[verify]].concat())
            }
            Self::NoProtocol => server.finish(&[message(8, &[0, 0])]),
            Self::OtherProtocol => server.finish(&[extensions(b"h2")]),
            _ => self.break_records(server, &shown),
        }
    }

    /// What it does before there are keys; false if nothing.
    fn before_the_keys<S: Read + Write>(self, server: &mut Server<S>) -> io::Result<bool> {
        match self {
            Self::Garbage => server.raw(&[b'?'; 400])?,
            Self::Silent => {}
            Self::PlainAlert => server.plain(21, &[2, 40])?,
            Self::OldVersion => server.hello_of(|hello| hello.version = None)?,
            Self::Retry => server.hello_of(|hello| hello.random = RETRY)?,
            Self::OtherGroup => server.hello_of(|hello| hello.group = 24)?,
            Self::WrongPoint => server.hello_of(|hello| hello.share = Some([&[4][..], &[9; 64]].concat()))?,
            Self::NoPoint => server.hello_of(|hello| hello.share = Some(Vec::new()))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn break_records<S: Read + Write>(self, server: &mut Server<S>, shown: &[Vec<u8>]) -> io::Result<()> {
        match self {
            Self::Smuggled => {
                // The parts of the extensions end before a whole flight does that lies in the same message.
                let protocol = &extensions(ALPN)[4..];
                let hidden = [protocol, &shown[1], &server.finished(&shown[..2])].concat();
                server.flight(&[message(8, &hidden)])
            }
            Self::EmptyRecord => server.seal_raw(&[]),
            Self::PaddingOnly => server.seal_raw(&[0; 40]),
            Self::ShortRecord => server.plain(23, &[1; 15]),
            Self::LongRecord => server.raw(&[23, 3, 3, 0xff, 0xff]),
            Self::UnfitRecord => server.seal_raw(&[shown.concat(), vec![22], vec![0; 1024]].concat()),
            Self::ChangeFlood => (0..1000).try_for_each(|_| server.plain(20, &[1])),
            Self::PlainHandshake => server.plain(22, &shown.concat()),
            Self::LatePlainAlert => {
                server.flight(&shown[..2])?;
                server.plain(21, &[2, 40])
            }
            Self::EncryptedAlert => server.seal(&[2, 40], 21),
            Self::LateEncryptedAlert => {
                server.flight(shown)?;
                server.seal_raw(&[2, 116, 21, 0, 0, 0])
            }
            Self::ShortAlert => server.seal(&[40], 21),
            Self::ShortSignature => {
                server.flight(shown)?;
                // ECDSA on P-256, and one byte.
                server.flight(&[message(15, &[4, 3, 0, 1, 40])])
            }
            Self::EarlyData => {
                server.flight(&shown[..2])?;
                server.seal(b"data", 23)
            }
            Self::EarlyTicket => {
                server.flight(&shown[..2])?;
                server.flight(&[ticket()])
            }
            Self::Flood => {
                server.flight(&shown[..1])?;
                (0..1000).try_for_each(|_| server.flight(&[certificate_request()]))
            }
            other => unreachable!("{other:?} was dealt with"),
        }
    }
}

/// A ticket that is as it should be.
pub(super) fn ticket() -> Vec<u8> {
    message(
        4,
        &[
            &[0, 0, 1, 0, 0, 0, 0, 0][..],
            &with_length::<1>(&[1]),
            &with_length::<2>(&[7; 32]),
            &[0, 0],
        ]
        .concat(),
    )
}

impl Traitor {
    pub(super) fn act<S: Read + Write>(self, server: &mut Server<S>) -> io::Result<()> {
        // The client is alive till then: it reads this, and a ticket does not bother it.
        server.seal(&ticket(), 22)?;
        server.seal(b"hello", 23)?;
        match self {
            Self::EmptyRecord => server.seal_raw(&[]),
            Self::PaddingOnly => server.seal_raw(&[0; 40]),
            Self::ShortRecord => server.plain(23, &[1; 16]),
            Self::LongRecord => server.seal_raw(&[&[1; 1500][..], &[23]].concat()),
            Self::Finished => server.seal(&message(20, &[0; 32]), 22),
            Self::CertificateRequest => server.seal(&certificate_request(), 22),
            Self::Extensions => server.seal(&extensions(ALPN), 22),
            Self::KeyUpdate => server.seal(&message(24, &[0]), 22),
            Self::Fragment => server.seal(&ticket()[..20], 22),
            Self::NoMessage => server.seal(&[], 22),
            Self::BadTicket => server.seal(&[4, 0, 0, 90, 1, 2], 22),
            Self::Change => server.plain(20, &[1]),
            Self::PlainAlert => server.plain(21, &[2, 40]),
            Self::Alert => server.seal(&[2, 48], 21),
            Self::ShortAlert => server.seal(&[2], 21),
            Self::UnknownType => server.seal(b"data", 99),
            Self::Garbage => server.plain(23, &[1; 100]),
            Self::Replay => {
                let record = server.sealed(b"pay 1\x17");
                server.raw(&record)?;
                server.raw(&record)
            }
            Self::Truncation => Ok(()),
        }
    }
}

/// `random` of a server that asks for another hello.
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
