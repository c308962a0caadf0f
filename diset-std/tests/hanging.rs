//! Plain messages that wait behind a handler that hangs: whoever sent them learns how many may be lost, however the
//! connection ended, also when that handler still hangs as both sides end in order.

use core::time::Duration;

use diset_std::{Client, Conn, Service};
use tokio::task::JoinSet;

use crate::chaos::line::{Harm, Line};
use crate::common::*;

/// How the connection ends before both sides do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With the service, which ends first.
    Service,
    /// With the client, which ends first.
    Client,
    /// Both sides end at the same time.
    Both,
    /// The handler that hangs has ended it.
    Handler,
    /// The program of the service ends it.
    Disconnect,
    /// The program of the client cuts it.
    Cut,
    /// The line breaks.
    Reset,
    /// The line ends as if in order.
    Close,
    /// The line breaks for the client: its next connection takes over.
    HalfOpen,
}

const ENDS: [End; 9] = [
    End::Service,
    End::Client,
    End::Both,
    End::Handler,
    End::Disconnect,
    End::Cut,
    End::Reset,
    End::Close,
    End::HalfOpen,
];

/// Plain messages behind the one whose handler hangs, in either direction.
const BEHIND: u32 = 3;
const SHORT: Duration = Duration::from_millis(100);

/// How many plain messages may be lost, as the client is told, and the service: of a connection on both sides of which
/// messages wait behind a handler that hangs.
async fn told(end: End, in_session: bool, world: World) -> [u32; 2] {
    let (begun, mut hanging) = log();
    let (also_begun, (losses, mut lost)) = (begun.clone(), log());
    let (drops, client_losses) = (losses.clone(), losses);
    let service = Service::new(PingPong)
        .drain_time(SHORT)
        .on(move |conn: Conn<PingPong>, _: Ping| {
            begun.add("service");
            if end == End::Handler {
                conn.disconnect("and hangs");
            }
            core::future::pending()
        })
        .on_ref::<Note<'_>>(|_, _| panic!("nothing passes the handler that hangs"))
        .on_drop(move |_, why| {
            drops.add(("service", why.unconfirmed()));
            async {}
        });
    let running = world.serve(service).await.expect("a service");
    let line = Line::new().await.expect("a line");
    line.leads_to(running.port());
    let builder = Client::builder(PingPong, &line.address)
        .tls(world.tls("alice").expect("a certificate"))
        .reconnect(QUICK)
        .drain_time(SHORT);
    let builder = if in_session { builder } else { builder.without_session() };
    let client = builder
        .on(move |_, _: Pong| {
            also_begun.add("client");
            core::future::pending()
        })
        .on_ref::<Note<'_>>(|_, _| panic!("nothing passes the handler that hangs"))
        .on_drop(move |_, why| {
            client_losses.add(("client", why.unconfirmed()));
            async {}
        })
        .connect()
        .await
        .expect("a connection");
    let conn = running.handle.connections().pop().expect("a connection");
    conn.send(&Pong { id: 0 }).await.expect("room");
    for _ in 0..BEHIND {
        conn.send(&Note { text: "behind" }).await.expect("room");
    }
    assert_eq!(hanging.next().await, "client", "{end:?}");
    client.send(&Ping { id: 0 }).await.expect("room");
    for _ in 0..BEHIND {
        // The handler that ends the connection may be faster.
        let said = client.send(&Note { text: "behind" }).await;
        assert!(said.is_ok() || end == End::Handler, "{end:?}: {said:?}");
    }
    assert_eq!(hanging.next().await, "service", "{end:?}");
    match end {
        End::Service | End::Client | End::Both | End::Handler => {}
        End::Disconnect => conn.disconnect("for a reason"),
        End::Cut => client.cut(),
        End::Reset => line.harm(Harm::Reset),
        End::Close => line.harm(Harm::Close),
        End::HalfOpen => line.harm(Harm::HalfOpen),
    }
    if end == End::Client {
        within("the close", client.close()).await;
    }
    if end == End::Both {
        tokio::join!(running.stop(), within("the close", client.close()));
    } else {
        running.stop().await;
        within("the close", client.close()).await;
    }
    let mut told = [0, 0];
    while let Some((side, unconfirmed)) = lost.now() {
        told[usize::from(side == "service")] += unconfirmed;
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sent_messages_that_waited_behind_a_handler_that_hangs_is_told() -> TestResult {
    let mut all = JoinSet::new();
    for end in ENDS {
        for in_session in [true, false] {
            let world = World::new()?;
            all.spawn(async move {
                let told = told(end, in_session, world).await;
                (end, in_session, told)
            });
        }
    }
    let mut wrong = Vec::new();
    while let Some(ended) = all.join_next().await {
        let (end, in_session, told) = ended?;
        let most = [BEHIND + 1, BEHIND + 1];
        // What the client could send before the connection ended is chance there.
        let is_right = told == most || (end == End::Handler && told[1] == most[1] && (1..=most[0]).contains(&told[0]));
        if !is_right {
            wrong.push(format!("{end:?}, in a session: {in_session}: {told:?} told"));
        }
    }
    assert!(
        wrong.is_empty(),
        "client and service learn of {} each: {wrong:#?}",
        BEHIND + 1
    );
    Ok(())
}
