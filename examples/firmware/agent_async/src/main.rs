//! The station under an executor: it waits for the service, the clock and the line at the same time.
#![no_std]
#![no_main]

use core::cell::RefCell;

use board::{Board, Uart};
use diset_embedded::{
    Buffers, Client, Clock, Config, Event, Identity, Instant, Limits, Retry, SetupError, TrustedLine,
};
use embassy_executor::Spawner;
use embassy_time::{Duration, Timer, with_deadline, with_timeout};
use line::{Call, Line, LineError};
use messages::Station as Service;
use static_cell::{ConstStaticCell, StaticCell};
use station::Station;

/// What has come over the line while the task does something else.
static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());
static LINE: StaticCell<RefCell<Line<Uart>>> = StaticCell::new();

/// The gateway is asked so often, so long apart.
const ASKS: u32 = 8;
const ASK: Duration = Duration::from_millis(250);

type Agent = Client<'static, Service, TrustedLine<Call<'static, Uart>>, Time>;

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
    let mut chance = [0; 12];
    board::random(&mut chance);
    let [a, b, c, d, seed @ ..] = chance;
    let line = LINE.init(RefCell::new(Line::new(board.uart, u32::from_le_bytes([a, b, c, d]))));
    let station = Station::new(board.sensor, board.led);
    match run(Call::over(line), u64::from_le_bytes(seed), station).await {
        Ok(()) => board::restart(),
        Err(error) => defmt::panic!("the settings do not fit together: {}", error),
    }
}

/// Until the station is told to reboot.
async fn run(mut call: Call<'static, Uart>, seed: u64, mut station: Station) -> Result<(), SetupError> {
    let config = Config {
        limits: Limits::CHIP.with_max_silence(station::SILENCE),
        reconnect: station::RECONNECT,
        ..Config::new(Identity::from_bytes(*b"station with fut"), seed)
    };
    let mut client = Client::new(Service, config, Time, BUFFERS.take())?;
    while let Retry::At(_) = client.wait_for_retry().await {
        if let Err(error) = dial(&mut call).await {
            defmt::warn!("no gateway: {}", error);
            client.unreachable();
            continue;
        }
        match client.connect(TrustedLine::new(call).ending_with(Call::hang_up)).await {
            Ok(()) => converse(&mut client, &mut station).await,
            Err(error) => defmt::warn!("not connected: {}", defmt::Debug2Format(&error)),
        }
        call.hang_up();
        if station.is_to_reboot() {
            return Ok(());
        }
    }
    defmt::panic!("the service will not have this station: somebody must see to it")
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
    let mut is_closing = false;
    loop {
        station.report(client, now());
        if station.is_to_reboot() && !is_closing {
            client.close(station::GOODBYE);
            is_closing = true;
        }
        let wake = embassy_time::Instant::from_millis(station.wake().unwrap_or(u64::MAX));
        // Dropping `next` loses nothing.
        let Ok(event) = with_deadline(wake, client.next()).await else {
            continue;
        };
        match event {
            Some(Event::Connected(trid)) => station.connected(trid),
            Some(Event::Message(message)) => station.told(message, now()),
            Some(Event::Dropped(dropped)) => {
                defmt::warn!("dropped: {}", dropped);
                station.dropped(now());
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
