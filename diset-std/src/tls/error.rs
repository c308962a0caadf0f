//! Why TLS settings could not be made, in words for the person who wrote them. Errors of a running connection are in `channel`.

use core::fmt;
use std::io;
use std::path::PathBuf;

/// Where a certificate, key or list came from; names it in a [`TlsError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// PEM text or DER handed in by the program.
    Memory,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file `{}`", path.display()),
            Self::Memory => f.write_str("the data given by the program"),
        }
    }
}

/// What is wrong with the certificates, keys or settings given, and what to do about it.
///
/// The messages name the file. They never hold any part of a private key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read the {what} from file `{}`: {source}; check the path, and that this user may read the file", path.display())]
    Unreadable {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text looks like PEM but is damaged, or holds a block that cannot be read here.
    #[error("cannot read the {what} from {origin}: line {line}: {reason}")]
    BadPem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        origin: Origin,
        /// The line of the first fault, from 1.
        line: usize,
        /// What is wrong with the text, and what to do about it.
        reason: String,
    },
    /// It is not PEM text at all.
    #[error("cannot read the {what} from {origin}: it is {reason}")]
    NotPem {
        /// What was looked for.
        what: &'static str,
        /// Where.
        origin: Origin,
        /// What it is instead, with the command that converts it.
        reason: String,
    },
    /// More than 256 MiB, of which nothing is read.
    #[error("cannot read the {what} from {origin}: it is longer than 256 MiB; check what file it is")]
    TooLong {
        /// What was looked for.
        what: &'static str,
        /// Where.
        origin: Origin,
    },
    /// No certificate where the chain should be.
    #[error(
        "no certificate in {origin}{found}: it needs a `BEGIN CERTIFICATE` block, this party's own certificate first, then the intermediates"
    )]
    NoCertificate {
        /// Where one was looked for.
        origin: Origin,
        /// What stands there instead: empty, or `, which holds …`.
        found: String,
    },
    /// A certificate of the own chain cannot be read.
    #[error("certificate {number} in {origin} cannot be read: {reason}; ask your authority for a new one")]
    BadCertificate {
        /// Where it stands.
        origin: Origin,
        /// Its place in the chain, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// No private key where it should be.
    #[error(
        "no private key in {origin}{found}: it needs a `BEGIN PRIVATE KEY` block (or `EC PRIVATE KEY`, or `RSA PRIVATE KEY`)"
    )]
    NoPrivateKey {
        /// Where one was looked for.
        origin: Origin,
        /// What stands there instead: empty, or `, which holds …`.
        found: String,
    },
    /// The private key is protected by a pass phrase.
    #[error(
        "the private key in {origin} is protected by a pass phrase; write it without one (`openssl pkey -in KEY -out PLAIN`), readable by this user only"
    )]
    EncryptedKey {
        /// Where it stands.
        origin: Origin,
    },
    /// The cryptography in use cannot work with the private key.
    #[error(
        "the private key in {origin} cannot be used: {reason}; P-256, P-384, Ed25519 and RSA with 2048 bits or more work"
    )]
    UnsupportedKey {
        /// Where it stands.
        origin: Origin,
        /// What the cryptography said.
        reason: String,
    },
    /// The private key belongs to another certificate.
    #[error(
        "the private key in {key} does not belong to the first certificate in {chain}; give the pair that was issued together"
    )]
    KeyMismatch {
        /// Where the certificate stands.
        chain: Origin,
        /// Where the key stands.
        key: Origin,
    },
    /// The private key belongs to another certificate of the chain.
    #[error(
        "the private key in {key} belongs to certificate {number} in {chain}, not to the first: put this party's own certificate first, then the \
         intermediates"
    )]
    OwnNotFirst {
        /// Where the certificates stand.
        chain: Origin,
        /// Where the key stands.
        key: Origin,
        /// The place in the chain of the one it belongs to, from 1.
        number: usize,
    },
    /// Peers refuse the own certificate, all of them.
    #[error("peers would refuse the certificate in {origin}: {what}; {todo}")]
    Unfit {
        /// Where it stands.
        origin: Origin,
        /// What is wrong with it.
        what: String,
        /// What to do.
        todo: String,
    },
    /// The own chain is longer than peers take.
    #[error(
        "the certificates in {origin} take {bytes} bytes, and peers take {most}: leave out the authority, and what the chain does not need"
    )]
    ChainTooLong {
        /// Where they stand.
        origin: Origin,
        /// What they take, in DER.
        bytes: usize,
        /// What they may take.
        most: usize,
    },
    /// The own certificate has ended.
    #[error(
        "certificate {number} in {origin} ended on {not_after}: peers would refuse it; renew it, or check the clock of this machine"
    )]
    Expired {
        /// Where it stands.
        origin: Origin,
        /// Its place in the chain, from 1.
        number: usize,
        /// When it ended.
        not_after: String,
    },
    /// The own certificate is not valid yet.
    #[error(
        "certificate {number} in {origin} is valid only from {not_before}: peers would refuse it; check the clock of this machine"
    )]
    NotYetValid {
        /// Where it stands.
        origin: Origin,
        /// Its place in the chain, from 1.
        number: usize,
        /// When it begins.
        not_before: String,
    },
    /// No certificate authority where they should be.
    #[error(
        "no certificate authority in {origin}{found}: it needs at least one `BEGIN CERTIFICATE` block of an authority whose certificates peers show"
    )]
    NoAuthorities {
        /// Where they were looked for.
        origin: Origin,
        /// What stands there instead: empty, or `, which holds …`.
        found: String,
    },
    /// A certificate authority cannot be used as such.
    #[error("certificate authority {number} in {origin} cannot be used: {reason}; remove it or get it anew")]
    BadAuthority {
        /// Where it stands.
        origin: Origin,
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// No revocation list where they should be.
    #[error(
        "no revocation list in {origin}{found}: it needs a `BEGIN X509 CRL` block; give no revocations at all if you have none"
    )]
    NoRevocations {
        /// Where they were looked for.
        origin: Origin,
        /// What stands there instead: empty, or `, which holds …`.
        found: String,
    },
    /// A revocation list is damaged, or none of them can be used.
    #[error("the revocation lists in {origin} cannot be used: {reason}; fetch them anew")]
    BadRevocations {
        /// Where they stand.
        origin: Origin,
        /// Which lists, and what is wrong with them.
        reason: String,
    },
    /// A revocation list that counts says itself that it is out of date.
    #[error(
        "revocation list {number} in {origin} was to be replaced by {next_update}; fetch it anew, or check the clock of this machine"
    )]
    OldRevocations {
        /// Where it stands.
        origin: Origin,
        /// Its place, from 1.
        number: usize,
        /// Until when it was good.
        next_update: String,
    },
    /// The certificate for clients with small records is of another kind than these can verify.
    #[error(
        "the certificate in {origin} is not ECDSA on P-256, the one kind that clients with small records (`diset-1k/1`) verify; \
         give `small_records` one for them"
    )]
    SmallRecordsKey {
        /// Where it stands.
        origin: Origin,
    },
    /// The handshake does not fit one record of the size that clients with small records hold.
    #[error(
        "with the certificate in {origin} the TLS handshake takes {bytes} bytes, and clients with small records (`diset-1k/1`) hold {most}; \
         leave out intermediates and the authority, sign it by what clients trust, give it fewer and shorter names"
    )]
    SmallRecordsFlight {
        /// Where the certificate stands.
        origin: Origin,
        /// What EncryptedExtensions to Finished take.
        bytes: usize,
        /// What they may take.
        most: usize,
    },
    /// The cryptography in use cannot do what clients with small records need.
    #[error(
        "the TLS cryptography in use cannot serve clients with small records, which need TLS_AES_128_GCM_SHA256 and a key exchange on P-256: \
         {0}; choose another with `crypto_provider`"
    )]
    SmallRecordsCrypto(#[source] rustls::Error),
    /// There is no cryptography to use.
    #[error(
        "no TLS cryptography: enable the feature `aws-lc-rs` or `ring` of diset-std, or give one with `crypto_provider`"
    )]
    NoCryptoProvider,
    /// The cryptography in use cannot do what diset needs.
    #[error(
        "the TLS cryptography in use cannot serve diset (TLS 1.3, random numbers, tickets): {0}; choose another with `crypto_provider`"
    )]
    Crypto(#[source] rustls::Error),
}
