//! The station under an executor: it waits for the service, the clock and the line at the same time.
#![no_std]
#![no_main]

use core::cell::RefCell;

use board::{Board, Uart};
use credentials::{Credentials, Error};
use diset_embedded::tls::{Tls, TlsChannel, TlsError};
use diset_embedded::{
    Buffers, Client, Clock, Config, ConnectError, Event, Identity, Instant, Outbox, Retry, SetupError, Volatile,
};
use embassy_executor::Spawner;
use embassy_time::{Duration, Timer, with_deadline, with_timeout};
use line::{Call, Line, LineError};
use messages::Station as Service;
use static_cell::{ConstStaticCell, StaticCell};
use station::{OUTBOX, Station};
use trust::{Authorities, Secure, Trust as _};

/// What has come over the line while the task does something else.
static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());
static ALARMS: StaticCell<Outbox<OUTBOX, Volatile>> = StaticCell::new();
static LINE: StaticCell<RefCell<Line<Uart>>> = StaticCell::new();

/// The gateway is asked so often, so long apart.
const ASKS: u32 = 8;
const ASK: Duration = Duration::from_millis(250);

type Agent = Client<'static, Service, TlsChannel<'static, Call<'static, Uart>>, Time, Outbox<OUTBOX, Volatile>>;

/// What the credentials make of this image.
struct Own {
    identity: Identity,
    secure: Secure<Authorities>,
}

impl Own {
    fn of(credentials: &Credentials<'static>) -> Result<Self, Error> {
        Ok(Self {
            identity: Identity::from_bytes(*credentials.identity()?),
            secure: Secure::of(credentials)?,
        })
    }
}

#[board::entry]
fn main() -> ! {
    board::executor::run(|spawner: Spawner| match agent() {
        Ok(task) => spawner.spawn(task),
        Err(_) => defmt::panic!("there is one agent"),
    })
}

#[embassy_executor::task]
async fn agent() {
    let Some(board) = Board::take(RING.take()) else {
        defmt::panic!("the board is in use");
    };
    let own = match Credentials::read(board::credentials()).and_then(|credentials| Own::of(&credentials)) {
        Ok(own) => own,
        Err(error) => defmt::panic!("{}", error),
    };
    let mut chance = [0; 12];
    board::random(&mut chance);
    let [a, b, c, d, seed @ ..] = chance;
    let line = LINE.init(RefCell::new(Line::new(board.uart, u32::from_le_bytes([a, b, c, d]))));
    let station = Station::new(board.sensor, board.led);
    match run(Call::over(line), u64::from_le_bytes(seed), own, station).await {
        Ok(()) => board::restart(),
        Err(error) => defmt::panic!("the settings do not fit together: {}", error),
    }
}

/// Until the station is told to reboot.
async fn run(mut call: Call<'static, Uart>, seed: u64, mut own: Own, mut station: Station) -> Result<(), SetupError> {
    let config = Config {
        limits: station::LIMITS,
        reconnect: station::RECONNECT,
        ..Config::new(own.identity, seed)
    };
    let outbox = ALARMS.init(Outbox::with_inbox());
    let mut client = Client::new(Service, config, Time, BUFFERS.take())?.with_outbox(outbox)?;
    station.started(&mut client);
    while until_retry(&mut client, &mut station).await {
        if let Err(error) = dial(&mut call).await {
            defmt::warn!("no gateway: {}", error);
            client.unreachable();
            continue;
        }
        match connect(&mut client, call, &mut own.secure).await {
            Ok(()) => converse(&mut client, &mut station).await,
            Err(error) => {
                defmt::warn!("not connected: {}", error);
                if matches!(&error, ConnectError::Channel(error) if trust::is_impostor(error)) {
                    station.met_impostor(&mut client, now());
                }
            }
        }
        // The next channel needs what this one has: the buffers, and the line.
        if let Some(channel) = client.take_channel() {
            trust::log_fault(channel.fault());
        }
        call.hang_up();
    }
    Ok(())
}

/// Goes on with what needs no connection until it is time to connect; false when it is time to restart.
async fn until_retry(client: &mut Agent, station: &mut Station) -> bool {
    while !station.restarts(client.stored(), now()) {
        station.report(client, now());
        match with_deadline(wake(station), client.wait_for_retry()).await {
            Ok(Retry::At(_)) => return true,
            // It is not to come back, and measures on until it is reset: a restart would only ask again.
            Ok(Retry::Never) => Timer::at(wake(station)).await,
            Err(_) => {}
        }
    }
    false
}

async fn connect(
    client: &mut Agent,
    call: Call<'static, Uart>,
    secure: &mut Secure<Authorities>,
) -> Result<(), ConnectError<TlsError>> {
    let verifier = secure.trust.verifier();
    match Tls::new(call, secure.device.handshake(&verifier), secure.records) {
        Ok(tls) => client.connect(tls).await,
        Err(error) => {
            client.unreachable();
            Err(ConnectError::Channel(error))
        }
    }
}

/// Asks the gateway for a connection to the service. One that cannot reach the service answers, and ends it.
async fn dial(call: &mut Call<'static, Uart>) -> Result<(), LineError> {
    call.ask()?;
    for _ in 0..ASKS {
        if let Ok(answer) = with_timeout(ASK, call.answered()).await {
            return answer;
        }
        call.ask_again()?;
    }
    call.hang_up();
    Err(LineError::TimedOut)
}

/// One connection, to its end.
async fn converse(client: &mut Agent, station: &mut Station) {
    loop {
        station.report(client, now());
        if station.leaves(client.stored(), now()) {
            client.close(station::GOODBYE);
        }
        // Dropping `next` loses nothing.
        let Ok(event) = with_deadline(wake(station), client.next()).await else {
            continue;
        };
        match event {
            Some(Event::Connected(trid)) => station.connected(trid),
            Some(Event::Message(message)) => station.told(message, now()),
            Some(Event::Outcome { number, outcome }) => station.failed(number, &outcome),
            Some(Event::Dropped(dropped)) => {
                defmt::warn!("dropped: {}", dropped);
                if dropped.retry() == Retry::Never {
                    defmt::error!("the service does not want this station back: somebody must see to it");
                }
                station.dropped(client, now());
                return;
            }
            Some(_) => {}
            None => return,
        }
    }
}

fn now() -> u64 {
    board::clock::now()
}

/// When the station has something to do.
fn wake(station: &Station) -> embassy_time::Instant {
    let due = station.wake().map(embassy_time::Instant::from_millis);
    due.unwrap_or(embassy_time::Instant::MAX)
}

/// The clock of the client.
struct Time;

impl Clock for Time {
    fn now(&self) -> Instant {
        Instant::from_millis(now())
    }

    async fn sleep_until(&mut self, time: Instant) {
        Timer::at(embassy_time::Instant::from_millis(time.as_millis())).await;
    }
}
