//! The proxy: what it does to each connection, and what it counts.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How it ends a connection, or only holds it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Both sides get a reset.
    Reset,
    /// Both sides get an end that looks orderly.
    Close,
    /// One direction ends; the other goes on.
    HalfClose,
    /// Nothing passes in one direction any more, and nobody is told.
    Stall,
    /// Nothing passes in one direction for a while.
    Delay(Duration),
}

/// By name, in the order in which they are counted.
pub(crate) const FAULTS: [&str; 5] = ["reset", "close", "half-close", "stall", "delay"];

impl Fault {
    const fn index(self) -> usize {
        match self {
            Self::Reset => 0,
            Self::Close => 1,
            Self::HalfClose => 2,
            Self::Stall => 3,
            Self::Delay(_) => 4,
        }
    }
}

/// A generator of numbers that depend on nothing but the seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What is to happen to one direction of a connection, and behind how many more bytes.
fn draw(dice: &mut Dice) -> (Fault, u64) {
    let fault = match dice.below(10) {
        0..=2 => Fault::Reset,
        3 | 4 => Fault::Close,
        5 | 6 => Fault::HalfClose,
        7 => Fault::Stall,
        _ => Fault::Delay(Duration::from_millis(1 + dice.below(40))),
    };
    // Some within the handshake, most within the messages.
    let within = if dice.below(5) == 0 { 4_000 } else { 40_000 };
    (fault, dice.below(within))
}

/// What all connections through the proxy share.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Faults happen.
    pub(crate) is_rough: AtomicBool,
    faults: [AtomicUsize; FAULTS.len()],
    /// Bytes to the service, and to the client.
    passed: [AtomicU64; 2],
    connections: AtomicU64,
    changed: Notify,
}

impl Traffic {
    pub(crate) fn faults(&self) -> [usize; FAULTS.len()] {
        core::array::from_fn(|index| self.faults.get(index).map_or(0, |count| count.load(SeqCst)))
    }

    /// Both directions together.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.iter().map(|count| count.load(SeqCst)).sum()
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(SeqCst)
    }

    /// Waits until there were so many faults.
    pub(crate) async fn faulted(&self, count: usize) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.faults().iter().sum::<usize>() >= count {
                return;
            }
            changed.await;
        }
    }

    fn count(&self, fault: Fault) {
        self.faults[fault.index()].fetch_add(1, SeqCst);
        self.changed.notify_waiters();
    }
}

/// Listens, and passes on to the port; the address for clients.
pub(crate) async fn proxy(port: u16, seed: u64, traffic: Arc<Traffic>) -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("localhost:{}", listener.local_addr()?.port());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let number = traffic.connections.fetch_add(1, SeqCst);
            let dice = Dice(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let traffic = Arc::clone(&traffic);
            tokio::spawn(async move {
                // The service may be gone: so is the client, then.
                let _ = pass(client, port, dice, &traffic).await;
            });
        }
    });
    Ok(address)
}

/// One connection through the proxy.
async fn pass(client: TcpStream, port: u16, mut dice: Dice, traffic: &Traffic) -> io::Result<()> {
    let service = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    service.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_service, mut to_service) = service.into_split();
    let (up_dice, down_dice) = (Dice(dice.below(u64::MAX)), Dice(dice.below(u64::MAX)));
    let last = {
        let up = pump(&mut from_client, &mut to_service, up_dice, traffic, 0);
        let down = pump(&mut from_service, &mut to_client, down_dice, traffic, 1);
        tokio::pin!(up, down);
        let (first, is_up) = tokio::select! {
            first = &mut up => (first?, true),
            first = &mut down => (first?, false),
        };
        match first {
            // The other direction goes on until it ends, too.
            None | Some(Fault::HalfClose | Fault::Stall) => {
                if is_up {
                    down.await?
                } else {
                    up.await?
                }
            }
            Some(_) => first,
        }
    };
    if last == Some(Fault::Reset) {
        from_client.as_ref().set_zero_linger()?;
        from_service.as_ref().set_zero_linger()?;
    }
    Ok(())
}

/// Passes bytes on in one direction, until it ends in order or by a fault.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut dice: Dice,
    traffic: &Traffic,
    direction: usize,
) -> io::Result<Option<Fault>> {
    let mut buffer = [0; 8192];
    let (mut fault, mut left) = draw(&mut dice);
    loop {
        let is_rough = traffic.is_rough.load(SeqCst);
        if left == 0 && is_rough {
            traffic.count(fault);
            match fault {
                Fault::Delay(span) => tokio::time::sleep(span).await,
                Fault::HalfClose => {
                    to.shutdown().await?;
                    return Ok(Some(fault));
                }
                Fault::Reset | Fault::Close | Fault::Stall => return Ok(Some(fault)),
            }
            (fault, left) = draw(&mut dice);
            continue;
        }
        let most = if is_rough {
            left.min(buffer.len() as u64)
        } else {
            buffer.len() as u64
        };
        let count = from.read(&mut buffer[..most as usize]).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(None);
        }
        left = left.saturating_sub(count as u64);
        traffic.passed[direction].fetch_add(count as u64, SeqCst);
        to.write_all(&buffer[..count]).await?;
    }
}
