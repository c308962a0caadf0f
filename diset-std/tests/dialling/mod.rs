//! Where clients connect and services listen: names with several addresses of which some are dead, mute or somebody
//! else's, lists, scoped addresses; several sockets of one service, and the files of Unix sockets.

mod addresses;
mod listening;
mod lists;
#[cfg(unix)]
mod socket_files;
mod strangers;

use core::net::SocketAddr;
use core::time::Duration;

use diset_std::ClientBuilder;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::common::*;

type Failed = Box<dyn core::error::Error>;

/// A client whose one name has these addresses.
fn client_at(world: &World, addresses: &[SocketAddr]) -> Result<ClientBuilder<PingPong>, Failed> {
    Ok(plain_client_at(addresses).tls(world.tls("alice")?))
}

/// The same, without a word about TLS.
fn plain_client_at(addresses: &[SocketAddr]) -> ClientBuilder<PingPong> {
    let addresses = addresses.to_vec();
    diset_std::Client::builder(PingPong, "localhost:1")
        .reconnect(QUICK)
        .resolver(move |_, _| core::future::ready(Ok(addresses.clone())))
}

fn address_of(running: &Running<PingPong>) -> SocketAddr {
    ([127, 0, 0, 1], running.port()).into()
}

/// An address at which nobody listens.
async fn refusing() -> Result<SocketAddr, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}

/// An address that answers nothing, as behind a firewall: the queue of its socket is full.
struct BlackHole {
    address: SocketAddr,
    _socket: TcpListener,
    _queue: Vec<TcpStream>,
}

impl BlackHole {
    async fn new() -> Result<Self, Failed> {
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.1:0".parse()?)?;
        let socket = socket.listen(1)?;
        let address = socket.local_addr()?;
        let mut queue = Vec::new();
        // It is full when one more does not get in.
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            queue.push(stream?);
            assert!(queue.len() < 64, "its queue has no end");
        }
        Ok(Self {
            address,
            _socket: socket,
            _queue: queue,
        })
    }
}

/// An address that takes connections and never says anything.
struct Mute {
    address: SocketAddr,
    visits: Count,
    task: JoinHandle<()>,
}

impl Mute {
    async fn new() -> Result<Self, Failed> {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let (address, visits) = (socket.local_addr()?, Count::default());
        let count = visits.clone();
        let task = tokio::spawn(async move {
            let mut guests = Vec::new();
            while let Ok((guest, _)) = socket.accept().await {
                count.add();
                guests.push(guest);
            }
        });
        Ok(Self { address, visits, task })
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.task.abort();
    }
}
