//! The station without diset, for the table of `./ci.sh size` only: the same board, line, TLS, logs and messages. Each
//! message is a length, a number and postcard. There is no agreement on definitions, no keep-alive, no credit, nothing
//! acked, no wait between attempts: what `agent` has beyond this is what diset adds.
#![no_std]

mod way;

use core::cell::RefCell;

use board::{Board, Led, Sensor, Uart, clock};
use credentials::{Credentials, Error};
use diset_embedded::blocking::Channel;
use embedded_io::{Error as _, ErrorKind};
use line::{Call, Line, Port};
use messages::{Blink, Reading, SetInterval};
use static_cell::{ConstStaticCell, StaticCell};

pub use trust::Secure;
pub use way::{Trusted, Way};

/// What has come over the line while the loop does something else.
static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
static LINE: StaticCell<RefCell<Line<Uart>>> = StaticCell::new();

/// The whole program, once the way to a channel is made of the credentials.
pub fn main<W: Way>(way: impl FnOnce(&Credentials<'static>) -> Result<W, Error>) -> ! {
    let Some(board) = Board::take(RING.take()) else {
        defmt::panic!("the board is in use");
    };
    let mut way = match Credentials::read(board::credentials()).and_then(|credentials| way(&credentials)) {
        Ok(way) => way,
        Err(error) => defmt::panic!("{}", error),
    };
    let mut chance = [0; 4];
    board::random(&mut chance);
    let line = LINE.init(RefCell::new(Line::new(board.uart, u32::from_le_bytes(chance))));
    let mut call = Call::over(line);
    let mut station = Station {
        line,
        sensor: board.sensor,
        led: board.led,
        interval: 1000,
        next: 0,
        readings: 0,
    };
    loop {
        if let Err(error) = call.dial() {
            defmt::warn!("no gateway: {}", error);
        } else if let Some(mut channel) = way.open(call)
            && let Err(error) = station.converse(&mut channel)
        {
            defmt::warn!("dropped: {}", error);
        }
        call.hang_up();
    }
}

struct Station {
    line: &'static RefCell<Line<Uart>>,
    sensor: Sensor,
    led: Led,
    interval: u64,
    next: u64,
    readings: u32,
}

impl Station {
    fn converse(&mut self, channel: &mut impl Channel) -> Result<(), ErrorKind> {
        loop {
            if self.next <= clock::now() {
                self.next += self.interval;
                self.report(channel)?;
            }
            while channel.read_ready().map_err(|error| error.kind())? {
                let mut head = [0; 2];
                let mut body = [0; 64];
                receive(channel, &mut head)?;
                let [length, number] = head;
                let Some(body) = body.get_mut(..usize::from(length)) else {
                    return Err(ErrorKind::InvalidData);
                };
                receive(channel, body)?;
                self.told(number, body);
            }
            self.line.borrow_mut().port().wait(self.next);
        }
    }

    fn report(&mut self, channel: &mut impl Channel) -> Result<(), ErrorKind> {
        let measured = self.sensor.measure();
        let reading = Reading {
            number: self.readings,
            uptime: clock::now(),
            celsius: measured.celsius,
            millivolts: measured.millivolts,
            connections: 1,
        };
        self.readings = self.readings.wrapping_add(1);
        let mut frame = [0; 64];
        let Some((head, body)) = frame.split_first_chunk_mut::<2>() else {
            return Ok(());
        };
        let Ok(used) = postcard::to_slice(&reading, body) else {
            return Ok(());
        };
        let length = used.len();
        *head = [u8::try_from(length).unwrap_or(u8::MAX), 0];
        let mut rest = frame.get(..length + 2).unwrap_or_default();
        while !rest.is_empty() {
            let count = channel.write(rest).map_err(|error| error.kind())?;
            rest = rest.get(count..).unwrap_or_default();
        }
        channel.flush().map_err(|error| error.kind())
    }

    fn told(&mut self, number: u8, body: &[u8]) {
        match number {
            0 => {
                if let Ok(set) = postcard::from_bytes::<SetInterval>(body) {
                    defmt::info!("a reading each {=u32} ms", set.milliseconds);
                    self.interval = set.milliseconds.into();
                }
            }
            1 => {
                if let Ok(blink) = postcard::from_bytes::<Blink>(body) {
                    self.led.set(blink.times > 0);
                }
            }
            _ => board::restart(),
        }
    }
}

fn receive(channel: &mut impl Channel, mut buffer: &mut [u8]) -> Result<(), ErrorKind> {
    while !buffer.is_empty() {
        let count = channel.read(buffer).map_err(|error| error.kind())?;
        if count == 0 {
            return Err(ErrorKind::NotConnected);
        }
        buffer = buffer.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}
