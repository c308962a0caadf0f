//! Servers that are not what they say.

use diset_embedded::tls::{CertificateError, TlsError};

use super::line::line;
use super::{Rule, WAYS, Way, read, with_channel, write};
use crate::impostor::{Impostor, Loot, Traitor, World};

fn expected(crime: Impostor, rule: Rule) -> TlsError {
    use Impostor as I;
    if let Some(error) = certificate(crime) {
        // To a rule that knows a key, any other key is just another.
        return TlsError::Certificate(match (rule, error) {
            (Rule::Authority, _) => error,
            (Rule::Key, CertificateError::Count | CertificateError::Malformed | CertificateError::Algorithm) => error,
            (Rule::Key, _) => CertificateError::Pin,
        });
    }
    match crime {
        I::NoCertificate | I::NoCertificateAsking | I::EmptyCertificate | I::NoProof => TlsError::NotProven,
        I::WrongSignature | I::OldSignature => TlsError::Signature,
        I::LongRecord => TlsError::RecordLength(0xffff),
        I::UnfitRecord => TlsError::RecordLength(0),
        I::PlainAlert | I::EncryptedAlert => TlsError::Alert(40),
        I::LateEncryptedAlert => TlsError::Alert(116),
        I::Silent => TlsError::Ended,
        I::OldVersion | I::Retry | I::OtherGroup | I::WrongPoint | I::NoPoint => TlsError::Unsupported,
        I::NoProtocol | I::OtherProtocol => TlsError::ApplicationProtocol,
        I::WrongFinished => TlsError::Decrypt,
        _ => TlsError::Unexpected,
    }
}

/// What is wrong with the certificate that it shows.
fn certificate(crime: Impostor) -> Option<CertificateError> {
    use Impostor as I;
    Some(match crime {
        I::DeviceSigned | I::OtherAuthority | I::SelfSigned => CertificateError::Authority,
        I::DeviceSignedChain => CertificateError::Count,
        I::ClientOnly | I::NoPurpose => CertificateError::Purpose,
        I::WrongName | I::NameInSubject => CertificateError::Name,
        I::Expired => CertificateError::Expired,
        I::NotYetValid => CertificateError::NotYetValid,
        I::AuthorityAsLeaf | I::AuthorityItself => CertificateError::IsAuthority,
        I::NoSigning => CertificateError::KeyUsage,
        I::CriticalExtension => CertificateError::CriticalExtension,
        I::OtherCurve => CertificateError::Algorithm,
        I::NotACertificate => CertificateError::Malformed,
        _ => return None,
    })
}

/// A length that nobody promises.
fn rounded(error: TlsError) -> TlsError {
    match error {
        TlsError::RecordLength(..=0xfffe) => TlsError::RecordLength(0),
        other => other,
    }
}

fn meet(world: &World, crime: Impostor, rule: Rule, way: Way) -> (Option<TlsError>, Loot) {
    let (client, server) = line();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || crime.serve(world, server));
        let outcome = with_channel(world, rule, way, client, |channel| {
            let _ = write(channel, way, b"secret");
        });
        (outcome.err(), server.join().expect("the impostor has not panicked"))
    })
}

// PROTOCOL X-2
#[test]
fn no_impostor_gets_a_channel_or_sees_anything_of_the_client() {
    let world = World::new();
    for &crime in Impostor::ALL {
        for rule in [Rule::Authority, Rule::Key] {
            // The rules differ in the certificate, the ways in what is below it.
            let ways = if rule == Rule::Authority { &WAYS[..] } else { &WAYS[..1] };
            for &way in ways {
                let (error, loot) = meet(&world, crime, rule, way);
                assert_eq!(
                    error.map(rounded),
                    Some(expected(crime, rule)),
                    "{crime:?}, {rule:?}, {way:?}"
                );
                assert_eq!(loot, Loot::default(), "{crime:?}, {rule:?}, {way:?}");
            }
        }
    }
}

#[test]
fn a_server_that_breaks_the_protocol_later_is_left_with_a_typed_error() {
    let world = World::new();
    for &crime in Traitor::ALL {
        for way in WAYS {
            let (client, server) = line();
            let error = std::thread::scope(|scope| {
                let world = &world;
                let server = scope.spawn(move || crime.serve(world, server));
                let error = with_channel(world, Rule::Authority, way, client, |channel| {
                    let mut buffer = [0; 64];
                    assert_eq!(read(channel, way, &mut buffer), Ok(5), "{crime:?}, {way:?}");
                    assert_eq!(&buffer[..5], b"hello");
                    let mut next = read(channel, way, &mut buffer);
                    if crime == Traitor::Replay {
                        assert_eq!(next, Ok(5));
                        next = read(channel, way, &mut buffer);
                    }
                    assert_eq!(read(channel, way, &mut buffer), next, "it stays so");
                    next.map_err(rounded)
                });
                // The client is gone: the server's last read ends.
                assert!(server.join().is_ok());
                error
            });
            let expected = match crime {
                Traitor::LongRecord => TlsError::RecordLength(0),
                Traitor::KeyUpdate => TlsError::KeyUpdate,
                Traitor::Alert => TlsError::Alert(48),
                Traitor::Garbage | Traitor::Replay => TlsError::Decrypt,
                Traitor::Truncation => TlsError::Ended,
                _ => TlsError::Unexpected,
            };
            assert_eq!(error, Ok(Err(expected)), "{crime:?}, {way:?}");
        }
    }
}
