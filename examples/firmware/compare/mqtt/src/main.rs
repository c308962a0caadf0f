//! The station with MQTT 5 in place of diset, for the table of `./ci.sh size` only: minimq over the same TLS, line,
//! executor, logs and messages as `agent_async`. Readings go with QoS 0, alarms with QoS 1 in a session of the broker's,
//! commands come by subscription. What a payload is, both sides have to know.
#![no_std]
#![no_main]

mod io;

use core::cell::RefCell;

use board::{Board, Led, Sensor, Uart};
use credentials::{Credentials, Error};
use diset_embedded::Open as _;
use diset_embedded::tls::{Tls, TlsChannel};
use embassy_executor::Spawner;
use embassy_time::{Duration, Instant, Timer, with_deadline, with_timeout};
use line::{Call, Line, LineError};
use messages::{Alarm, AlarmKind, Blink, Reading, SetInterval};
use minimq::{Buffers, ConfigBuilder, ConnectEvent, Connection, Publication, QoS, Session, TopicFilter};
use serde::Serialize;
use static_cell::{ConstStaticCell, StaticCell};
use trust::{Authorities, Secure, Trust as _};

use crate::io::Io;

static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static LINE: StaticCell<RefCell<Line<Uart>>> = StaticCell::new();
/// As long as the buffers of the agents: input and output.
static RECEIVED: ConstStaticCell<[u8; 516]> = ConstStaticCell::new([0; 516]);
static SENT: ConstStaticCell<[u8; 768]> = ConstStaticCell::new([0; 768]);

const ASKS: u32 = 8;
const ASK: Duration = Duration::from_millis(250);
/// The service keeps the session so many seconds.
const SESSION: u32 = 3600;
/// Seconds.
const KEEP_ALIVE: u16 = 2;
const PAUSE: Duration = Duration::from_millis(500);

const INTERVAL: &str = "station/interval";
const BLINK: &str = "station/blink";
const REBOOT: &str = "station/reboot";

struct Own {
    secure: Secure<Authorities>,
    name: [u8; 16],
}

impl Own {
    fn of(credentials: &Credentials<'static>) -> Result<Self, Error> {
        Ok(Self {
            secure: Secure::of(credentials)?,
            name: *credentials.identity()?,
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
    let mut own = match Credentials::read(board::credentials()).and_then(|credentials| Own::of(&credentials)) {
        Ok(own) => own,
        Err(error) => defmt::panic!("{}", error),
    };
    let mut chance = [0; 4];
    board::random(&mut chance);
    let line = LINE.init(RefCell::new(Line::new(board.uart, u32::from_le_bytes(chance))));
    let mut call = Call::over(line);
    let name = core::str::from_utf8(&own.name).unwrap_or("station");
    let Ok(config) = ConfigBuilder::new(Buffers::new(RECEIVED.take(), SENT.take())).client_id(name) else {
        defmt::panic!("the name is too long");
    };
    let config = config.keepalive_interval(KEEP_ALIVE).session_expiry_interval(SESSION);
    let mut session = Session::new(config);
    let mut station = Station::new(board.sensor, board.led);
    loop {
        if dial(&mut call).await.is_ok()
            && let Some(channel) = open(call, &mut own.secure).await
        {
            match session.connect(Io(channel)).await {
                Ok(mut conn) => station.converse(&mut conn).await,
                Err(_) => defmt::warn!("not connected"),
            }
            station.raise(AlarmKind::Offline);
        }
        call.hang_up();
        Timer::after(PAUSE).await;
    }
}

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

async fn open(
    call: Call<'static, Uart>,
    secure: &mut Secure<Authorities>,
) -> Option<TlsChannel<'static, Call<'static, Uart>>> {
    let verifier = secure.trust.verifier();
    let opened = match Tls::new(call, secure.device.handshake(&verifier), secure.records) {
        Ok(tls) => tls.open().await,
        Err(error) => Err(error),
    };
    opened
        .inspect_err(|error| defmt::warn!("not connected: {}", error))
        .ok()
}

struct Station {
    sensor: Sensor,
    led: Led,
    interval: Duration,
    next: Instant,
    readings: u32,
    connections: u32,
    alarms: u32,
    alarm: Option<Alarm>,
}

type Conn<'a> = Connection<'a, 'static, Io>;

impl Station {
    fn new(sensor: Sensor, led: Led) -> Self {
        let mut station = Self {
            sensor,
            led,
            interval: Duration::from_secs(1),
            next: Instant::MIN,
            readings: 0,
            connections: 0,
            alarms: 0,
            alarm: None,
        };
        station.raise(AlarmKind::Started);
        station
    }

    fn raise(&mut self, kind: AlarmKind) {
        self.alarm = Some(Alarm {
            number: self.alarms,
            uptime: now(),
            kind,
        });
        self.alarms = self.alarms.wrapping_add(1);
    }

    /// One connection, to its end.
    async fn converse(&mut self, conn: &mut Conn<'_>) {
        defmt::info!("connected");
        self.connections = self.connections.wrapping_add(1);
        if conn.connect_event() == ConnectEvent::Connected {
            let topics = [INTERVAL, BLINK, REBOOT].map(TopicFilter::new);
            if conn.subscribe(&topics, &[]).await.is_err() {
                return;
            }
        }
        loop {
            if self.report(conn).await.is_none() {
                return;
            }
            match with_deadline(self.next, conn.recv()).await {
                Ok(Ok(message)) => match message.topic() {
                    REBOOT => {
                        let _ = conn.disconnect().await;
                        board::restart()
                    }
                    topic => self.told(topic, message.payload()),
                },
                Ok(Err(_)) => {
                    defmt::warn!("dropped");
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Sends what is due; `None` when the connection is over.
    async fn report(&mut self, conn: &mut Conn<'_>) -> Option<()> {
        if let Some(alarm) = self.alarm
            && conn.can_publish(QoS::AtLeastOnce)
        {
            publish(conn, "station/alarm", QoS::AtLeastOnce, &alarm).await?;
            self.alarm = None;
        }
        while self.next <= Instant::now() {
            self.next = self.next.max(Instant::now()) + self.interval;
            let reading = self.reading();
            publish(conn, "station/reading", QoS::AtMostOnce, &reading).await?;
        }
        Some(())
    }

    fn reading(&mut self) -> Reading {
        let measured = self.sensor.measure();
        let number = self.readings;
        self.readings = number.wrapping_add(1);
        Reading {
            number,
            uptime: now(),
            celsius: measured.celsius,
            millivolts: measured.millivolts,
            connections: self.connections,
        }
    }

    fn told(&mut self, topic: &str, payload: &[u8]) {
        match topic {
            INTERVAL => {
                if let Ok(set) = postcard::from_bytes::<SetInterval>(payload) {
                    defmt::info!("a reading each {=u32} ms", set.milliseconds);
                    self.interval = Duration::from_millis(set.milliseconds.into());
                    self.next = Instant::now();
                }
            }
            BLINK => {
                if let Ok(blink) = postcard::from_bytes::<Blink>(payload) {
                    self.led.set(blink.times > 0);
                }
            }
            _ => {}
        }
    }
}

async fn publish(conn: &mut Conn<'_>, topic: &str, qos: QoS, message: &impl Serialize) -> Option<()> {
    let mut payload = [0; 64];
    let payload = postcard::to_slice(message, &mut payload).ok()?;
    conn.publish(Publication::bytes(topic, payload).qos(qos)).await.ok()?;
    Some(())
}

fn now() -> u64 {
    board::clock::now()
}
