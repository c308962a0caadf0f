//! The driver against an engine of the other side that is worked by hand, over a Unix
//! socket pair: what it does when nothing can go on.

use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Waker;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream as Peer;

use diset_proto::limits::LINGER_BYTES;
use diset_proto::{Admission, ClientConfig, Event, Identity, MessageOf as _};
use diset_proto::{
    Code, Connection, Deframer, FromClient, GrowBuf, Notice, Schema, SendError, ServiceDef, define_service,
};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::{SetOnce, mpsc};

use super::*;
use crate::buffers::Pooled;
use crate::channel::{self, OutBuf, Received};
use crate::handler::{Failure, Owned};
use crate::link::{SlowPolicy, Typed};
use crate::tls::Credentials;

#[derive(Serialize, Deserialize, Schema)]
struct Word {
    text: String,
}

define_service! { Words = "Test/Words"; both: [Word] }

const LIMIT: Duration = Duration::from_secs(10);

impl Told for () {
    fn told(&self, _: crate::session::Received) {}
}

/// A client whose only handler waits for a permit when the word is `wait`.
struct TestApp {
    handlers: Arc<Handlers<()>>,
    open: bool,
    dropped: mpsc::UnboundedSender<Dropped>,
}

impl App for TestApp {
    type Peer = ();

    fn handlers(&self) -> Arc<Handlers<()>> {
        Arc::clone(&self.handlers)
    }

    fn established(&mut self, _: Established) {}

    fn admission(&mut self, _: &Proposal<'_>) -> BoxFuture<Result<MessageSet, Refusal>> {
        Box::pin(core::future::pending())
    }

    fn accept(&mut self, _: Instant, _: MessageSet, _: &mut Rx<Std>, _: &mut Tx<Std>) {}

    fn opened(&mut self, _: Trid) -> Option<BoxFuture<HandlerResult>> {
        self.open = true;
        None
    }

    fn cell(&self) -> Option<&Arc<SessionCell>> {
        None
    }

    fn outcome(&self, _: u64, _: Outcome) {}

    fn peer(&self) -> Option<&()> {
        self.open.then_some(&())
    }

    fn dropped(&mut self, dropped: &Dropped, _: Option<&str>) -> Option<BoxFuture<()>> {
        self.dropped.send(dropped.clone()).ok();
        // One that hangs, when the service wants it.
        let hangs = matches!(dropped.cause(), Cause::PeerError(notice) if notice.text() == "hang");
        hangs.then(|| Box::pin(core::future::pending()) as BoxFuture<()>)
    }
}

struct Rig {
    /// The other end of the socket, not read by anybody.
    peer: Peer,
    service: Connection<GrowBuf>,
    rx: Deframer<GrowBuf>,
    link: Arc<Link>,
    dropped: mpsc::UnboundedReceiver<Dropped>,
    /// Lets the handler of `wait` go on.
    gate: Arc<SetOnce<()>>,
    polls: Arc<AtomicUsize>,
}

/// A driver of a client, and everything around it.
fn rig(channel: impl FnOnce() -> Box<dyn Channel>) -> (Rig, impl Future<Output = Ending>) {
    rig_with(|_| channel())
}

