//! The example of the DISET documents, Ping and Pong over mutual TLS: a service and a client in one program, and a
//! short tour of what a stable connection does.
//!
//! ```sh
//! cargo run --example pingpong
//! ```

use core::error::Error;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use diset_examples::{News, Ping, PingPong, Pong, Shout, println};
use diset_std::tls::throwaway::ThrowawayCa;
use diset_std::tls::{ClientTls, ServerTls};
use diset_std::{BoundService, Client, ClientState, Conn, ReconnectPolicy, Rule, Service, ServiceHandle};
use tokio::sync::{mpsc, oneshot};

const ROUND_TRIPS: i64 = 10_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    diset_examples::no_options("A service and a client, and what happens between them.");
    say(
        "certificates",
        "a throw-away authority, a service `localhost`, a client `alice`",
    );
    let ca = ThrowawayCa::new()?;
    let service_tls = ServerTls::new(ca.server(&["localhost"])?, ca.authorities())?;
    let client_tls = ClientTls::new(ca.client("alice")?, ca.authorities())?;

    let bound = start_service(service_tls).await?;
    let address = format!("localhost:{}", bound.local_addr().ok_or("no port")?.port());
    let service = bound.handle();
    let (shut_down, shutdown) = oneshot::channel::<()>();
    let serving = tokio::spawn(bound.run_until(async {
        shutdown.await.ok();
    }));
    say(
        "service",
        &format!("Framework/PingPong listens on {address}, mutual TLS 1.3"),
    );

    let (client, mut seen) = start_client(&address, client_tls).await?;
    learn(&client, &service);
    round_trips(&client, &mut seen).await?;
    pushed(&service, &mut seen).await?;
    cut(&client, &mut seen).await?;
    wrong_message(&client, &mut seen).await?;

    client.close().await;
    let _ = shut_down.send(());
    serving.await?;
    say("end", "the client has left, the service has drained and stopped");
    Ok(())
}

/// A service in a few lines: who may come, what happens on a message, who has gone.
async fn start_service(tls: ServerTls) -> Result<BoundService<PingPong>, Box<dyn Error>> {
    let service = Service::new(PingPong)
        .on_connect(|conn: Conn<PingPong>| async move {
            let who = conn
                .credentials()
                .certificate()
                .map_or("nobody", |certificate| certificate.subject())
                .to_owned();
            let site = conn.args().text("site").unwrap_or("unknown").to_owned();
            say(
                "  service",
                &format!("{who} from site {site} asks to connect: admitted as {}", conn.trid()),
            );
            Ok(())
        })
        // News is for those who say where they are: the others learn so when they connect.
        .allow::<News>(Rule::at_connect(|conn| conn.args().text("site").is_some()))
        .on(|conn, ping: Ping| async move {
            conn.send(&Pong { id: ping.id }).await?;
            Ok(())
        })
        .on_drop(|conn, dropped| async move {
            say("  service", &format!("{} has gone: {dropped}", conn.trid()));
        })
        .bind("127.0.0.1:0", tls)
        .await?;
    Ok(service)
}

/// What the client has seen, for the tour to wait for.
enum Seen {
    Pong(i64),
    News(String),
    Connected,
    Dropped(String),
}

async fn start_client(
    address: &str,
    tls: ClientTls,
) -> Result<(Client<PingPong>, mpsc::UnboundedReceiver<Seen>), Box<dyn Error>> {
    let (sender, seen) = mpsc::unbounded_channel();
    let sender = Arc::new(sender);
    let (pongs, news, states, drops) = (sender.clone(), sender.clone(), sender.clone(), sender);
    let client = Client::builder(PingPong, address)
        .tls(tls)
        .arg("site", "CERN")
        // Quick returns, so that the tour is short.
        .reconnect(ReconnectPolicy {
            base: Duration::from_millis(100),
            ..ReconnectPolicy::DEFAULT
        })
        .on_ref::<Pong>(move |_, pong| Ok(pongs.send(Seen::Pong(pong.id))?))
        .on_ref::<News>(move |_, told| Ok(news.send(Seen::News(told.text))?))
        .on_state(move |_, state| {
            if let ClientState::Connected(_) = state {
                states.send(Seen::Connected).ok();
            }
        })
        .on_drop(move |_, dropped| {
            drops.send(Seen::Dropped(dropped.to_string())).ok();
            async {}
        })
        .connect()
        .await?;
    match client.trid() {
        Some(trid) => say("client", &format!("connected: {trid}, identity {}", client.identity())),
        None => say("client", "connected, and lost at once"),
    }
    Ok((client, seen))
}

