//! Both clients against the service of diset-std over TCP: real sockets, real time.

use core::convert::Infallible;
use core::net::SocketAddr;
use core::time::Duration;

use diset_embedded::{
    Arg, Cause, Code, Config, ConnectError, Instant, Limits, NewReason, Outcome, Resumption, Retry, TrustedLine,
};
use diset_std::{Conn, Rule, Service, ServiceHandle};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::agents::{
    Agent, Awaited, AwaitedClient, Demo, IDENTITY, Lines, Memory, Note, Ping, Polled, PolledClient, Pong, SOON, Seen,
    Store, Stream, Tcp,
};

const SILENCE: Duration = Duration::from_millis(800);

fn config() -> Config<'static> {
    Config {
        limits: Limits::CHIP.with_max_silence(SILENCE),
        args: &[("site", Arg::Text("CERN"))],
        ..Config::new(IDENTITY, 7)
    }
}

/// The story, told by either client.
fn story(runtime: &Runtime, agent: &mut dyn Agent<Infallible>) {
    let (gone, mut drops) = mpsc::unbounded_channel();
    let service = Service::new(Demo)
        .allow_connect(Rule::everyone())
        .on_connected(|conn: Conn<Demo>| async move {
            let text = format!("{} at {:?}", conn.identity(), conn.args().text("site"));
            conn.send(&Note { text }).await?;
            Ok(())
        })
        .on(|conn: Conn<Demo>, ping: Ping| async move {
            conn.send(&Pong { id: ping.id }).await?;
            Ok(())
        })
        .on_drop(move |_, dropped| {
            let _ = gone.send(dropped.cause().clone());
            async {}
        });
    let bound = runtime.block_on(service.bind_plain_tcp("127.0.0.1:0")).expect("a port");
    let (address, handle): (_, ServiceHandle<Demo>) = (bound.local_addr().expect("TCP"), bound.handle());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = runtime.spawn(bound.run_until(async {
        let _ = stopped.await;
    }));

    // The service pushes, the client asks.
    let greeting = format!("{IDENTITY} at Some(\"CERN\")");
    agent.dial(address).expect("opens");
    let Seen::Connected(first) = agent.next(SOON) else {
        panic!("not connected")
    };
    assert_eq!(agent.next(SOON), Seen::Note(greeting.clone(), None));
    for id in 0..100 {
        agent.ping(id).expect("room");
        assert_eq!(agent.next(SOON), Seen::Pong(id));
    }
    // Nothing to say for longer than a silent peer lives.
    assert_eq!(agent.next(SILENCE * 2), Seen::Nothing, "PROTOCOL K-2");
    agent.ping(-1).expect("room");
    assert_eq!(agent.next(SOON), Seen::Pong(-1));
    // The service ends it, the client comes back.
    assert!(handle.disconnect(first, "maintenance"));
    let Seen::Dropped(dropped) = agent.next(SOON) else {
        panic!("not dropped")
    };
    let notice = match dropped.cause() {
        Cause::PeerError(notice) => notice,
        other => panic!("{other}"),
    };
    assert_eq!((notice.code(), notice.text()), (Code::Disconnected, "maintenance"));
    assert!(matches!(agent.retry(), Retry::At(_)));
    assert!(matches!(runtime.block_on(drops.recv()), Some(Cause::OurError(_))));
    agent.dial(address).expect("opens");
    let Seen::Connected(second) = agent.next(SOON) else {
        panic!("not connected again")
    };
    assert_ne!(first, second, "PROTOCOL R-6");
    assert_eq!(agent.next(SOON), Seen::Note(greeting, None), "PROTOCOL R-6");
    // The client ends it, and says why.
    agent.ping(5).expect("room");
    agent.disconnect("battery low");
    assert!(matches!(agent.next(SOON), Seen::Dropped(_)));
    match runtime.block_on(drops.recv()) {
        Some(Cause::PeerError(notice)) => assert_eq!(notice.text(), "battery low"),
        other => panic!("{other:?}"),
    }
    let _ = stop.send(());
    runtime.block_on(serving).expect("the service ends");
}

/// A service that handles acked pings but one, and sends an acked note to whoever comes.
struct Keeper {
    address: SocketAddr,
    handled: mpsc::UnboundedReceiver<(i64, bool)>,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

const POISON: i64 = 13;

impl Keeper {
    fn start(runtime: &Runtime) -> Self {
        let (log, handled) = mpsc::unbounded_channel();
        let service = Service::new(Demo)
            .allow_connect(Rule::everyone())
            .on_connected(|conn: Conn<Demo>| async move {
                conn.send_acked(&Note { text: "kept".into() }).await?;
                Ok(())
            })
            .on(move |conn: Conn<Demo>, ping: Ping| {
                let repeated = conn.received().is_some_and(|received| received.maybe_repeated);
                let _ = log.send((ping.id, repeated));
                let poison = ping.id == POISON;
                async move {
                    match poison {
                        true => Err(std::io::Error::other("poison").into()),
                        false => Ok(()),
                    }
                }
            });
        let bound = runtime.block_on(service.bind_plain_tcp("127.0.0.1:0")).expect("a port");
        let address = bound.local_addr().expect("TCP");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = runtime.spawn(async move {
            bound
                .run_until(async {
                    let _ = stopped.await;
                })
                .await;
        });
        Self {
            address,
            handled,
            stop,
            serving,
        }
    }

