//! Servers that are not what they say, and one that is: a TLS 1.3 server by hand which can break every rule. It works
//! over any stream, so the tests of the firmware use it, too.

pub(crate) mod certificates;
mod crimes;
mod tls13;

use std::io::{Read, Write};

pub(crate) use certificates::World;
pub(crate) use tls13::Server;

/// What an impostor has got to see.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loot {
    /// Bytes of the application.
    pub(crate) application: Vec<u8>,
    /// Whether the client has shown its certificate.
    pub(crate) certificate: bool,
}

macro_rules! crimes {
    ($(#[$enum:meta])* $name:ident: $($(#[$doc:meta])* $crime:ident),+ $(,)?) => {
        $(#[$enum])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$doc])* $crime),+ }
        impl $name {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$crime),+];
        }
    };
}

crimes! {
    /// Does not have the key of an acceptable certificate, or breaks the protocol before it has shown it.
    Impostor:
    /// Neither Certificate nor CertificateVerify, and does not ask for the client's certificate.
    NoCertificate,
    /// As before, but asks for the client's certificate.
    NoCertificateAsking,
    /// A Certificate message with none in it.
    EmptyCertificate,
    /// The service's own certificate, which is public, and no CertificateVerify.
    NoProof,
    /// The service's own certificate, signed with another key.
    WrongSignature,
    /// The signature is of another handshake.
    OldSignature,
    /// A certificate for the service, signed by a device of the same authority, alone.
    DeviceSigned,
    /// As before, with the certificate of the device after it.
    DeviceSignedChain,
    /// A device's own certificate, for clients only, that has the service's name.
    ClientOnly,
    /// For another name.
    WrongName,
    /// For another name, with the service's name as common name.
    NameInSubject,
    Expired,
    NotYetValid,
    /// By an authority of the same name.
    OtherAuthority,
    /// By itself.
    SelfSigned,
    /// Without extendedKeyUsage.
    NoPurpose,
    /// The certificate of an authority that the pinned one has certified, for servers and with the right name.
    AuthorityAsLeaf,
    /// The pinned authority's own certificate.
    AuthorityItself,
    /// keyUsage without digitalSignature.
    NoSigning,
    /// A critical extension that nobody knows.
    CriticalExtension,
    /// On another curve.
    OtherCurve,
    /// No certificate at all: garbage.
    NotACertificate,
    /// CertificateVerify before any Certificate.
    EarlyVerify,
    /// As before, in a record of its own.
    EarlyVerifyAlone,
    /// Two Certificate messages.
    TwoCertificates,
    /// Finished, then what should have come before.
    EarlyFinished,
    /// A message hidden in the end of another, whose length says more than its parts.
    Smuggled,
    /// An encrypted record that has not even a type.
    EmptyRecord,
    /// An encrypted record of padding only.
    PaddingOnly,
    /// An encrypted record shorter than its tag.
    ShortRecord,
    /// A record longer than any.
    LongRecord,
    /// A record that is allowed, but too long for the client.
    UnfitRecord,
    /// The cipher is changed again and again.
    ChangeFlood,
    /// Plaintext handshake messages after the keys are there.
    PlainHandshake,
    /// A plaintext alert.
    PlainAlert,
    /// A plaintext alert after encrypted records.
    LatePlainAlert,
    /// An encrypted alert in the handshake.
    EncryptedAlert,
    /// As before, when it has shown the service's certificate; in a padded record.
    LateEncryptedAlert,
    /// An encrypted alert of one byte.
    ShortAlert,
    /// A signature of one byte.
    ShortSignature,
    /// Application data in the handshake.
    EarlyData,
    /// A ticket in the handshake.
    EarlyTicket,
    /// Encrypted records without end.
    Flood,
    /// Not TLS.
    Garbage,
    /// Ends at once.
    Silent,
    /// TLS 1.2.
    OldVersion,
    /// Asks for another hello.
    Retry,
    /// Another curve for the key exchange.
    OtherGroup,
    /// A point that is not on the curve.
    WrongPoint,
    /// A share without a point.
    NoPoint,
    /// No application protocol.
    NoProtocol,
    /// Another application protocol.
    OtherProtocol,
    /// No EncryptedExtensions.
    NoExtensions,
    /// A wrong Finished.
    WrongFinished,
}

crimes! {
    /// Has proven who it is, and breaks the protocol afterwards.
    Traitor:
    /// An encrypted record that has not even a type.
    EmptyRecord,
    /// An encrypted record of padding only.
    PaddingOnly,
    /// A record shorter than its tag.
    ShortRecord,
    /// A record that is too long for the client.
    LongRecord,
    /// A handshake message of the handshake, again.
    Finished,
    /// CertificateRequest after the handshake.
    CertificateRequest,
    /// EncryptedExtensions after the handshake.
    Extensions,
    /// A KeyUpdate.
    KeyUpdate,
    /// A message in two records.
    Fragment,
    /// A handshake record with nothing in it.
    NoMessage,
    /// A ticket whose length is wrong.
    BadTicket,
    /// A change of the cipher.
    Change,
    /// A plaintext alert.
    PlainAlert,
    /// A fatal alert.
    Alert,
    /// An alert of one byte.
    ShortAlert,
    /// A type that does not exist.
    UnknownType,
    /// Not encrypted with the key.
    Garbage,
    /// The same record twice.
    Replay,
    /// No close_notify.
    Truncation,
}

impl Impostor {
    /// Serves one client, and reads what it says until it ends.
    pub(crate) fn serve<S: Read + Write>(self, world: &World, stream: S) -> Loot {
        let Some(mut server) = Server::accept(stream) else {
            return Loot::default();
        };
        // The client may be gone already.
        let _ = self.act(world, &mut server);
        if self == Self::Silent {
            Loot::default()
        } else {
            server.loot()
        }
    }
}

impl Traitor {
    /// As [`Impostor::serve`].
    pub(crate) fn serve<S: Read + Write>(self, world: &World, stream: S) -> Loot {
        let mut server = Server::accept(stream).expect("a hello");
        crimes::prove(world, &mut server).expect("the client is there");
        assert!(server.take_client(), "the client proves itself");
        // The client may be gone already.
        let _ = self.act(&mut server);
        if self == Self::Truncation {
            Loot::default()
        } else {
            server.loot()
        }
    }
}
