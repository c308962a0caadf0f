//! Without TLS: plain TCP, Unix sockets, and addresses that cannot be listened on.

use diset_std::tls::Credentials;
use diset_std::{BadSettings, Client, Conn, Ended, Rule};

use crate::common::*;

async fn round_trip(client: diset_std::ClientBuilder<PingPong>) -> Result<Client<PingPong>, Ended> {
    let (log, mut pongs) = log();
    let client = client
        .reconnect(QUICK)
        .on_ref::<Pong>(move |_, pong| {
            log.add(pong.id);
            Ok(())
        })
        .connect()
        .await?;
    client.send(&Ping { id: 4 }).await.expect("open");
    assert_eq!(pongs.next().await, 4);
    Ok(client)
}

#[tokio::test]
async fn plain_tcp_works_where_both_sides_say_so() -> TestResult {
    let (log, mut seen) = log();
    let bound = answering()
        .allow_connect(Rule::everyone())
        .on_connect(move |conn: Conn<PingPong>| {
            log.add(conn.credentials().clone());
            async { Ok(()) }
        })
        .bind_plain_tcp("127.0.0.1:0")
        .await?;
    let running = run(bound);
    let client = round_trip(Client::builder(PingPong, &running.address).plain_tcp()).await?;
    assert!(matches!(seen.next().await, Credentials::None));
    client.close().await;

    let unsaid = Client::builder(PingPong, &running.address).connect().await;
    assert!(matches!(unsaid, Err(Ended::Settings(BadSettings::NoTls))));
    // One that speaks TLS is not understood, and says so.
    let world = World::new()?;
    let tls = Client::builder(PingPong, &running.address)
        .tls(world.tls("alice")?)
        .connect()
        .await;
    assert!(matches!(tls, Err(Ended::Tls { .. })), "{tls:?}");
    // And the other way round.
    let secure = world.serve(answering()).await?;
    let plain = Client::builder(PingPong, &secure.address).plain_tcp().connect().await;
    let why = plain.err().ok_or("plain was accepted")?;
    assert!(dropped(&why).cause().needs_mending(), "not DISET: {why}");
    running.stop().await;
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_tells_the_user_and_leaves_nothing_behind() -> TestResult {
    use diset_std::BindError;
    let folder = std::env::temp_dir().join(format!("diset-{}-plain", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("socket");
    let (log, mut seen) = log();
    let bound = answering()
        .on_connect(move |conn: Conn<PingPong>| {
            log.add((conn.credentials().clone(), conn.peer_addr().to_owned()));
            async { Ok(()) }
        })
        .bind_unix(&path)
        .await?;
    assert_eq!(bound.local_addr(), None);
    let running = run(bound);

    let taken = answering().bind_unix(&path).await.err().ok_or("bound twice")?;
    let text = taken.to_string();
    assert!(matches!(taken, BindError::Path { .. }));
    assert!(text.contains("/socket: another process listens on it"), "{text}");
    assert!(path.exists(), "whoever cannot listen removes nothing");

    let client = round_trip(Client::builder_unix(PingPong, &path)).await?;
    let (credentials, peer) = seen.next().await;
    let Credentials::Unix { pid, .. } = credentials else {
        return Err(format!("{credentials:?}").into());
    };
    assert_eq!(pid, i32::try_from(std::process::id()).ok());
    assert_eq!(peer, "unix socket");
    client.close().await;
    running.stop().await;
    assert!(!path.exists(), "the file goes with the service");
    let nobody = Client::builder_unix(PingPong, &path).connect().await;
    let text = nobody.err().ok_or("connected to nobody")?.to_string();
    assert!(text.contains("cannot reach") && text.contains("/socket"), "{text}");
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_of_another_service_is_not_removed() -> TestResult {
    let folder = std::env::temp_dir().join(format!("diset-{}-other", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("socket");
    let older = run(answering().bind_unix(&path).await?);
    // Somebody thinks that it was left behind. The old one still exists, under another name.
    std::fs::rename(&path, folder.join("old"))?;
    let newer = run(answering().bind_unix(&path).await?);
    older.stop().await;
    assert!(path.exists(), "it belongs to the newer service");
    round_trip(Client::builder_unix(PingPong, &path)).await?.close().await;
    newer.stop().await;
    assert!(!path.exists());
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let taken = answering()
        .bind(("127.0.0.1", running.port()), world.server.clone())
        .await;
    let text = taken.err().ok_or("bound twice")?.to_string();
    let address = format!("cannot listen on 127.0.0.1:{}: ", running.port());
    assert!(text.starts_with(&address), "{text}");
    for wrong in ["foo", "localhost:http", "9145"] {
        let unreadable = answering().allow_connect(Rule::everyone()).bind_plain_tcp(wrong).await;
        let text = unreadable.err().ok_or("bound")?.to_string();
        assert!(text.contains(wrong) && text.contains("write host:port"), "{text}");
    }
    let small = diset_std::Limits::SERVER.with_credit(1, 1);
    let misfit = answering()
        .limits(small)
        .bind("127.0.0.1:0", world.server.clone())
        .await;
    let text = misfit.err().ok_or("bound")?.to_string();
    assert!(text.contains("credit"), "{text}");
    Ok(())
}
