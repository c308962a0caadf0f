//! The station without an executor: one loop that reports, takes commands and sleeps. The programs beside differ in how
//! they come to a channel.
#![no_std]

mod way;

use core::cell::RefCell;

use board::{Board, Uart, clock};
use credentials::{Credentials, Error};
use diset_embedded::{
    Buffers, Client, Config, ConnectError, Event, Identity, Instant, NoClock, Outbox, Retry, SetupError, Volatile,
};
use line::{Call, Line, Port};
use messages::Station as Service;
use static_cell::{ConstStaticCell, StaticCell};
use station::{OUTBOX, Station};

pub use trust::Secure;
pub use way::{Trusted, Way};

/// What has come over the line while the loop does something else.
static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());
static ALARMS: StaticCell<Outbox<OUTBOX, Volatile>> = StaticCell::new();
static LINE: StaticCell<RefCell<Line<Uart>>> = StaticCell::new();

/// The client of the station.
pub type Agent<C> = Client<'static, Service, C, NoClock, Outbox<OUTBOX, Volatile>>;

/// The whole program, once the way to a channel is made of the credentials.
pub fn main<W: Way>(way: impl FnOnce(&Credentials<'static>) -> Result<W, Error>) -> ! {
    let Some(board) = Board::take(RING.take()) else {
        defmt::panic!("the board is in use");
    };
    let made = Credentials::read(board::credentials())
        .and_then(|credentials| Ok((credentials.identity()?, way(&credentials)?)));
    let (identity, way) = match made {
        Ok(made) => made,
        Err(error) => defmt::panic!("{}", error),
    };
    let mut chance = [0; 12];
    board::random(&mut chance);
    let [a, b, c, d, seed @ ..] = chance;
    let line = LINE.init(RefCell::new(Line::new(board.uart, u32::from_le_bytes([a, b, c, d]))));
    let config = Config {
        limits: station::LIMITS,
        reconnect: station::RECONNECT,
        ..Config::new(Identity::from_bytes(*identity), u64::from_le_bytes(seed))
    };
    match run(line, config, Station::new(board.sensor, board.led), way) {
        Ok(()) => board::restart(),
        Err(error) => defmt::panic!("the settings do not fit together: {}", error),
    }
}

/// Until the station is told to reboot.
fn run<W: Way>(
    line: &'static RefCell<Line<Uart>>,
    config: Config<'static>,
    mut station: Station,
    mut way: W,
) -> Result<(), SetupError> {
    let outbox = ALARMS.init(Outbox::with_inbox());
    let mut client = Client::blocking(Service, config, BUFFERS.take())?.with_outbox(outbox)?;
    let mut call = Call::over(line);
    station.started(&mut client);
    loop {
        if !client.is_busy() {
            match client.retry() {
                _ if station.restarts(client.stored(), clock::now()) => return Ok(()),
                Retry::At(time) if time.as_millis() <= clock::now() => {
                    connect(&mut way, &mut client, &mut station, &mut call);
                }
                // One that is not to come back measures on until it is reset: a restart would only ask again.
                Retry::At(_) | Retry::Never => {}
            }
        }
        let now = clock::now();
        take_events::<W>(&mut client, &mut station, &mut call, now);
        station.report(&mut client, now);
        if station.leaves(client.stored(), now) {
            client.close(Instant::from_millis(now), station::GOODBYE);
        }
        client.flush(Instant::from_millis(now));
        sleep(&client, &station, line);
    }
}

fn connect<W: Way>(way: &mut W, client: &mut Agent<W::Channel>, station: &mut Station, call: &mut Call<'static, Uart>) {
    let now = || Instant::from_millis(clock::now());
    if let Err(error) = call.dial() {
        defmt::warn!("no gateway: {}", error);
        client.unreachable(now());
        return;
    }
    let begun = now();
    call.give_up_at(begun.after(station::HANDSHAKE).as_millis());
    let connected = way.connect(client, *call, begun);
    call.give_up_at(u64::MAX);
    if let Err(error) = connected {
        defmt::warn!("not connected: {}", error);
        call.hang_up();
        if matches!(&error, ConnectError::Channel(error) if W::is_impostor(error)) {
            station.met_impostor(client, clock::now());
        }
    }
}

fn take_events<W: Way>(
    client: &mut Agent<W::Channel>,
    station: &mut Station,
    call: &mut Call<'static, Uart>,
    now: u64,
) {
    while let Some(event) = client.poll(Instant::from_millis(now)) {
        match event {
            Event::Connected(trid) => station.connected(trid),
            Event::Message(message) => station.told(message, now),
            Event::Outcome { number, outcome } => station.failed(number, &outcome),
            Event::Dropped(dropped) => {
                defmt::warn!("dropped: {}", dropped);
                if dropped.retry() == Retry::Never {
                    defmt::error!("the service does not want this station back: somebody must see to it");
                }
                // The next channel needs what this one has: the line, and with TLS the buffers.
                if let Some(channel) = client.take_channel() {
                    W::log_fault(&channel);
                }
                call.hang_up();
                station.dropped(client, now);
            }
            _ => {}
        }
    }
}

/// Until something is due or comes over the line.
fn sleep<C>(client: &Agent<C>, station: &Station, line: &RefCell<Line<Uart>>) {
    let retry = match client.retry() {
        Retry::At(time) if !client.is_busy() => Some(time),
        _ => None,
    };
    let engine = station::earlier(client.wake().map(Instant::as_millis), retry.map(Instant::as_millis));
    let until = station::earlier(engine, station.wake());
    line.borrow_mut().port().wait(until.unwrap_or(u64::MAX));
}
