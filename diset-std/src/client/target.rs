//! Where a client connects to: what is written as an address, and who says which addresses a name has.

use core::future::Future;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::io;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::lookup_host;

use super::state::BadSettings;
use crate::handler::BoxFuture;
use crate::tls::ClientTls;

/// Most names and addresses that are given to a client.
pub(super) const MAX_PLACES: usize = 16;

/// Where to connect to, and what protects the way there.
pub(super) enum Target {
    Tcp {
        /// As it was given.
        written: String,
        places: Vec<Place>,
        /// `None`: nothing protects it.
        tls: Option<ClientTls>,
        resolver: Resolver,
    },
    #[cfg(unix)]
    Unix { path: PathBuf },
}

/// One `host:port`.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// As it was given.
    pub(super) written: String,
    host: Host,
    port: u16,
    /// What the certificate of the service must prove there; `None` without TLS.
    pub(super) name: Option<ServerName<'static>>,
}

#[derive(Debug, Clone)]
enum Host {
    Address(SocketAddr),
    Name(String),
    /// An IPv6 address with the name of a network interface: only the system knows its number.
    Scoped(String),
}

/// What is connected to.
pub(super) enum Address {
    /// `host:port`, or several with commas between them.
    Tcp(String),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// What protects the way there.
pub(super) enum Security {
    Unsaid,
    Plain,
    Tls(ClientTls),
}

impl Target {
    /// Without a server name each host is one itself.
    pub(super) fn new(
        address: Address,
        security: Security,
        server_name: Option<&str>,
        resolver: Resolver,
    ) -> Result<Self, BadSettings> {
        match (address, security) {
            #[cfg(unix)]
            (Address::Unix(path), _) => Ok(Self::Unix { path }),
            (Address::Tcp(address), Security::Tls(tls)) => Self::tcp(&address, Some(tls), server_name, resolver),
            (Address::Tcp(address), Security::Plain) => Self::tcp(&address, None, None, resolver),
            (Address::Tcp(address), Security::Unsaid) => {
                Self::tcp(&address, None, None, resolver).and(Err(BadSettings::NoTls))
            }
        }
    }

    fn tcp(
        written: &str,
        tls: Option<ClientTls>,
        server_name: Option<&str>,
        resolver: Resolver,
    ) -> Result<Self, BadSettings> {
        let server_name = server_name.map(self::server_name).transpose()?;
        let places = written
            .split(',')
            .map(|part| Place::parse(part.trim(), tls.is_some(), server_name.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if places.len() > MAX_PLACES {
            return Err(BadSettings::TooManyAddresses(places.len()));
        }
        Ok(Self::Tcp {
            written: written.to_owned(),
            places,
            tls,
            resolver,
        })
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Tcp { written, .. } => written.clone(),
            #[cfg(unix)]
            Self::Unix { path } => path.display().to_string(),
        }
    }
}

impl Place {
    fn parse(text: &str, has_tls: bool, server_name: Option<&ServerName<'static>>) -> Result<Self, BadSettings> {
        let bad = || BadSettings::Address(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(bad)?,
            None => host,
        };
        // The interface behind the % is a matter of this machine: no certificate says it (RFC 6874, 1).
        let (bare, scope) = match host.split_once('%') {
            Some((bare, scope)) => (bare, Some(scope)),
            None => (host, None),
        };
        if bare.is_empty() {
            return Err(bad());
        }
        let host = match scope {
            None => bare.parse().map_or_else(
                |_| Host::Name(bare.to_owned()),
                |ip: IpAddr| Host::Address(SocketAddr::new(ip, port)),
            ),
            Some(scope) => {
                let ip: Ipv6Addr = bare.parse().map_err(|_| bad())?;
                match scope.parse() {
                    Ok(number) => Host::Address(SocketAddrV6::new(ip, port, 0, number).into()),
                    Err(_) if scope.is_empty() => return Err(bad()),
                    Err(_) => Host::Scoped(host.to_owned()),
                }
            }
        };
        let name = match (has_tls, server_name) {
            (false, _) => None,
            (true, Some(name)) => Some(name.clone()),
            (true, None) => Some(self::server_name(bare)?),
        };
        Ok(Self {
            written: text.to_owned(),
            host,
            port,
            name,
        })
    }

