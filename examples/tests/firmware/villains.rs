//! Impostors at the end of the line: what each of them does, and what the firmware says of it.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::cast::Trust;
use crate::impostor::{Impostor, Loot, World};

pub(crate) const VILLAINS: [Impostor; 10] = [
    Impostor::NoCertificate,
    Impostor::NoProof,
    Impostor::WrongSignature,
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
        (I::WrongSignature, _) => "Channel(Signature)",
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

/// Whether the station raises the alarm about it: a date that is over may be a renewal that was forgotten.
pub(crate) fn is_alarming(refusal: &str) -> bool {
    refusal != "Channel(Certificate(Expired))"
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

/// Waits for one client and says a byte to it now and then, of a record that it never ends, until the client hangs up.
pub(crate) fn drip() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (sender, end) = channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        drop(listener);
        let pause = Some(Duration::from_millis(200));
        stream.set_read_timeout(pause).expect("a socket");
        let mut record = [&[22, 3, 3, 3, 0][..], &[0; 0x300]].concat().into_iter();
        let mut hello = [0; 512];
        loop {
            match stream.read(&mut hello) {
                Ok(1..) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let byte = record.next().expect("the client waits for ever");
                    // If it is gone, the next read says so.
                    let _ = stream.write_all(&[byte]);
                }
                _ => break,
            }
        }
        // Whoever waits may have failed already.
        let _ = sender.send(());
    });
    (address, end)
}