fn rig_with(security: impl FnOnce(&Peer) -> Box<dyn Channel>) -> (Rig, impl Future<Output = Ending>) {
    let (ours, peer) = Peer::pair().expect("a pair");
    ours.set_nonblocking(true).expect("not blocking");
    peer.set_nonblocking(true).expect("not blocking");
    let socket = Socket::Unix(UnixStream::from_std(ours).expect("registered"));
    let config = ClientConfig {
        catalog: Words::CATALOG,
        identity: Identity::from_bytes([0; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    let engine = Connection::client(clock::now(), &config, Pooled::output(128 * 1024)).expect("a client");
    let link = Link::new(Some(engine.with_sessions(None)), SlowPolicy::Fail);
    let gate = Arc::new(SetOnce::new());
    let (sender, dropped) = mpsc::unbounded_channel();
    let mut handlers = Handlers::new(1);
    let waits = Arc::clone(&gate);
    let handler = move |(), word: Word| {
        let gate = Arc::clone(&waits);
        async move {
            if word.text == "wait" {
                gate.wait().await;
            }
            Ok::<(), Failure>(())
        }
    };
    handlers.set(Word::NUMBER, Owned(handler, core::marker::PhantomData));
    let app = TestApp {
        handlers: Arc::new(handlers),
        open: false,
        dropped: sender,
    };
    let mut driver = Driver::new(socket, security(&peer), Arc::clone(&link), &Limits::SERVER, app);
    let polls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&polls);
    let counted = poll_fn(move |cx| {
        counter.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut driver).poll(cx)
    });
    let service = Connection::service(clock::now(), Words::CATALOG, Limits::SERVER, GrowBuf::new(1 << 20));
    let rig = Rig {
        peer,
        service: service.expect("a service"),
        rx: Deframer::new(GrowBuf::new(70_000)),
        link,
        dropped,
        gate,
        polls,
    };
    (rig, counted)
}

fn plain() -> Box<dyn Channel> {
    channel::plain(Credentials::None)
}

impl Rig {
    /// Gives the service what the driver has written, if anything; admits.
    fn read(&mut self) {
        let mut bytes = [0; 65_536];
        let count = self.peer.read(&mut bytes).unwrap_or(0);
        let mut input = &bytes[..count];
        while let Some(frame) = self.rx.next(&mut input, self.service.max_frame()) {
            if let Some(Event::Proposed(_)) = self.service.handle_frame(clock::now(), frame) {
                self.service
                    .accept(clock::now(), Admission::new(Trid::new(1)))
                    .expect("a proposal");
            }
        }
    }

    /// Writes what the service has to say.
    fn write(&mut self) {
        let bytes = self.service.transmit().to_vec();
        self.peer.write_all(&bytes).expect("room");
        self.service.transmitted(bytes.len());
    }

    fn say(&mut self, text: &str) {
        let word = Word { text: text.to_owned() };
        self.service.send(Word::NUMBER, &word).expect("open");
    }

    fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

fn try_send<M: FromClient<Words>>(link: &Link, message: &M) -> Result<(), SendError> {
    link.try_send(&Typed(M::NUMBER, message))
}

/// Polls until the service has admitted the client. Nothing but the test polls the driver.
async fn open(rig: &mut Rig, mut driver: Pin<&mut impl Future<Output = Ending>>) {
    within(async {
        loop {
            assert!(poll_once(driver.as_mut()).is_pending(), "ended");
            rig.read();
            rig.write();
            let is_open = rig.link.lock().tx.connection().trid().is_some();
            if is_open {
                return;
            }
            // The runtime looks at the sockets.
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[cfg(all(feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
#[tokio::test]
async fn a_handshake_that_stands_still_costs_nothing() -> Result<(), Box<dyn core::error::Error>> {
    use crate::tls::throwaway::ThrowawayCa;
    use crate::tls::{ClientTls, ServerTls};
    let ca = ThrowawayCa::new()?;
    let client = ClientTls::new(ca.client("alice")?, ca.authorities())?;
    let server = ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?;
    // Both engines have something to say from the start, and no TLS yet to say it.
    let channels = [
        channel::client(&client, "localhost".try_into()?)?,
        channel::server(&server)?,
    ];
    for channel in channels {
        let (rig, driver) = rig(|| channel);
        let still = tokio::time::timeout(Duration::from_millis(100), driver).await;
        assert!(still.is_err(), "ended");
        assert!(rig.polls() < 10, "polled {} times", rig.polls());
    }
    Ok(())
}

/// Answers each read with a byte, and sees to it that there is more to read.
struct Restless {
    peer: Peer,
    more: usize,
}

impl Channel for Restless {
    fn receive(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut OutBuf,
        _: &mut dyn FnMut(&[u8]),
    ) -> Result<Received, ChannelError> {
        if self.more > 0 && !incoming.is_empty() {
            self.more -= 1;
            outgoing.extend(b".");
            self.peer.write_all(b"x").map_err(|_| ChannelError::Finished)?;
        }
        Ok(Received::new(incoming.len()))
    }

    fn seal(&mut self, plaintext: &[u8], _: &mut OutBuf) -> Result<usize, ChannelError> {
        Ok(plaintext.len())
    }

    fn close(&mut self, _: &mut OutBuf) {}

    fn established(&mut self) -> Option<Established> {
        None
    }

    fn is_established(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn what_a_channel_says_leaves_on_its_own_socket() {
    const READS: usize = 5 * TURNS + 3;
    let (mut rig, driver) = rig_with(|peer| {
        Box::new(Restless {
            peer: peer.try_clone().expect("a handle"),
            more: READS,
        })
    });
    tokio::pin!(driver);
    rig.peer.write_all(b"x").expect("room");
    let mut answers = 0;
    while answers < READS {
        assert!(poll_once(driver.as_mut()).is_pending());
        // Between two polls of a connection the thread's buffers belong to others.
        with_scratch(|scratch| scratch.out.sent(usize::MAX));
        within(tokio::task::yield_now()).await;
        answers += rig.peer.read(&mut [0; 1024]).unwrap_or(0);
    }
}

#[tokio::test]
async fn a_handler_that_outlives_its_connection_costs_nothing() {
    let (mut rig, driver) = rig(plain);
    tokio::pin!(driver);
    open(&mut rig, driver.as_mut()).await;
    rig.say("wait");
    rig.service.disconnect(Notice::new(Code::Disconnected));
    rig.write();
    let Rig { peer, polls, gate, .. } = rig;
    drop(peer);
    // Lingering is over after 2 s at the latest.
    let still = tokio::time::timeout(LINGER + Duration::from_millis(300), driver.as_mut()).await;
    assert!(still.is_err(), "the handler still runs");
    let polls = polls.load(Ordering::SeqCst);
    assert!(polls < 100, "polled {polls} times");
    gate.set(()).expect("once");
    let outcome = within(driver).await;
    assert_eq!(outcome.dropped.cause().code(), Some(Code::Disconnected));
}

#[tokio::test(start_paused = true)]
async fn a_handler_or_a_drop_callback_that_hangs_is_dropped_after_30_s() {
    for (word, text) in [(Some("wait"), ""), (None, "hang"), (Some("wait"), "hang")] {
        let (mut rig, driver) = rig(plain);
        tokio::pin!(driver);
        open(&mut rig, driver.as_mut()).await;
        if let Some(word) = word {
            rig.say(word);
        }
        rig.service.disconnect(Notice::new(Code::Disconnected).with_text(text));
        rig.write();
        let Rig { peer, gate, .. } = rig;
        drop(peer);
        let begun = tokio::time::Instant::now();
        let outcome = driver.await;
        assert_eq!(outcome.dropped.cause().code(), Some(Code::Disconnected));
        // On a clock that stands still while there is something to do.
        let took = begun.elapsed();
        let hanging = u32::from(word.is_some()) + u32::from(text == "hang");
        let grace = HANDLER_GRACE * hanging;
        assert!(took >= grace && took <= grace + LINGER, "{word:?}, {text:?}: {took:?}");
        assert_eq!(HANDLER_GRACE.as_secs(), 30, "as documented");
        assert!(gate.get().is_none(), "nobody let it go on");
    }
}

#[tokio::test]
async fn a_peer_that_streams_on_is_cut_off_after_256_kib() {
    let (mut rig, driver) = rig(plain);
    tokio::pin!(driver);
    open(&mut rig, driver.as_mut()).await;
    rig.peer.write_all(&[1, 0x9f]).expect("room");
    let (mut taken, block) = (0, [b'x'; 8192]);
    let cut = within(async {
        loop {
            match rig.peer.write(&block) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if poll_once(driver.as_mut()).is_ready() {
                        return "the driver is done";
                    }
                    tokio::task::yield_now().await;
                }
                Err(_) => return "the socket is closed",
            }
        }
    });
    let cut = cut.await;
    // And what the system keeps in a pair of sockets.
    assert!(
        (LINGER_BYTES..2 * LINGER_BYTES + (512 << 10)).contains(&taken),
        "PROTOCOL E-4: {cut} after {taken} bytes"
    );
}

#[tokio::test]
async fn a_peer_that_does_not_read_cannot_hold_up_the_end() {
    let (mut rig, driver) = rig(plain);
    tokio::pin!(driver);
    open(&mut rig, driver.as_mut()).await;
    // More than the socket takes; nobody reads.
    let word = Word {
        text: "x".repeat(32_000),
    };
    while poll_once(driver.as_mut()).is_pending() {
        match try_send(&rig.link, &word) {
            Ok(()) => {}
            Err(SendError::Full(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let link = Arc::clone(&rig.link);
    // Another task, so that only the link can wake the driver, which waits for the socket.
    tokio::spawn(async move {
        tokio::task::yield_now().await;
        link.disconnect(Notice::new(Code::Busy));
    });
    let dropped = tokio::select! {
        dropped = within(rig.dropped.recv()) => dropped,
        outcome = driver.as_mut() => Some(outcome.dropped),
    };
    assert_eq!(dropped.and_then(|dropped| dropped.cause().code()), Some(Code::Busy));
}

#[tokio::test]
async fn what_has_arrived_is_read_though_nothing_can_be_written() {
    let (mut rig, driver) = rig(plain);
    tokio::pin!(driver);
    open(&mut rig, driver.as_mut()).await;
    // More than one turn reads, then the error.
    for _ in 0..3 {
        rig.say(&"x".repeat(30_000));
    }
    rig.service
        .disconnect(Notice::new(Code::Disconnected).with_text("read me"));
    rig.write();
    let Rig { peer, link, .. } = rig;
    drop(peer);
    try_send(&link, &Word { text: "lost".into() }).expect("open");
    let outcome = within(driver).await;
    let cause = outcome.dropped.cause();
    assert!(
        matches!(cause, Cause::PeerError(notice) if notice.text() == "read me"),
        "PROTOCOL E-5: {cause}"
    );
}

#[tokio::test]
async fn an_error_is_told_to_a_peer_that_has_ended_its_side() {
    let (mut rig, driver) = rig(plain);
    tokio::pin!(driver);
    open(&mut rig, driver.as_mut()).await;
    // An unknown kind of frame, and the end of the stream: one read, perhaps two.
    rig.peer.write_all(&[1, 0x9f]).expect("room");
    rig.peer.shutdown(std::net::Shutdown::Write).expect("open");
    let outcome = within(driver).await;
    assert_eq!(outcome.dropped.cause().code(), Some(Code::UnknownKind));
    rig.read();
    rig.service.handle_time(clock::now());
    let told = rig.service.cause().and_then(Cause::code);
    assert_eq!(told, Some(Code::UnknownKind), "PROTOCOL E-3");
}

#[tokio::test]
async fn a_driver_that_is_dropped_leaves_no_engine_behind() {
    let (mut rig, driver) = rig(plain);
    {
        tokio::pin!(driver);
        open(&mut rig, driver.as_mut()).await;
        assert!(try_send(&rig.link, &Word { text: String::new() }).is_ok());
    }
    let late = try_send(&rig.link, &Word { text: String::new() });
    assert_eq!(late, Err(SendError::NotOpen));
    // A cut that comes when there is nothing to cut is not for the next connection.
    rig.link.cut();
    assert!(!rig.link.lock().take_orders().cut);
}

#[test]
fn what_is_not_confirmed_is_told_in_good_grammar() {
    let text = |unconfirmed| {
        let cause = Cause::Lost;
        Dropped { cause, unconfirmed }.to_string()
    };
    assert_eq!(text(0), "the transport ended without a word");
    assert!(text(1).ends_with(" (1 message not confirmed)"));
    assert!(text(2).ends_with(" (2 messages not confirmed)"));
}