    fn handled(&mut self) -> Vec<(i64, bool)> {
        core::iter::from_fn(|| self.handled.try_recv().ok()).collect()
    }
}

/// Until this acked message has an outcome; what was told on the way.
fn until_done(agent: &mut dyn Agent<Infallible>, address: SocketAddr, number: u64) -> Vec<(u64, Outcome)> {
    let mut outcomes = Vec::new();
    loop {
        match agent.next(SOON) {
            Seen::Outcome(number, outcome) => outcomes.push((number, outcome)),
            Seen::Note(_, received) => assert!(received.is_some_and(|received| !received.maybe_repeated)),
            Seen::Delivered(processed) if processed >= number => return outcomes,
            Seen::Dropped(_) => agent.dial(address).expect("opens"),
            Seen::Connected(_) | Seen::Delivered(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Acked messages over an outage, a restart and a handler that fails.
fn acked_story(runtime: &Runtime, agent: &mut dyn Agent<Infallible>) {
    let mut keeper = Keeper::start(runtime);
    let first = agent.acked(1).expect("room");
    agent.dial(keeper.address).expect("opens");
    let outcomes = until_done(agent, keeper.address, first);
    assert_eq!((outcomes, keeper.handled()), (vec![], vec![(1, false)]));
    // The handler fails: told, and the next is handled all the same.
    let poison = agent.acked(POISON).expect("room");
    let third = agent.acked(3).expect("room");
    let outcomes = until_done(agent, keeper.address, third);
    assert_eq!(
        outcomes,
        [(poison, Outcome::Failed(Code::HandlerFailed))],
        "PROTOCOL Q-5"
    );
    assert_eq!(keeper.handled(), [(POISON, false), (3, false)]);
    assert!(
        matches!(agent.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-6"
    );
    // Another process takes the place of this one, which has kept nothing.
    let _ = keeper.stop.send(());
    while !matches!(agent.next(SOON), Seen::Dropped(_)) {}
    runtime.block_on(keeper.serving).expect("the service ends");
    let fourth = agent.acked(4).expect("room");
    let mut keeper = Keeper::start(runtime);
    agent.dial(keeper.address).expect("opens");
    let outcomes = until_done(agent, keeper.address, fourth);
    let why = NewReason::Forgotten;
    assert_eq!(agent.resumption(), Some(Resumption::New { why }), "PROTOCOL N-6");
    assert_eq!((outcomes, keeper.handled()), (vec![], vec![(4, false)]));
    agent.disconnect("done");
    let _ = keeper.stop.send(());
    runtime.block_on(keeper.serving).expect("the service ends");
}

/// Nobody else is on the line.
struct Trusted;

impl<'b> Lines<'b> for Trusted {
    type Polled = TrustedLine<Tcp>;
    type Awaited = TrustedLine<Stream>;
    type Error = Infallible;

    fn polled(
        &mut self,
        client: &mut PolledClient<'b, Self::Polled>,
        tcp: Tcp,
        now: Instant,
    ) -> Result<(), ConnectError<Infallible>> {
        client.connect(TrustedLine::new(tcp).ending_with(Tcp::shut_down), now)
    }

    async fn awaited(
        &mut self,
        client: &mut AwaitedClient<'b, Self::Awaited>,
        stream: Stream,
    ) -> Result<(), ConnectError<Infallible>> {
        client
            .connect(TrustedLine::new(stream).ending_with(Stream::shut_down))
            .await
    }
}

#[test]
fn the_blocking_client_and_the_service() {
    let runtime = Runtime::new().expect("a runtime");
    let (mut buffers, mut outbox) = (Memory::new(), Store::with_inbox());
    let mut agent = Polled::new(config(), &mut buffers, &mut outbox, Trusted);
    story(&runtime, &mut agent);
    acked_story(&runtime, &mut agent);
}

#[test]
fn the_async_client_and_the_service() {
    let runtime = Runtime::new().expect("a runtime");
    let (mut buffers, mut outbox) = (Memory::new(), Store::with_inbox());
    let mut agent = Awaited::new(config(), &mut buffers, &mut outbox, Trusted, &runtime);
    story(&runtime, &mut agent);
    acked_story(&runtime, &mut agent);
}