/// What a client learns when it connects.
fn learn(client: &Client<PingPong>, service: &ServiceHandle<PingPong>) {
    for (name, verdict) in client.verdicts() {
        say("client", &format!("verdict on the message {name}: {verdict}"));
    }
    say("  service", &format!("connected now: {:?}", service.connections()));
}

async fn round_trips(
    client: &Client<PingPong>,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    let begin = Instant::now();
    for id in 0..ROUND_TRIPS {
        let sent = Instant::now();
        client.send(&Ping { id }).await?;
        wait_for(seen, |seen| matches!(seen, Seen::Pong(answered) if *answered == id)).await?;
        times.push(sent.elapsed());
    }
    let rate = f64::from(u32::try_from(ROUND_TRIPS)?) / begin.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
            .as_micros()
    };
    let (p50, p99) = (at(50), at(99));
    say(
        "client",
        &format!("{ROUND_TRIPS} round trips one after the other: {rate:.0}/s, p50 {p50} µs, p99 {p99} µs"),
    );
    Ok(())
}

/// The service speaks when it likes, to everybody.
async fn pushed(
    service: &ServiceHandle<PingPong>,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
) -> Result<(), Box<dyn Error>> {
    let sent = service.broadcast(&News {
        text: "dinner is ready".into(),
    });
    say("  service", &format!("pushes News to {} client", sent.queued));
    if let Seen::News(text) = wait_for(seen, |seen| matches!(seen, Seen::News(_))).await? {
        say("client", &format!("got News nobody asked for: {text:?}"));
    }
    Ok(())
}

/// A line breaks; the client comes back under the same identity.
async fn cut(client: &Client<PingPong>, seen: &mut mpsc::UnboundedReceiver<Seen>) -> Result<(), Box<dyn Error>> {
    let before = (client.trid(), client.identity());
    say("client", "the line is cut …");
    client.cut();
    came_back(client, seen).await?;
    let after = (client.trid(), client.identity());
    say(
        "client",
        &format!(
            "new trid: {}, same identity: {}",
            before.0 != after.0,
            before.1 == after.1
        ),
    );
    Ok(())
}

/// A message without a handler gets an error and a disconnect.
async fn wrong_message(
    client: &Client<PingPong>,
    seen: &mut mpsc::UnboundedReceiver<Seen>,
) -> Result<(), Box<dyn Error>> {
    say("client", "sends Shout, for which the service has no handler …");
    client.send(&Shout { text: "hey".into() }).await?;
    came_back(client, seen).await
}

async fn came_back(client: &Client<PingPong>, seen: &mut mpsc::UnboundedReceiver<Seen>) -> Result<(), Box<dyn Error>> {
    if let Seen::Dropped(why) = wait_for(seen, |seen| matches!(seen, Seen::Dropped(_))).await? {
        say("client", &format!("disconnected: {why}"));
    }
    wait_for(seen, |seen| matches!(seen, Seen::Connected)).await?;
    say("client", &format!("is back by itself: {}", client.state()));
    Ok(())
}

async fn wait_for(
    seen: &mut mpsc::UnboundedReceiver<Seen>,
    wanted: impl Fn(&Seen) -> bool,
) -> Result<Seen, Box<dyn Error>> {
    let found = async {
        loop {
            let seen = seen.recv().await.ok_or("the client has stopped")?;
            if wanted(&seen) {
                return Ok(seen);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), found).await?
}

fn say(who: &str, what: &str) {
    println!("{who:<12} {what}");
}
