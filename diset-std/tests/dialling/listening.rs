//! Several sockets of one service.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use diset_std::Client;
use tokio::net::TcpListener;

use crate::common::*;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

async fn is_served_at(world: &World, address: SocketAddr) -> TestResult {
    let client = Client::builder(PingPong, &address.to_string()).server_name("localhost");
    let mut client = Neighbour::new(client.tls(world.tls("alice")?)).await?;
    client.is_served().await;
    client.client.close().await;
    Ok(())
}

#[tokio::test]
async fn a_service_listens_on_every_address_of_a_list() -> TestResult {
    let world = World::new()?;
    for (list, expected) in [
        (vec![V4, V6], vec![V4, V6]),
        (vec![V6, V4, V6], vec![V6, V4]),
        (
            vec![V4, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))],
            vec![V4, IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))],
        ),
    ] {
        let list: Vec<_> = list.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        let bound = answering().bind(&*list, world.server.clone()).await?;
        let addresses = bound.local_addrs();
        assert_eq!(addresses.iter().map(SocketAddr::ip).collect::<Vec<_>>(), expected);
        assert!(
            addresses.iter().all(|address| address.port() == addresses[0].port()),
            "one port"
        );
        assert_eq!(bound.local_addr(), addresses.first().copied());
        let running = run(bound);
        for address in addresses {
            is_served_at(&world, address).await?;
        }
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn any_address_of_both_families_is_both_in_any_order() -> TestResult {
    let world = World::new()?;
    for list in [[ANY_V4, ANY_V6], [ANY_V6, ANY_V4]] {
        let list = list.map(|ip| SocketAddr::new(ip, 0));
        let bound = answering().bind(&list[..], world.server.clone()).await?;
        let port = bound.local_addr().ok_or("no address")?.port();
        let running = run(bound);
        for ip in [V4, V6] {
            is_served_at(&world, SocketAddr::new(ip, port)).await?;
        }
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn an_address_of_another_machine_is_left_out_and_one_that_is_taken_is_an_error() -> TestResult {
    let world = World::new()?;
    let foreign: SocketAddr = "[2001:db8::1]:0".parse()?;
    let bound = answering()
        .bind(&[foreign, SocketAddr::new(V4, 0)][..], world.server.clone())
        .await?;
    let addresses = bound.local_addrs();
    assert_eq!(addresses.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [V4]);
    let both = answering()
        .bind(&[SocketAddr::new(V6, 0), addresses[0]][..], world.server.clone())
        .await;
    let text = both.err().ok_or("bound")?.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on {}: ", addresses[0])),
        "{text}"
    );
    let none = answering().bind(foreign, world.server.clone()).await;
    let text = none.err().ok_or("bound")?.to_string();
    assert!(
        text.contains("2001:db8::1") && text.contains("of this machine"),
        "{text}"
    );
    let nothing: &[SocketAddr] = &[];
    assert!(answering().bind(nothing, world.server.clone()).await.is_err());
    Ok(())
}

#[tokio::test]
async fn sockets_that_listen_already_are_taken() -> TestResult {
    let world = World::new()?;
    let sockets = [V4, V6].map(|ip| std::net::TcpListener::bind((ip, 0)));
    let [one, two] = sockets;
    let bound = answering().bind_listeners([one?, two?], world.server.clone())?;
    let addresses = bound.local_addrs();
    assert_eq!(addresses.len(), 2);
    let running = run(bound);
    for address in &addresses {
        is_served_at(&world, *address).await?;
    }
    running.stop().await;
    // They close with the service.
    TcpListener::bind(addresses[0]).await?;
    let none = answering()
        .bind_listeners([], world.server.clone())
        .err()
        .ok_or("bound")?;
    assert!(none.to_string().contains("there is none"), "{none}");
    Ok(())
}
