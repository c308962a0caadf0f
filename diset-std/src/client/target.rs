//! Where a client connects to, and how it gets a socket and a channel there.

use std::io;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::state::{BadSettings, Ended};
use crate::channel::{self, Channel};
use crate::socket::Socket;
use crate::tls::ClientTls;

/// An address and what protects the way there.
pub(super) enum Target {
    Tls {
        address: String,
        name: ServerName<'static>,
        tls: ClientTls,
    },
    PlainTcp {
        address: String,
    },
    #[cfg(unix)]
    Unix {
        path: PathBuf,
    },
}

impl Target {
    /// The host of `host:port`, without the brackets of an IPv6 address.
    pub(super) fn host(address: &str) -> Result<&str, BadSettings> {
        let parts = address
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        let (host, _) = parts.ok_or_else(|| BadSettings::Address(address.to_owned()))?;
        Ok(host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host))
    }

    pub(super) fn server_name(name: &str) -> Result<ServerName<'static>, BadSettings> {
        ServerName::try_from(name.to_owned()).map_err(|_| BadSettings::ServerName(name.to_owned()))
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Tls { address, .. } | Self::PlainTcp { address } => address.clone(),
            #[cfg(unix)]
            Self::Unix { path } => path.display().to_string(),
        }
    }

    /// Connects the transport; TLS begins when the channel is first used.
    pub(super) async fn dial(&self) -> Result<(Socket, Box<dyn Channel>), Ended> {
        let unreachable = |source: io::Error| Ended::Unreachable {
            address: self.name(),
            source: Arc::new(source),
        };
        let socket = match self {
            Self::Tls { address, .. } | Self::PlainTcp { address } => {
                TcpStream::connect(address.as_str()).await.and_then(Socket::tcp)
            }
            #[cfg(unix)]
            Self::Unix { path } => UnixStream::connect(path).await.map(Socket::Unix),
        }
        .map_err(unreachable)?;
        let channel = match self {
            Self::Tls { address, name, tls } => channel::client(tls, name.clone()).map_err(|error| Ended::Tls {
                address: address.clone(),
                reason: error.to_string(),
            })?,
            _ => channel::plain(socket.credentials().map_err(unreachable)?),
        };
        Ok((socket, channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port() {
        assert_eq!(Target::host("localhost:9145").unwrap(), "localhost");
        assert_eq!(Target::host("[::1]:9145").unwrap(), "::1");
        for bad in ["localhost", ":9145", "localhost:", "localhost:http", "localhost:99999"] {
            assert!(Target::host(bad).is_err(), "{bad}");
        }
        assert!(Target::server_name("bad name").is_err());
    }
}
