//! Sockets become TLS channels, and what has become of those is noted.

use core::cell::RefCell;
use std::rc::Rc;

use diset_embedded::tls::{SecretKey, Tls as Opening, TlsBuffers, TlsChannel, TlsConfig, TlsError, VerifyServer};
use diset_embedded::{ConnectError, Instant};
use rand_core::OsRng;

use super::Made;
use super::careless::Perhaps;
use super::tap::{Counts, Tap, Tapped};
use crate::agents::{AwaitedClient, Lines, PolledClient, Stream, Tcp};

/// A connection that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// What had passed when the handshake was over, and in all.
    pub(crate) handshake: Counts,
    pub(crate) all: Counts,
    pub(crate) fault: Option<TlsError>,
}

impl End {
    /// The records under the keys that wear out: those that went, and those that came.
    pub(crate) fn records(&self) -> (u32, u32) {
        (
            self.all.went.records - self.handshake.went.records,
            self.all.came.records - self.handshake.came.records,
        )
    }
}

/// Those that are over, the last one last.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ends(Rc<RefCell<Vec<End>>>);

impl Ends {
    pub(crate) fn all(&self) -> Vec<End> {
        self.0.borrow().clone()
    }

    pub(crate) fn last(&self) -> End {
        *self.0.borrow().last().expect("one is over")
    }
}

pub(crate) struct Tls<'b> {
    records: &'b TlsBuffers,
    server: &'b dyn VerifyServer,
    certificate: &'b [u8],
    key: SecretKey,
    random: OsRng,
    max_records: u32,
    says_worn: bool,
    tap: Tap,
    handshake: Counts,
    ends: Ends,
}

impl<'b> Tls<'b> {
    pub(crate) fn new(made: &Made<'b>, records: &'b TlsBuffers, ends: &Ends) -> Self {
        Self {
            records,
            server: made.server,
            certificate: &made.device.certificate,
            key: SecretKey::from_bytes(&made.device.scalar()).expect("a key"),
            random: OsRng,
            max_records: made.max_records,
            says_worn: made.says_worn,
            tap: Tap::default(),
            handshake: Counts::default(),
            ends: ends.clone(),
        }
    }

    fn opening<T>(&mut self, stream: T, end: fn(&mut Tapped<T>)) -> Perhaps<Opening<'b, '_, Tapped<T>>> {
        self.tap = Tap::default();
        let tap = Rc::clone(&self.tap);
        let config = TlsConfig {
            server: self.server,
            certificate: self.certificate,
            key: &mut self.key,
            random: &mut self.random,
            max_records: self.max_records,
        };
        let opening = Opening::new(Tapped { stream, tap }, config, self.records);
        Perhaps {
            within: opening.expect("they fit").ending_with(end),
            says_worn: self.says_worn,
        }
    }

    fn over(&mut self, fault: Option<TlsError>) {
        let end = End {
            handshake: self.handshake,
            all: *self.tap.borrow(),
            fault,
        };
        self.ends.0.borrow_mut().push(end);
    }
}

impl<'b> Lines<'b> for Tls<'b> {
    type Polled = Perhaps<TlsChannel<'b, Tapped<Tcp>>>;
    type Awaited = Perhaps<TlsChannel<'b, Tapped<Stream>>>;
    type Error = TlsError;

    fn polled(
        &mut self,
        client: &mut PolledClient<'b, Self::Polled>,
        tcp: Tcp,
        now: Instant,
    ) -> Result<(), ConnectError<TlsError>> {
        let opening = self.opening(tcp, |tapped| tapped.stream.shut_down());
        client.connect(opening, now)?;
        self.handshake = *self.tap.borrow();
        Ok(())
    }

    async fn awaited(
        &mut self,
        client: &mut AwaitedClient<'b, Self::Awaited>,
        stream: Stream,
    ) -> Result<(), ConnectError<TlsError>> {
        let opening = self.opening(stream, |tapped| tapped.stream.shut_down());
        client.connect(opening).await?;
        self.handshake = *self.tap.borrow();
        Ok(())
    }

    /// What the client did not read counts, too.
    fn polled_over(&mut self, channel: Self::Polled) {
        let fault = channel.within.fault();
        let mut stream = channel.within.into_inner();
        while let Ok(1..) = embedded_io::Read::read(&mut stream, &mut [0; 512]) {}
        self.over(fault);
    }

    async fn awaited_over(&mut self, channel: Self::Awaited) {
        let fault = channel.within.fault();
        let mut stream = channel.within.into_inner();
        while let Ok(1..) = embedded_io_async::Read::read(&mut stream, &mut [0; 512]).await {}
        self.over(fault);
    }
}
