//! The async client, over tokio.

use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;

use diset_embedded::{Client, Clock, Config, ConnectError, Instant, Resumption, Retry, SendError};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::{Agent, AwaitedClient, Demo, Lines, Memory, Ping, Seen, Store, see};

pub(crate) struct Stream(TcpStream);

impl Stream {
    /// A socket does not wait with that.
    pub(crate) fn shut_down(&mut self) {
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

impl embedded_io::ErrorType for Stream {
    type Error = std::io::Error;
}

impl embedded_io_async::Read for Stream {
    async fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).await
    }
}

impl embedded_io_async::Write for Stream {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).await
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().await
    }
}

/// The time since this one began.
pub(crate) struct Tokio(tokio::time::Instant);

impl Tokio {
    fn time(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.0.elapsed().as_millis()).expect("in time"))
    }
}

impl Clock for Tokio {
    fn now(&self) -> Instant {
        self.time()
    }

    async fn sleep_until(&mut self, time: Instant) {
        tokio::time::sleep_until(self.0 + Duration::from_millis(time.as_millis())).await;
    }
}

pub(crate) struct Awaited<'b, L: Lines<'b>> {
    client: AwaitedClient<'b, L::Awaited>,
    lines: L,
    runtime: &'b Runtime,
    clock: Tokio,
}

impl<'b, L: Lines<'b>> Awaited<'b, L> {
    pub(crate) fn new(
        config: Config<'b>,
        buffers: &'b mut Memory,
        outbox: &'b mut Store,
        lines: L,
        runtime: &'b Runtime,
    ) -> Self {
        let begun = tokio::time::Instant::now();
        let client = Client::new(Demo, config, Tokio(begun), buffers).expect("settings");
        Self {
            client: client.with_outbox(outbox).expect("settings"),
            lines,
            runtime,
            clock: Tokio(begun),
        }
    }
}

impl<'b, L: Lines<'b>> Agent<L::Error> for Awaited<'b, L> {
    fn dial(&mut self, address: SocketAddr) -> Result<(), ConnectError<L::Error>> {
        let Self { client, lines, .. } = self;
        self.runtime.block_on(async {
            assert!(matches!(client.wait_for_retry().await, Retry::At(_)));
            let stream = TcpStream::connect(address).await.expect("it listens");
            stream.set_nodelay(true).expect("an option");
            lines.awaited(client, Stream(stream)).await
        })
    }

    fn ping(&mut self, id: i64) -> Result<(), SendError> {
        self.client.send(&Ping { id })?;
        self.runtime.block_on(self.client.flush());
        Ok(())
    }

    fn acked(&mut self, id: i64) -> Result<u64, SendError> {
        self.client.send_acked(&Ping { id })
    }

    fn disconnect(&mut self, reason: &str) {
        self.client.disconnect(reason);
    }

    fn retry(&self) -> Retry {
        self.client.retry()
    }

    fn resumption(&self) -> Option<Resumption> {
        self.client.resumption()
    }

    fn now(&self) -> Instant {
        self.clock.time()
    }

    fn event(&mut self, within: Duration) -> Seen {
        let Self { client, lines, .. } = self;
        self.runtime.block_on(async {
            let Ok(event) = tokio::time::timeout(within, client.next()).await else {
                return Seen::Nothing;
            };
            let seen = see(event.expect("connected"));
            if let (Seen::Dropped(_), Some(channel)) = (&seen, client.take_channel()) {
                lines.awaited_over(channel).await;
            }
            seen
        })
    }
}
