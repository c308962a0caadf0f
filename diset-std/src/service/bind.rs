//! The sockets a service listens on: one for each address of a name, or one Unix socket. What is done with who comes is in
//! [`listener`](super::listener).

use core::fmt;
use core::future::poll_fn;
use core::net::{Ipv6Addr, SocketAddr};
use core::task::Poll;
use std::io;
#[cfg(unix)]
use std::path::Path;

#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};

use super::listener::BindError;
#[cfg(unix)]
use super::socket_file::{self, SocketFile};
use crate::socket::Socket;

/// How often another free port is asked for that all addresses have.
const PORTS: usize = 16;

/// What is listened on.
pub(super) enum Listener {
    Tcp {
        /// At least one.
        sockets: Vec<TcpListener>,
        /// Whose turn it is, so that none of them starves.
        turn: usize,
    },
    #[cfg(unix)]
    Unix {
        /// Goes before the socket does: meanwhile nobody takes it for one that was left behind.
        _file: SocketFile,
        listener: UnixListener,
    },
}

impl Listener {
    pub(super) async fn tcp(address: impl ToSocketAddrs + fmt::Debug) -> Result<Self, BindError> {
        let asked = format!("{address:?}");
        let addresses: Vec<_> = match lookup_host(address).await {
            Ok(addresses) => addresses.collect(),
            Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
                let address = asked;
                return Err(BindError::NotAnAddress { address, source });
            }
            Err(source) => return Err(BindError::Address { address: asked, source }),
        };
        if addresses.is_empty() {
            let source = io::Error::other("there is no address");
            return Err(BindError::Address { address: asked, source });
        }
        let sockets = bind_all(&addresses).await?;
        Ok(Self::Tcp { sockets, turn: 0 })
    }

    /// Sockets that listen already.
    pub(super) fn given(sockets: impl IntoIterator<Item = std::net::TcpListener>) -> Result<Self, BindError> {
        let taken = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        let taken: io::Result<Vec<_>> = taken.collect();
        let address = || String::from("the sockets given");
        match taken {
            Ok(sockets) if !sockets.is_empty() => Ok(Self::Tcp { sockets, turn: 0 }),
            Ok(_) => Err(BindError::Address {
                address: address(),
                source: io::Error::other("there is none"),
            }),
            Err(source) => Err(BindError::Address {
                address: address(),
                source,
            }),
        }
    }

    #[cfg(unix)]
    pub(super) async fn unix(path: &Path) -> Result<Self, BindError> {
        let bound = socket_file::bind(path).await;
        bound
            .map(|(listener, _file)| Self::Unix { _file, listener })
            .map_err(|source| BindError::Path {
                path: path.display().to_string(),
                source,
            })
    }

    /// The next who comes. Cancel safe.
    pub(super) async fn accept(&mut self) -> io::Result<Socket> {
        match self {
            Self::Tcp { sockets, turn } => {
                let accepted = poll_fn(|cx| {
                    let (before, from) = sockets.split_at(*turn % sockets.len().max(1));
                    for (step, socket) in from.iter().chain(before).enumerate() {
                        if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                            *turn = (*turn + step + 1) % sockets.len();
                            return Poll::Ready(accepted);
                        }
                    }
                    Poll::Pending
                });
                Socket::tcp(accepted.await?.0)
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }

    /// The addresses it listens on; none for a Unix socket.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let sockets = match self {
            Self::Tcp { sockets, .. } => sockets.as_slice(),
            #[cfg(unix)]
            Self::Unix { .. } => &[],
        };
        sockets.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// A socket for each address. Where port 0 was asked for, all get the same free port.
async fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let mut refused = Vec::new();
    for _ in 0..PORTS {
        match bind_each(addresses, &mut refused).await? {
            Some(sockets) => return Ok(sockets),
            None => refused.clear(),
        }
    }
    Err(BindError::Address {
        address: names(addresses),
        source: io::Error::new(io::ErrorKind::AddrInUse, "no port is free on all of them"),
    })
}

/// As above; `None` when the port that was free on the first is not on another one.
async fn bind_each(
    addresses: &[SocketAddr],
    refused: &mut Vec<SocketAddr>,
) -> Result<Option<Vec<TcpListener>>, BindError> {
    let failed = |address: SocketAddr, source| BindError::Address {
        address: address.to_string(),
        source,
    };
    let is_any = |address: &SocketAddr| address.ip() == Ipv6Addr::UNSPECIFIED;
    let mut known: Vec<SocketAddr> = Vec::new();
    let mut sockets = Vec::new();
    let mut free_port = None;
    let mut last = None;
    // A socket on [::] usually takes IPv4, too, and can only be had before there is one on IPv4.
    let (first, rest): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_any);
    for asked in first.into_iter().chain(rest) {
        let mut address = asked;
        if let (0, Some(port)) = (asked.port(), free_port) {
            address.set_port(port);
        }
        if known.contains(&address) {
            continue;
        }
        match TcpListener::bind(address).await {
            Ok(socket) => {
                let local = socket.local_addr().map_err(|source| failed(address, source))?;
                if asked.port() == 0 {
                    free_port = Some(local.port());
                }
                known.extend([address, local]);
                sockets.push(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let covers = |other: &SocketAddr| is_any(other) && other.port() == address.port();
                if address.is_ipv4() && known.iter().any(covers) {
                    continue;
                }
                if asked.port() == 0 && free_port.is_some() {
                    return Ok(None);
                }
                return Err(failed(address, error));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(failed(address, error)),
            // As where a name has an address of a family that this machine does not have.
            Err(error) => {
                refused.push(address);
                last = Some(error);
            }
        }
    }
    match (sockets.is_empty(), last) {
        (true, Some(source)) => Err(BindError::Address {
            address: names(refused),
            source,
        }),
        (_, None) => Ok(Some(sockets)),
        (false, Some(error)) => {
            let addresses = names(refused);
            tracing::warn!(addresses, %error, "does not listen on what this machine does not have");
            Ok(Some(sockets))
        }
    }
}

/// For people.
fn names(addresses: &[SocketAddr]) -> String {
    let names: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    names.join(" or ")
}
