//! All that a client can be asked to do, in one image. It is not run: `./ci.sh panics` looks in its call graph for ways
//! from `diset-proto` and `diset-embedded` to a panic.
//!
//! Each way to drive a client is here with each kind of channel, with an outbox and without.
#![no_std]
#![no_main]

mod asynch;
mod deliberate;
mod polled;
mod secrets;
mod service;

use core::cell::RefCell;

use board::{Board, Uart};
use diset_embedded::tls::TlsBuffers;
use diset_embedded::{Config, Identity, Instant, Outbox, Volatile};
use line::{Call, Line};
use static_cell::ConstStaticCell;

static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static RECORDS: TlsBuffersCell = TlsBuffersCell::new(TlsBuffers::new());

type TlsBuffersCell = ConstStaticCell<TlsBuffers>;

#[board::entry]
fn main() -> ! {
    let Some(board) = Board::take(RING.take()) else {
        defmt::panic!("the board is in use");
    };
    let mut chance = [0; 12];
    board::random(&mut chance);
    let [a, b, c, d, seed @ ..] = chance;
    deliberate::all(a);
    service::play(seed);
    let line = RefCell::new(Line::new(board.uart, u32::from_le_bytes([a, b, c, d])));
    let config = Config {
        args: &[("name", diset_embedded::Arg::Text("surface"))],
        ..Config::new(Identity::from_bytes(*b"surface surface "), u64::from_le_bytes(seed))
    };
    let records = &*RECORDS.take();
    let mut outbox: Outbox<256, Volatile> = Outbox::with_inbox();
    let call: Call<'_, Uart> = Call::over(&line);
    loop {
        polled::trusted(call, config);
        polled::over_tls(call, config, &mut outbox, records);
        asynch::trusted(call, config);
        asynch::over_tls(call, config, &mut outbox, records);
    }
}

fn now() -> Instant {
    Instant::from_millis(board::clock::now())
}
