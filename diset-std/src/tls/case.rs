//! A chain of certificates that is judged, and what is to be said of it: whose it is, which way leads to an authority, who can mend what is wrong.
//! The words for what is wrong are in `words`.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

use super::facts;
use super::{Authorities, Certificate};

/// Certificates of a chain that are looked at.
const MOST_LOOKED_AT: usize = 16;
/// Authorities of one name that are looked at.
const MOST_OF_A_NAME: usize = 4;

/// Which side of a connection a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A service.
    Service,
    /// A client.
    Client,
}

impl Role {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Client => "client",
        }
    }

    /// What its certificate must be for, and how an authority writes that.
    pub(super) const fn purpose(self) -> (&'static str, &'static str) {
        match self {
            Self::Service => ("server authentication", "serverAuth"),
            Self::Client => ("client authentication", "clientAuth"),
        }
    }
}

/// What was judged.
pub(super) struct Case<'a> {
    /// The certificate of the one who shows it.
    pub(super) own: &'a CertificateDer<'a>,
    /// Those it came with.
    pub(super) rest: &'a [CertificateDer<'a>],
    /// Whose it is.
    pub(super) role: Role,
    /// Whom this side trusts.
    pub(super) authorities: &'a Authorities,
    /// It was the signature of the handshake that was verified, not the chain.
    pub(super) in_handshake: bool,
}

impl<'a> Case<'a> {
    /// The chain of a certificate of this side.
    pub(super) fn of(certificate: &'a Certificate, role: Role, authorities: &'a Authorities) -> Option<Self> {
        let (own, rest) = certificate.chain().split_first()?;
        Some(Self {
            own,
            rest,
            role,
            authorities,
            in_handshake: false,
        })
    }

    /// Those that can be read, with their places in the chain from 1 on.
    pub(super) fn chain(&self) -> Vec<(usize, X509Certificate<'a>)> {
        let all = core::iter::once(self.own).chain(self.rest).take(MOST_LOOKED_AT);
        (1..)
            .zip(all)
            .filter_map(|(number, der)| Some((number, facts::parse(der)?)))
            .collect()
    }

    /// The authorities of this side with this name, the first few. There may be thousands, and whoever is refused makes this side look: so no
    /// others are read.
    pub(super) fn authorities_named(&self, name: &X509Name<'_>) -> Vec<X509Certificate<'a>> {
        let all = self.authorities.certificates().iter();
        let named = all.filter(|der| facts::is_named(der, name));
        named.filter_map(facts::parse).take(MOST_OF_A_NAME).collect()
    }

    /// The first certificate that this is true of, in words that go on with a verb.
    pub(super) fn which(&self, is_meant: impl Fn(&X509Certificate<'_>) -> bool) -> String {
        match self.chain().iter().find(|(_, certificate)| is_meant(certificate)) {
            Some((number, certificate)) if *number > 1 => {
                format!("certificate {number} of its chain, {},", facts::subject(certificate))
            }
            _ => String::from("it"),
        }
    }
}

/// Where each certificate of a chain stands on the way from the first to an authority, as far as the names tell.
pub(super) fn way<'c, 'a>(chain: &'c [(usize, X509Certificate<'a>)], at: i64) -> Vec<&'c (usize, X509Certificate<'a>)> {
    let mut way: Vec<_> = chain.first().filter(|(number, _)| *number == 1).into_iter().collect();
    while let Some((_, head)) = way.last().filter(|(_, head)| !facts::is_self_signed(head)) {
        let issuers = chain.iter().filter(|(number, other)| {
            let is_new = way.iter().all(|(taken, _)| taken != number);
            is_new && other.subject().as_raw() == head.issuer().as_raw()
        });
        // Of two with the same name the one that is valid.
        let Some(next) = issuers.max_by_key(|(number, other)| {
            let validity = other.validity();
            let is_valid = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&at);
            (is_valid, core::cmp::Reverse(*number))
        }) else {
            break;
        };
        way.push(next);
    }
    way
}

/// What is wrong, and what to do about it.
#[derive(Debug)]
pub(super) struct Explained {
    /// Begins with whose fault it is; "it" is the certificate of the one who showed it.
    pub(super) what: String,
    /// An instruction.
    pub(super) todo: String,
    who: Who,
}

/// Who can do it.
#[derive(Debug)]
enum Who {
    /// Whoever showed the certificate.
    Holder,
    /// Whoever judged it.
    Judge,
    /// The instruction says so.
    Either,
}

impl Explained {
    pub(super) fn holder(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(what, todo, Who::Holder)
    }

    pub(super) fn judge(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(what, todo, Who::Judge)
    }

    pub(super) fn either(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self::new(what, todo, Who::Either)
    }

    fn new(what: impl Into<String>, todo: impl Into<String>, who: Who) -> Self {
        Self {
            what: what.into(),
            todo: todo.into(),
            who,
        }
    }

    /// As told on the side that refused the peer.
    pub(super) fn of_the_peer(&self) -> String {
        let Self { what, todo, who } = self;
        match who {
            Who::Holder => format!("{what}; on the peer's side, {todo}"),
            Who::Judge => format!("{what}; on this side, {todo}"),
            Who::Either => format!("{what}; {todo}"),
        }
    }
}
