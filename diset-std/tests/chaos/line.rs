//! The line between client and service: a proxy that is told what to do to it.

use core::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

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

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    Reset,
    Close,
    /// A reset for the client; the service's side stays open and silent.
    HalfOpen,
}

/// The line, as those who harm it have it.
pub(crate) struct Line {
    pub(crate) address: String,
    port: Arc<AtomicU16>,
    harm: watch::Sender<(u64, Harm)>,
    /// Whether anything passes to the client.
    passes: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Line {
    pub(crate) async fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("localhost:{}", listener.local_addr()?.port());
        let port = Arc::new(AtomicU16::new(0));
        let (harm, _) = watch::channel((0, Harm::Close));
        let (passes, _) = watch::channel(true);
        let (to, harms, passing) = (Arc::clone(&port), harm.clone(), passes.clone());
        let task = tokio::spawn(async move {
            // Keeps what is half open until the end.
            let (keep, mut kept) = mpsc::unbounded_channel();
            while let Ok((client, _)) = listener.accept().await {
                let (port, harm, passes) = (to.load(SeqCst), harms.subscribe(), passing.subscribe());
                let keep = keep.clone();
                tokio::spawn(async move {
                    // The service may be gone: so is the client, then.
                    if let Ok(Some(half)) = pass(client, port, harm, passes).await {
                        keep.send(half).ok();
                    }
                });
                // The oldest of many may go.
                if kept.len() > 8 {
                    kept.try_recv().ok();
                }
            }
        });
        Ok(Self {
            address,
            port,
            harm,
            passes,
            task,
        })
    }

    /// Where new connections lead to.
    pub(crate) fn leads_to(&self, port: u16) {
        self.port.store(port, SeqCst);
    }

    /// Does this to all connections.
    pub(crate) fn harm(&self, harm: Harm) {
        self.harm.send_modify(|(count, last)| {
            *count += 1;
            *last = harm;
        });
    }

    pub(crate) fn stall(&self, stalls: bool) {
        self.passes.send_replace(!stalls);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection; gives the service's half when that is to stay open.
async fn pass(
    client: TcpStream,
    port: u16,
    mut harm: watch::Receiver<(u64, Harm)>,
    passes: watch::Receiver<bool>,
) -> io::Result<Option<TcpStream>> {
    let mut client = client;
    let mut service = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    service.set_nodelay(true)?;
    let done = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_service, mut to_service) = service.split();
        let both = async {
            tokio::try_join!(
                pump(&mut from_client, &mut to_service, None),
                pump(&mut from_service, &mut to_client, Some(passes))
            )
        };
        tokio::select! {
            passed = both => { passed?; None }
            changed = harm.changed() => { changed.ok(); Some(harm.borrow().1) }
        }
    };
    match done {
        Some(Harm::HalfOpen) => {
            client.set_zero_linger()?;
            return Ok(Some(service));
        }
        Some(Harm::Reset) => {
            client.set_zero_linger()?;
            service.set_zero_linger()?;
        }
        _ => {}
    }
    Ok(None)
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut passes: Option<watch::Receiver<bool>>,
) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = from.read(&mut buffer).await?;
        if let Some(passes) = &mut passes {
            // The other end of it goes with the line.
            let _ = passes.wait_for(|passes| *passes).await;
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
