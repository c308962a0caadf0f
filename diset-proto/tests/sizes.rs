//! What an engine takes, in bytes. The figures are printed; what is asserted is that nothing is hidden in them: the
//! engine is its parts, and its buffers are the caller's. That nothing is allocated shows the crate itself: without the
//! feature `alloc` it is built for targets that have no allocator.

use core::mem::size_of;

use diset_proto::sim::Pair;
use diset_proto::{Agreement, Connection, Deframer, MessageOf, Reconnect, Schema, define_service};
use serde::{Deserialize, Serialize};

#[test]
fn engines_are_small_and_buffers_are_the_callers() {
    let lent = size_of::<Connection<&mut [u8]>>();
    let none = size_of::<Connection<[u8; 0]>>();
    println!("Connection<&mut [u8]>, either role: {lent}");
    println!("Connection<[u8; 0]>:                {none}");
    println!(
        "Connection<[u8; 768]>:              {}",
        size_of::<Connection<[u8; 768]>>()
    );
    println!("  of which the table of messages:   {}", size_of::<Agreement>());
    println!(
        "Deframer<&mut [u8]>:                {}",
        size_of::<Deframer<&mut [u8]>>()
    );
    println!("Reconnect:                          {}", size_of::<Reconnect>());
    println!(
        "a client with the least buffers:    {}",
        none + 768 + size_of::<Deframer<[u8; 516]>>()
    );
    assert_eq!(size_of::<Connection<[u8; 768]>>(), none + 768);
    assert!(none <= 1024, "an engine without its buffer takes {none} bytes");
}

#[derive(Serialize, Deserialize, Schema)]
struct Ping {
    id: i64,
}
#[derive(Serialize, Deserialize, Schema)]
struct Pong {
    id: i64,
}
define_service! { PingPong = "Framework/PingPong"; from_client: [Ping], from_service: [Pong] }

/// What a connect and a Ping take on the wire, before encryption.
#[test]
fn bytes_on_the_wire() {
    let mut pair = Pair::of::<PingPong, PingPong>().start();
    pair.settle();
    let connect = [pair.to_service.carried(), pair.to_client.carried()];
    println!(
        "connect: {} bytes from the client, {} from the service",
        connect[0], connect[1]
    );
    println!("         in {} flights", pair.flights());
    pair.client
        .conn
        .send(<Ping as MessageOf<PingPong>>::NUMBER, &Ping { id: 7 })
        .unwrap();
    pair.settle();
    let ping = pair.to_service.carried() - connect[0];
    println!("Ping {{ id: 7 }}: {ping} bytes");
    // Length, head, number, and one byte of payload.
    assert_eq!(ping, 3 + 1, "PROTOCOL M-1");
    assert_eq!(pair.flights(), 2 + 1);
}
