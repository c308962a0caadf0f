//! One client's life: it connects, talks, is sent away, outlives the service, and ends.

use core::net::SocketAddr;

use diset_embedded::tls::TlsError;
use diset_embedded::{Cause, Code, NewReason, Resumption};
use diset_std::Client;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::host::{Host, Saw, client_tls, greeting, server_tls};
use super::lines::Ends;
use super::{Made, WAYS, with_agent, with_rules};
use crate::agents::{Agent, Demo, IDENTITY, Note, Ping, Pong, SOON, Seen};
use crate::impostor::certificates::{NAME, World};

/// The subject of the device's certificate.
const SUBJECT: &str = "CN=device 17";
/// The longest record of the service.
const RECORD: usize = 1024;

/// Connects, and has the greeting.
fn connect(agent: &mut dyn Agent<TlsError>, host: &Host) {
    agent.dial(host.address).expect("the service is the right one");
    match agent.next(SOON) {
        Seen::Connected(_) => {}
        other => panic!("{other:?}"),
    }
    let Seen::Note(text, None) = agent.next(SOON) else {
        panic!("no greeting")
    };
    assert!(text.contains(SUBJECT), "{text}");
}

fn dropped(agent: &mut dyn Agent<TlsError>) -> Cause {
    loop {
        match agent.next(SOON) {
            Seen::Dropped(dropped) => return dropped.cause().clone(),
            Seen::GoingAway | Seen::Delivered(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn acked(agent: &mut dyn Agent<TlsError>, id: i64) {
    let number = agent.acked(id).expect("room");
    settled(agent, id, number);
}

/// An acked ping is dealt with, and answered by an acked note.
fn settled(agent: &mut dyn Agent<TlsError>, id: i64, number: u64) {
    let (mut note, mut done) = (false, false);
    while !(note && done) {
        match agent.next(SOON) {
            Seen::Note(text, Some(received)) => {
                assert_eq!((text, received.maybe_repeated), (id.to_string(), false));
                note = true;
            }
            Seen::Delivered(processed) => done |= processed >= number,
            other => panic!("{other:?}"),
        }
    }
}

/// A client of diset-std, on the same port: its records are as long as any.
async fn neighbour(host: SocketAddr, world: &World) -> usize {
    let (log, mut pongs) = mpsc::unbounded_channel();
    let client = Client::builder(Demo, &host.to_string())
        .server_name(NAME)
        .tls(client_tls(world))
        .on(move |_, pong: Pong| {
            let _ = log.send(pong.id);
            async { Ok(()) }
        })
        .on(|_, _: Note| async { Ok(()) })
        .connect()
        .await
        .expect("connected");
    for id in 0..100 {
        client.send(&Ping { id }).await.expect("sent");
        assert_eq!(pongs.recv().await, Some(id));
    }
    client.close().await;
    100
}

fn life(runtime: &Runtime, world: &World, agent: &mut dyn Agent<TlsError>, ends: &Ends) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sessions.redb");
    let tls = server_tls(&world.service, &world.authority, true);
    let mut host = Host::start(runtime, 0, tls.clone(), |log| greeting(log, &file));
    connect(agent, &host);
    let why = NewReason::First;
    assert_eq!(agent.resumption(), Some(Resumption::New { why }));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| runtime.block_on(neighbour(host.address, world)));
        for id in 0..100 {
            agent.ping(id).expect("room");
            assert_eq!(agent.next(SOON), Seen::Pong(id));
        }
        assert_eq!(other.join().expect("no panic"), 100);
    });
    acked(agent, 100);
    // The service ends the connection, and the session goes on with the next.
    // Whoever holds its `Conn` holds the file of the sessions.
    let ours = host.handle.find_identity(IDENTITY).pop().map(|conn| conn.trid());
    assert!(host.handle.disconnect(ours.expect("it is connected"), "maintenance"));
    match dropped(agent) {
        Cause::PeerError(notice) => assert_eq!((notice.code(), notice.text()), (Code::Disconnected, "maintenance")),
        other => panic!("{other}"),
    }
    assert_eq!(ends.last().fault, None, "PROTOCOL X-4: close_notify");
    connect(agent, &host);
    assert!(
        matches!(agent.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-6"
    );
    acked(agent, 101);
    let mut pings: Vec<_> = host
        .saw()
        .into_iter()
        .filter(|saw| matches!(saw, Saw::Ping { acked: true, .. }))
        .collect();
    // Another process, with the file of the first.
    let port = host.address.port();
    let stopped = host.stop();
    dropped(agent);
    runtime.block_on(stopped).expect("it ends");
    let number = agent.acked(102).expect("room without a connection");
    let mut host = Host::start(runtime, port, tls, |log| greeting(log, &file));
    connect(agent, &host);
    assert!(
        matches!(agent.resumption(), Some(Resumption::Resumed { .. })),
        "PROTOCOL N-6"
    );
    settled(agent, 102, number);
    pings.extend(host.saw().into_iter().filter(|saw| matches!(saw, Saw::Ping { .. })));
    let once = |id| Saw::Ping {
        id,
        acked: true,
        repeated: false,
    };
    assert_eq!(pings, [once(100), once(101), once(102)]);
    agent.disconnect("done");
    dropped(agent);
    for end in ends.all() {
        assert_eq!(end.fault, None, "each ended in order");
        assert!(end.all.came.longest <= RECORD, "PROTOCOL X-8: {}", end.all.came.longest);
    }
    runtime.block_on(host.stop()).expect("it ends");
}

// PROTOCOL
#[test]
fn a_chip_lives_with_the_service_whatever_comes() {
    let world = World::new();
    let runtime = Runtime::new().expect("a runtime");
    with_rules(&world, |rule| {
        for way in WAYS {
            with_agent(&runtime, way, &Made::new(&world, rule), |agent, ends| {
                life(&runtime, &world, agent, ends);
            });
        }
    });
}
