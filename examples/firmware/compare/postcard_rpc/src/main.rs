//! The station as a server of postcard-rpc in place of diset, for the table of `./ci.sh size` only: the same UART, logs
//! and messages as `agent_trusted_line`, without TLS. Readings and alarms are topics, commands are endpoints. Its frames
//! go over the bare UART; whether somebody listens it does not know, and nothing is sent twice.
#![no_std]
#![no_main]

mod port;
mod rpc;

use core::cell::Cell;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use board::{Board, Sensor, clock};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use messages::{Alarm, AlarmKind, Reading};
use postcard_rpc::header::VarSeq;
use postcard_rpc::server::impls::embedded_io_async_v0_6::WireStorage;
use postcard_rpc::server::{Dispatch as _, Sender, Server};
use static_cell::{ConstStaticCell, StaticCell};

use crate::port::{Receiving, Sending, Shared};
use crate::rpc::{AlarmTopic, Context as Told, Dispatcher, ReadingTopic, Spawn, Tx};

static RING: ConstStaticCell<[u8; 512]> = ConstStaticCell::new([0; 512]);
/// As long as the buffers of the agents.
static WIRE: WireStorage<Receiving, Sending, CriticalSectionRawMutex, 516, 768> = WireStorage::new();
static RECEIVED: ConstStaticCell<[u8; 516]> = ConstStaticCell::new([0; 516]);
static UART: StaticCell<Shared> = StaticCell::new();
static INTERVAL: StaticCell<Cell<u32>> = StaticCell::new();

#[board::entry]
fn main() -> ! {
    let Some(board) = Board::take(RING.take()) else {
        defmt::panic!("the board is in use");
    };
    let uart = UART.init(Shared::new(board.uart));
    let Some((rx, tx)) = WIRE.init(Receiving(uart), Sending(uart)) else {
        defmt::panic!("the wire is in use");
    };
    let interval = INTERVAL.init(Cell::new(1000));
    let dispatcher = Dispatcher::new(
        Told {
            interval,
            led: board.led,
        },
        Spawn,
    );
    let key = dispatcher.min_key_len();
    let mut server = Server::new(tx.clone(), rx, RECEIVED.take().as_mut_slice(), dispatcher, key);
    let station = Station {
        sender: Sender::new(tx, key),
        sensor: board.sensor,
        interval,
    };
    let mut serving = pin!(async {
        loop {
            // It ends when the line has failed.
            let _ = server.run().await;
        }
    });
    let mut reporting = pin!(station.report());
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let _: Poll<()> = serving.as_mut().poll(&mut context);
        let _: Poll<()> = reporting.as_mut().poll(&mut context);
        // The next millisecond or the next byte wakes it.
        let now = clock::now();
        clock::wait(now + 1, || uart.is_readable());
    }
}

struct Station {
    sender: Sender<Tx>,
    sensor: Sensor,
    interval: &'static Cell<u32>,
}

impl Station {
    async fn report(mut self) {
        let alarm = Alarm {
            number: 0,
            uptime: clock::now(),
            kind: AlarmKind::Started,
        };
        let _ = self.sender.publish::<AlarmTopic>(VarSeq::Seq2(0), &alarm).await;
        let mut next = clock::now();
        let mut number = 0_u32;
        loop {
            poll_fn(|_| match clock::now() < next {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
            next = clock::now() + u64::from(self.interval.get());
            let measured = self.sensor.measure();
            let reading = Reading {
                number,
                uptime: clock::now(),
                celsius: measured.celsius,
                millivolts: measured.millivolts,
                connections: 1,
            };
            let [low, high, ..] = number.to_le_bytes();
            let sequence = VarSeq::Seq2(u16::from_le_bytes([low, high]));
            let _ = self.sender.publish::<ReadingTopic>(sequence, &reading).await;
            number = number.wrapping_add(1);
        }
    }
}
