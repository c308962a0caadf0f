//! Where a channel ends: its records are used up, or it is closed.

use core::cell::Cell;
use std::io::{Read, Write};

use diset_embedded::tls::{PinnedAuthority, TlsChannel, TlsError, Validity};

use super::honest::rustls_server_with;
use super::line::{End, Line, line};
use super::{WAYS, Way, close, opened, read, write};
use crate::impostor::World;
use crate::impostor::certificates::NAME;

/// As few as there may be, and those of them that are there for the end.
const MOST: u32 = 64;
const LAST: u32 = 32;

thread_local! {
    /// How often the line of this thread was hung up.
    static HUNG_UP: Cell<u32> = const { Cell::new(0) };
}

pub(crate) fn hang_up(line: &mut Line) {
    HUNG_UP.set(HUNG_UP.get() + 1);
    line.end.end();
}

fn limited<R>(way: Way, serve: impl FnOnce(&World, End) -> R + Send, then: impl FnOnce(&mut TlsChannel<'_, Line>)) -> R
where
    R: Send,
{
    let world = World::new();
    let (client, server) = line();
    std::thread::scope(|scope| {
        let world = &world;
        let server = scope.spawn(move || serve(world, server));
        let authorities: [&[u8]; 1] = [&world.authority.certificate];
        let rule = PinnedAuthority::new(&authorities, NAME, Validity::NotChecked);
        assert_eq!(opened(world, &rule, MOST, way, client, then), Ok(()), "{way:?}");
        server.join().expect("the server has not panicked")
    })
}

/// Reads to an end in order, and says `bye`.
fn hear(world: &World, end: End) -> Vec<u8> {
    let mut server = rustls_server_with(world, end, 0);
    let mut all = Vec::new();
    server.read_to_end(&mut all).expect("close_notify");
    server.write_all(b"bye").expect("the client is there");
    all
}

// PROTOCOL G-6
#[test]
fn no_record_leaves_beyond_the_limit_and_the_last_tells_the_end() {
    for way in WAYS {
        let got = limited(way, hear, |channel| {
            assert_eq!(channel.max_records(), Some(MOST));
            for round in 1..MOST {
                assert_eq!(channel.is_worn(), round > MOST - LAST, "round {round}, {way:?}");
                write(channel, way, b"x").expect("the server takes it");
            }
            assert_eq!(write(channel, way, b"x"), Err(TlsError::Worn), "{way:?}");
            assert_eq!(write(channel, way, b"x"), Err(TlsError::Worn), "it stays so");
            assert_eq!(channel.fault(), None, "the other direction goes on");
            close(channel, way).expect("one record is left for that");
            assert_eq!(read(channel, way, &mut [0; 8]), Ok(3), "what the server says to that");
        });
        assert_eq!(got.len(), MOST as usize - 1, "{way:?}");
    }
}

#[test]
fn no_record_is_taken_beyond_the_limit() {
    let serve = |world: &World, end: End| {
        let mut server = rustls_server_with(world, end, 0);
        let mut one = [0];
        server.read_exact(&mut one).expect("the client begins");
        for _ in 0..=MOST {
            server.write_all(b"y").expect("the client is there");
            server.flush().expect("a record each");
        }
        // The client ends it.
        let _ = server.read(&mut one);
    };
    for way in WAYS {
        limited(way, serve, |channel| {
            write(channel, way, b"x").expect("the server takes it");
            for round in 1..=MOST {
                assert_eq!(channel.is_worn(), round > MOST - LAST, "round {round}, {way:?}");
                assert_eq!(read(channel, way, &mut [0; 8]), Ok(1));
            }
            assert_eq!(read(channel, way, &mut [0; 8]), Err(TlsError::Worn), "{way:?}");
            assert_eq!(channel.fault(), Some(TlsError::Worn));
        });
    }
}

// PROTOCOL X-4
#[test]
fn the_transport_is_hung_up_once_and_after_close_notify() {
    for way in WAYS {
        let got = limited(way, hear, |channel| {
            write(channel, way, b"all").expect("the server takes it");
            assert_eq!(HUNG_UP.replace(0), 0, "not before it is closed");
            close(channel, way).expect("the line stands");
            assert_eq!(HUNG_UP.get(), 1, "{way:?}");
            close(channel, way).expect("again");
            assert_eq!(HUNG_UP.replace(0), 1, "once");
            assert_eq!(read(channel, way, &mut [0; 8]), Ok(3), "reading goes on");
        });
        // What leaves after the hanging up is lost, so close_notify had left.
        assert_eq!(got, b"all");
    }
}
