//! Several names for a client, who resolves them, and scoped addresses.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use diset_std::tls::ServerTls;
use diset_std::{BadSettings, Client, Ended, Limits};

use super::{Failed, address_of};
use crate::common::*;

async fn named(world: &World, name: &str) -> Result<Running<PingPong>, Failed> {
    let tls = ServerTls::new(world.ca.server(&[name])?, world.ca.authorities())?;
    Ok(run(answering().bind("127.0.0.1:0", tls).await?))
}

#[tokio::test]
async fn names_are_tried_in_order_and_each_must_be_proven() -> TestResult {
    let world = World::new()?;
    let (first, second) = (named(&world, "a.test").await?, named(&world, "b.test").await?);
    let of: Arc<[(&str, SocketAddr)]> = [("a.test", address_of(&first)), ("b.test", address_of(&second))].into();
    let client = |list: &str| {
        let of = Arc::clone(&of);
        let resolver = move |host: String, port: u16| {
            let found = of
                .iter()
                .find(|(name, _)| *name == host && port == 7)
                .map(|(_, address)| *address);
            core::future::ready(
                found
                    .map(|address| vec![address])
                    .ok_or_else(|| io::Error::other("no such name")),
            )
        };
        let client = Client::builder(PingPong, list).reconnect(QUICK).resolver(resolver);
        Ok::<_, Failed>(client.tls(world.tls("alice")?))
    };
    let one = client("a.test:7, b.test:7")?.connect().await?;
    conn_of(&first, &one).await;
    let two = client("b.test:7,a.test:7")?.connect().await?;
    conn_of(&second, &two).await;
    two.close().await;
    // A name that nobody knows does not keep the others from being tried; alone it is told.
    client("c.test:7,a.test:7")?.connect().await?.close().await;
    let text = client("c.test:7")?
        .connect()
        .await
        .err()
        .ok_or("connected")?
        .to_string();
    assert!(text.starts_with("cannot reach c.test:7: no such name; "), "{text}");
    // The first service ends: the client goes to the second.
    first.stop().await;
    conn_of(&second, &one).await;
    one.close().await;
    // What one name must prove another cannot.
    let wrong = client("a.test:7,b.test:7")?.server_name("a.test").connect().await;
    let text = wrong.err().ok_or("connected")?.to_string();
    assert!(
        text.contains("does not prove the name a.test") && text.contains("Connection refused"),
        "{text}"
    );
    second.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_name_that_hangs_or_a_resolver_that_panics_does_not_keep_others_out() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let address = address_of(&running);
    let resolver = move |host: String, _: u16| async move {
        match &*host {
            "hangs.test" => core::future::pending().await,
            "panics.test" => panic!("as the test wants it"),
            "empty.test" => Ok(Vec::new()),
            _ => Ok::<_, io::Error>(vec![address]),
        }
    };
    let client = |list: &str| {
        let client = Client::builder(PingPong, list)
            .resolver(resolver)
            .server_name("localhost");
        Ok::<_, Failed>(client.tls(world.tls("alice")?))
    };
    for list in [
        "hangs.test:1,good.test:1",
        "panics.test:1,empty.test:1,hangs.test:1,good.test:1",
    ] {
        within(list, client(list)?.connect()).await?.close().await;
    }
    let limits = Limits::SERVER.with_handshake(Duration::from_millis(500));
    let list = "hangs.test:1,panics.test:1,empty.test:1";
    let text = within("given up", client(list)?.limits(limits).connect())
        .await
        .err()
        .ok_or("connected")?
        .to_string();
    for expected in [
        "hangs.test:1: the name was not resolved within 500 ms",
        "panics.test:1: the resolver of the program panicked",
        "empty.test:1: the name has no address",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn names_are_resolved_anew_at_each_attempt() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let (good, dead, asked) = (address_of(&running), super::refusing().await?, Count::default());
    let count = asked.clone();
    let client = Client::builder(PingPong, "localhost:1")
        .tls(world.tls("alice")?)
        .reconnect(QUICK)
        .resolver(move |_, _| {
            let address = if count.add() < 2 { dead } else { good };
            core::future::ready(Ok(vec![address]))
        })
        .start()?;
    connected(&client).await;
    assert_eq!(asked.value(), 3);
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_list_that_is_wrong_is_refused_at_once() -> TestResult {
    let world = World::new()?;
    for (list, expected) in [
        ("a:1,,b:1", "`` is not an address: write host:port"),
        ("a:1,b", "`b` is not an address"),
        ("[fe80::1%]:1", "is not an address"),
        (&vec!["a:1"; 17].join(","), "17 addresses are too many: at most 16"),
        ("a:1,b c:1", "`b c` is neither a DNS name nor an IP address"),
    ] {
        let started = Client::builder(PingPong, list).tls(world.tls("alice")?).start();
        let text = started.err().ok_or("started")?.to_string();
        assert!(text.contains(expected), "{text}");
    }
    let unsaid = Client::builder(PingPong, "a:1,b:1").start();
    assert!(matches!(unsaid, Err(BadSettings::NoTls)));
    Ok(())
}

#[tokio::test]
async fn a_scope_works_with_and_without_a_server_name() -> TestResult {
    let world = World::new()?;
    let tls = ServerTls::new(world.ca.server(&["localhost", "::1"])?, world.ca.authorities())?;
    let running = run(answering().bind("[::1]:0", tls).await?);
    let client = |address: &str| Ok::<_, Failed>(Client::builder(PingPong, address).tls(world.tls("alice")?));
    // The loopback interface has the number 1.
    let scoped = format!("[::1%1]:{}", running.port());
    client(&scoped)?.connect().await?.close().await;
    client(&scoped)?.server_name("localhost").connect().await?.close().await;
    running.stop().await;

    for server_name in [None, Some("localhost")] {
        let mut lost = client("[fe80::1%nosuch0]:1")?;
        if let Some(name) = server_name {
            lost = lost.server_name(name);
        }
        let text = lost.connect().await.err().ok_or("connected")?.to_string();
        assert!(text.contains("a network interface `nosuch0`? Its number"), "{text}");
    }
    let unscoped = client("[fe80::1]:1")?.connect().await;
    let why = unscoped.err().ok_or("connected")?;
    assert!(matches!(why, Ended::Unreachable { .. }));
    assert!(
        why.to_string().contains("needs its network interface: [fe80::1%eth0]"),
        "{why}"
    );
    Ok(())
}

/// Where this machine has an address that needs its interface.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_name_of_an_interface_works_like_its_number() -> TestResult {
    let table = std::fs::read_to_string("/proc/net/if_inet6")?;
    let local = table.lines().find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [address, number, _, "20", _, interface] = *columns else {
            return None;
        };
        let address = core::net::Ipv6Addr::from(u128::from_str_radix(address, 16).ok()?);
        Some((address, u32::from_str_radix(number, 16).ok()?, interface.to_owned()))
    });
    let Some((ip, number, interface)) = local else {
        println!("this machine has no such address");
        return Ok(());
    };
    let world = World::new()?;
    let tls = ServerTls::new(
        world.ca.server(&["localhost", &ip.to_string()])?,
        world.ca.authorities(),
    )?;
    let here = core::net::SocketAddrV6::new(ip, 0, 0, number);
    let running = run(answering().bind(here, tls).await?);
    for scope in [interface, number.to_string()] {
        let address = format!("[{ip}%{scope}]:{}", running.port());
        let client = || Ok::<_, Failed>(Client::builder(PingPong, &address).tls(world.tls("alice")?));
        within("by address", client()?.connect()).await?.close().await;
        within("by name", client()?.server_name("localhost").connect())
            .await?
            .close()
            .await;
    }
    running.stop().await;
    Ok(())
}