    /// The addresses of it, now.
    pub(super) fn look_up(&self, resolver: &Resolver) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        let port = self.port;
        match &self.host {
            Host::Address(address) => Box::pin(core::future::ready(Ok(vec![*address]))),
            Host::Name(name) => resolver.look_up(name, port),
            Host::Scoped(host) => {
                let looked_up = Resolver::default().look_up(host, port);
                let scope = host.rsplit('%').next().unwrap_or_default().to_owned();
                Box::pin(async move {
                    looked_up.await.map_err(|error| {
                        let text = format!(
                            "{error}; does this machine have a network interface `{scope}`? Its number can stand there, too, such as %2"
                        );
                        io::Error::new(error.kind(), text)
                    })
                })
            }
        }
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, BadSettings> {
    ServerName::try_from(name.to_owned()).map_err(|_| BadSettings::ServerName(name.to_owned()))
}

type LookUp = dyn Fn(String, u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Who says which addresses a name has: the system, unless the program does.
#[derive(Clone, Default)]
pub(super) struct Resolver(Option<Arc<LookUp>>);

impl Resolver {
    pub(super) fn new<F, R>(look_up: F) -> Self
    where
        F: Fn(String, u16) -> R + Send + Sync + 'static,
        R: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Some(Arc::new(move |host, port| Box::pin(look_up(host, port)))))
    }

    fn look_up(&self, host: &str, port: u16) -> BoxFuture<io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        match self.0.clone() {
            // Called when it is awaited, which is in a task of its own: it may panic.
            Some(look_up) => Box::pin(async move { look_up(host, port).await }),
            None => Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<Place, BadSettings> {
        Place::parse(text, true, None)
    }

    #[test]
    fn an_address_is_host_and_port() {
        let name = |text| place(text).unwrap().name.unwrap().to_str().into_owned();
        assert_eq!(name("localhost:9145"), "localhost");
        assert_eq!(name("[::1]:9145"), "::1");
        assert_eq!(name("::1:9145"), "::1", "as the standard library reads it");
        assert_eq!(
            name("[fe80::1%eth0]:9145"),
            "fe80::1",
            "no certificate says an interface"
        );
        assert_eq!(name("[fe80::1%2]:9145"), "fe80::1");
        for bad in [
            "",
            "localhost",
            ":9145",
            "localhost:",
            "localhost:http",
            "localhost:99999",
            "[::1:9145",
            "[]:9145",
            "[fe80::1%]:9145",
            "host%eth0:9145",
            "%2:9145",
        ] {
            assert!(matches!(place(bad), Err(BadSettings::Address(_))), "{bad}");
        }
        assert!(matches!(place("bad name:1"), Err(BadSettings::ServerName(_))));
        let given = server_name("fleet.example").unwrap();
        let other = Place::parse("[fe80::1%2]:9145", true, Some(&given)).unwrap();
        assert_eq!(other.name, Some(given));
    }

    #[test]
    fn a_number_behind_the_percent_is_the_scope() {
        let Host::Address(SocketAddr::V6(address)) = place("[fe80::1%7]:9145").unwrap().host else {
            panic!("an IPv6 address");
        };
        assert_eq!((address.scope_id(), address.port()), (7, 9145));
        assert!(matches!(place("[fe80::1%eth0]:9145").unwrap().host, Host::Scoped(_)));
    }

    #[test]
    fn a_list_has_a_bound_and_no_gaps() {
        let target = |text: &str| Target::tcp(text, None, None, Resolver::default());
        assert!(matches!(target("a:1, b:2"), Ok(Target::Tcp { places, .. }) if places.len() == 2));
        for bad in ["", "a:1,", ",a:1", "a:1,,b:2", "a:1 b:2:x"] {
            assert!(matches!(target(bad), Err(BadSettings::Address(_))), "{bad}");
        }
        let many = vec!["a:1"; MAX_PLACES + 1].join(",");
        assert!(matches!(target(&many), Err(BadSettings::TooManyAddresses(17))));
    }
}
