//! Impostors at the end of the line: what each of them does, and what the firmware says of it.

use core::net::SocketAddr;
use core::time::Duration;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::cast::Trust;
use crate::impostor::{Impostor, Loot, World};

pub(crate) const VILLAINS: [Impostor; 9] = [
    Impostor::NoCertificate,
    Impostor::NoProof,
    Impostor::DeviceSigned,
    Impostor::ClientOnly,
    Impostor::WrongName,
    Impostor::Expired,
    Impostor::OtherAuthority,
    Impostor::EmptyRecord,
    Impostor::EarlyVerify,
];

/// What the firmware says of it.
pub(crate) fn refusal(crime: Impostor, trust: Trust) -> &'static str {
    use Impostor as I;
    match (crime, trust) {
        (I::NoCertificate | I::NoProof, _) => "Channel(NotProven)",
        (I::EmptyRecord | I::EarlyVerify, _) => "Channel(Unexpected)",
        // To who knows a key, any other key is just another.
        (_, Trust::Key) => "Channel(Certificate(Pin))",
        (I::DeviceSigned | I::OtherAuthority, _) => "Channel(Certificate(Authority))",
        (I::ClientOnly, _) => "Channel(Certificate(Purpose))",
        (I::WrongName, _) => "Channel(Certificate(Name))",
        (I::Expired, _) => "Channel(Certificate(Expired))",
        (other, _) => unreachable!("{other:?} is not in the list"),
    }
}

/// Waits for one client and serves it. Gives its address, and what it got to see.
pub(crate) fn wait_for_one(crime: Impostor, world: &Arc<World>) -> (SocketAddr, Receiver<Loot>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let world = Arc::clone(world);
    let (sender, loot) = channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        // Nobody else is let in.
        drop(listener);
        // A client that does not hang up fails the test.
        let limit = Some(Duration::from_secs(15));
        stream.set_read_timeout(limit).expect("a socket");
        // Whoever waits may have failed already.
        let _ = sender.send(crime.serve(&world, stream));
    });
    (address, loot)
}
