//! The station without diset, for its size only: the same board, line, logs and messages. Each message is a length, a
//! number and postcard. There is no agreement on definitions, no keep-alive, no order of events, no reconnect that is told
//! from a broken line: what `agent` has beyond this is what diset adds.
#![no_std]
#![no_main]

use core::cell::RefCell;

use board::{Board, Sensor, Uart, clock};
use embedded_io::{Read, ReadReady, Write};
use line::{Call, Line, LineError, Port};
use messages::{Blink, Reading, SetInterval};
use static_cell::ConstStaticCell;

/// What has come over the line while the loop does something else.
static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);

#[board::entry]
fn main() -> ! {
    let Some(mut board) = Board::take(RING.take()) else {
        defmt::panic!("the board is in use");
    };
    let mut chance = [0; 4];
    board::random(&mut chance);
    let line = RefCell::new(Line::new(board.uart, u32::from_le_bytes(chance)));
    let mut call = Call::over(&line);
    let mut station = Station {
        interval: 1000,
        next: 0,
        readings: 0,
    };
    loop {
        if let Err(error) = call
            .dial()
            .and_then(|()| station.converse(&line, call, &mut board.sensor, &mut board.led))
        {
            defmt::warn!("dropped: {}", error);
        }
        call.hang_up();
    }
}

struct Station {
    interval: u64,
    next: u64,
    readings: u32,
}

impl Station {
    fn converse(
        &mut self,
        line: &RefCell<Line<Uart>>,
        mut call: Call<'_, Uart>,
        sensor: &mut Sensor,
        led: &mut board::Led,
    ) -> Result<(), LineError> {
        loop {
            if self.next <= clock::now() {
                self.next += self.interval;
                self.report(&mut call, sensor)?;
            }
            while call.read_ready()? {
                let mut head = [0; 2];
                let mut body = [0; 64];
                receive(&mut call, &mut head)?;
                let [length, number] = head;
                let Some(body) = body.get_mut(..usize::from(length)) else {
                    return Err(LineError::Ended);
                };
                receive(&mut call, body)?;
                self.told(number, body, led);
            }
            line.borrow_mut().port().wait(self.next);
        }
    }

    fn report(&mut self, call: &mut Call<'_, Uart>, sensor: &mut Sensor) -> Result<(), LineError> {
        let measured = sensor.measure();
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
            let count = call.write(rest)?;
            rest = rest.get(count..).unwrap_or_default();
        }
        call.flush()
    }

    fn told(&mut self, number: u8, body: &[u8], led: &mut board::Led) {
        match number {
            0 => {
                if let Ok(set) = postcard::from_bytes::<SetInterval>(body) {
                    defmt::info!("a reading each {=u32} ms", set.milliseconds);
                    self.interval = set.milliseconds.into();
                }
            }
            1 => {
                if let Ok(blink) = postcard::from_bytes::<Blink>(body) {
                    led.set(blink.times > 0);
                }
            }
            _ => board::restart(),
        }
    }
}

fn receive(call: &mut Call<'_, Uart>, mut buffer: &mut [u8]) -> Result<(), LineError> {
    while !buffer.is_empty() {
        let count = call.read(buffer)?;
        if count == 0 {
            return Err(LineError::Ended);
        }
        buffer = buffer.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}
