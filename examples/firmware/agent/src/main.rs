//! The station without an executor: one loop that reports, takes commands and sleeps.
#![no_std]
#![no_main]

use core::cell::RefCell;

use board::{Board, Uart, clock};
use diset_embedded::{Buffers, Client, Config, Event, Identity, Instant, Limits, Retry, SetupError, TrustedLine};
use line::{Call, Line, Port};
use messages::Station as Service;
use static_cell::ConstStaticCell;
use station::Station;

/// What has come over the line while the loop does something else.
static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());

type Agent<'l> = Client<'static, Service, TrustedLine<Call<'l, Uart>>>;

#[board::entry]
fn main() -> ! {
    let Some(board) = Board::take(RING.take()) else {
        defmt::panic!("the board is in use");
    };
    let mut chance = [0; 12];
    board::random(&mut chance);
    let [a, b, c, d, seed @ ..] = chance;
    let line = RefCell::new(Line::new(board.uart, u32::from_le_bytes([a, b, c, d])));
    let station = Station::new(board.sensor, board.led);
    match run(&line, u64::from_le_bytes(seed), station) {
        Ok(()) => board::restart(),
        Err(error) => defmt::panic!("the settings do not fit together: {}", error),
    }
}

/// Until the station is told to reboot.
fn run(line: &RefCell<Line<Uart>>, seed: u64, mut station: Station) -> Result<(), SetupError> {
    let config = Config {
        limits: Limits::CHIP.with_max_silence(station::SILENCE),
        reconnect: station::RECONNECT,
        ..Config::new(Identity::from_bytes(*b"station blocking"), seed)
    };
    let mut client = Client::blocking(Service, config, BUFFERS.take())?;
    let mut call = Call::over(line);
    let mut is_closing = false;
    loop {
        let now = clock::now();
        if !client.is_busy() {
            match client.retry() {
                _ if station.is_to_reboot() => return Ok(()),
                Retry::At(time) if time.as_millis() <= now => connect(&mut client, &mut call),
                Retry::At(_) => {}
                Retry::Never => defmt::panic!("the service will not have this station: somebody must see to it"),
            }
        }
        take_events(&mut client, &mut station, now);
        station.report(&mut client, now);
        if station.is_to_reboot() && !is_closing {
            client.close(Instant::from_millis(now), station::GOODBYE);
            is_closing = true;
        }
        client.flush(Instant::from_millis(now));
        sleep(&client, &station, line);
    }
}

fn connect<'l>(client: &mut Agent<'l>, call: &mut Call<'l, Uart>) {
    let now = || Instant::from_millis(clock::now());
    if let Err(error) = call.dial() {
        defmt::warn!("no gateway: {}", error);
        client.unreachable(now());
        return;
    }
    if let Err(error) = client.connect(TrustedLine::new(*call).ending_with(Call::hang_up), now()) {
        defmt::warn!("not connected: {}", defmt::Debug2Format(&error));
        call.hang_up();
    }
}

fn take_events(client: &mut Agent<'_>, station: &mut Station, now: u64) {
    while let Some(event) = client.poll(Instant::from_millis(now)) {
        match event {
            Event::Connected(trid) => station.connected(trid),
            Event::Message(message) => station.told(message, now),
            Event::Dropped(dropped) => {
                defmt::warn!("dropped: {}", dropped);
                station.dropped(now);
                if let Some(channel) = client.take_channel() {
                    channel.into_inner().hang_up();
                }
            }
            _ => {}
        }
    }
}

/// Until something is due or comes over the line.
fn sleep(client: &Agent<'_>, station: &Station, line: &RefCell<Line<Uart>>) {
    let retry = match client.retry() {
        Retry::At(time) if !client.is_busy() => Some(time),
        _ => None,
    };
    let engine = [client.wake(), retry]
        .into_iter()
        .flatten()
        .map(Instant::as_millis)
        .min();
    let until = [engine, station.wake()].into_iter().flatten().min();
    line.borrow_mut().port().wait(until.unwrap_or(u64::MAX));
}
