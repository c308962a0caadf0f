//! What a TLS peer says as it goes, for people: what it may have against the certificate of this side, and what to do. Its alert is a number; what
//! this side knows of its own certificate makes an advice of it.

use rustls::AlertDescription;

use super::Certificate;
use super::case::{Role, way};
use super::facts;

/// What the peer said, to a side that has shown this.
pub(crate) fn alert_words(alert: AlertDescription, own: &Certificate, role: Role) -> String {
    use AlertDescription as A;
    let origin = own.chain_origin();
    let chain: Vec<_> = (1..)
        .zip(own.chain())
        .filter_map(|(number, der)| Some((number, facts::parse(der)?)))
        .collect();
    let leaf = chain.first().map(|(_, leaf)| leaf);
    let words = match alert {
        A::UnknownCA | A::DecryptError => {
            let top = way(&chain, i64::MAX).last().map(|(_, top)| facts::name(top.issuer()));
            let (from, more) = match (top, chain.len()) {
                (Some(issuer), 1) if !leaf.is_some_and(facts::is_self_signed) => (
                    format!("{origin}, issued by {issuer}"),
                    format!(" If {issuer} is an intermediate authority, append its certificate to {origin}"),
                ),
                (Some(issuer), _) => (format!("{origin}, whose chain ends with {issuer}"), String::new()),
                (None, _) => (origin.to_string(), String::new()),
            };
            format!(
                "it does not trust the authority of this side's certificate ({from}); do both sides have the ca.pem of the same authority?{more}"
            )
        }
        A::BadCertificate | A::CertificateUnknown | A::AccessDenied | A::UnrecognisedName if role == Role::Service => {
            let names = facts::list(&leaf.map(facts::host_names).unwrap_or_default());
            format!(
                "it refuses this side's certificate ({origin}), which may not prove the name that was connected to: it proves {names}; \
                 call the service by one of these, or get a certificate with the name; its log says why"
            )
        }
        A::BadCertificate | A::CertificateUnknown | A::AccessDenied => {
            let subject = leaf.map_or_else(String::new, |leaf| format!(" of {}", facts::subject(leaf)));
            format!(
                "it refuses this side's certificate{subject} ({origin}); its log says why, and with that its operator can help"
            )
        }
        A::UnsupportedCertificate => {
            let purposes = facts::list(&leaf.map(facts::purposes).unwrap_or_default());
            format!(
                "this side's certificate ({origin}) is not made for this side of a connection, or its kind of key is unknown to it: it is for \
                 {purposes}; get one for a {}",
                role.name()
            )
        }
        A::CertificateRevoked => format!("this side's certificate ({origin}) has been revoked; get a new one"),
        A::CertificateExpired => {
            let ends = leaf.map(|leaf| leaf.validity().not_after.to_string());
            let ends = ends.map_or_else(String::new, |ends| format!(" It ends on {ends}"));
            format!(
                "this side's certificate has expired, or is not valid yet ({origin}, or one of its chain); renew it, or check the clocks of both \
                 machines.{ends}"
            )
        }
        A::CertificateRequired | A::NoCertificate => String::from("this side showed no certificate, and it wants one"),
        A::ProtocolVersion => String::from("it does not speak TLS 1.3; is it a diset peer, of this version?"),
        A::HandshakeFailure | A::InsufficientSecurity => String::from(
            "the two sides have no cipher or key exchange in common; was the cryptography of one of them changed?",
        ),
        A::UnrecognisedName => String::from("it does not know the name that was connected to; set `server_name`"),
        A::InternalError => String::from("something failed on its side; its log says what"),
        A::UserCanceled => String::from("it was stopped in the middle of the handshake"),
        A::DecodeError | A::IllegalParameter | A::UnexpectedMessage | A::MissingExtension | A::UnsupportedExtension => {
            String::from(
                "it does not understand what this side's TLS says; is it a diset peer, and nothing else in between?",
            )
        }
        A::BadRecordMac | A::RecordOverflow | A::DecryptionFailed => {
            String::from("what it got was not what this side sent; something in between changes the bytes")
        }
        _ => String::from("it gives no other reason; its log may"),
    };
    format!("{words} (alert {})", name(alert))
}

/// As the standard calls it.
fn name(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let known = match alert {
        A::CloseNotify => "close_notify",
        A::UnexpectedMessage => "unexpected_message",
        A::BadRecordMac => "bad_record_mac",
        A::DecryptionFailed => "decryption_failed",
        A::RecordOverflow => "record_overflow",
        A::HandshakeFailure => "handshake_failure",
        A::NoCertificate => "no_certificate",
        A::BadCertificate => "bad_certificate",
        A::UnsupportedCertificate => "unsupported_certificate",
        A::CertificateRevoked => "certificate_revoked",
        A::CertificateExpired => "certificate_expired",
        A::CertificateUnknown => "certificate_unknown",
        A::IllegalParameter => "illegal_parameter",
        A::UnknownCA => "unknown_ca",
        A::AccessDenied => "access_denied",
        A::DecodeError => "decode_error",
        A::DecryptError => "decrypt_error",
        A::ProtocolVersion => "protocol_version",
        A::InsufficientSecurity => "insufficient_security",
        A::InternalError => "internal_error",
        A::UserCanceled => "user_canceled",
        A::MissingExtension => "missing_extension",
        A::UnsupportedExtension => "unsupported_extension",
        A::UnrecognisedName => "unrecognized_name",
        A::CertificateRequired => "certificate_required",
        A::NoApplicationProtocol => "no_application_protocol",
        other => return u8::from(other).to_string(),
    };
    known.to_owned()
}
