//! What the station does, whichever way its client is driven: readings at an interval, alarms, and what it is told.
//!
//! Nothing here waits. The agents ask [`Station::wake`] when to come back.
#![no_std]

mod blinker;

use core::time::Duration;

use board::{Led, Sensor};
use diset_embedded::{Client, FromClient, Message, MessageOf, ReconnectPolicy, SendError, Trid};
use messages::{Alarm, AlarmKind, Blink, Blinked, Reading, Reboot, SetInterval, Station as Service};

use crate::blinker::Blinker;

/// So long the line may be silent. A lost service is noticed in half as long again.
pub const SILENCE: Duration = Duration::from_secs(2);
/// Waits between attempts are short: a gateway at the other end of a wire is not overrun by one station.
pub const RECONNECT: ReconnectPolicy = ReconnectPolicy {
    base: Duration::from_millis(200),
    max: Duration::from_secs(2),
    ..ReconnectPolicy::DEFAULT
};
/// So long an orderly end may take.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// Milliseconds between readings at first.
const INTERVAL: u64 = 1000;

/// The station.
pub struct Station {
    sensor: Sensor,
    led: Led,
    blinker: Blinker,
    interval: u64,
    next_reading: u64,
    readings: u32,
    connections: u32,
    alarms: u32,
    /// Raised, and not sent.
    alarm: Option<Alarm>,
    is_connected: bool,
    reboot: bool,
}

impl Station {
    /// A station that has just started.
    pub fn new(sensor: Sensor, led: Led) -> Self {
        let mut station = Self {
            sensor,
            led,
            blinker: Blinker::default(),
            interval: INTERVAL,
            next_reading: 0,
            readings: 0,
            connections: 0,
            alarms: 0,
            alarm: None,
            is_connected: false,
            reboot: false,
        };
        station.raise(AlarmKind::Started, 0);
        station
    }

    /// The connection is open.
    pub fn connected(&mut self, trid: Trid) {
        defmt::info!("connected: {}", trid);
        self.connections = self.connections.saturating_add(1);
        self.is_connected = true;
    }

    /// The connection is over.
    pub fn dropped(&mut self, now: u64) {
        if self.is_connected && !self.reboot {
            self.raise(AlarmKind::Offline, now);
        }
        self.is_connected = false;
    }

    /// Does what the service says.
    pub fn told(&mut self, message: Message<'_, '_, Service>, now: u64) {
        // A message that does not fit its definition has ended the connection by itself: there is nothing to be done.
        match message.number() {
            SetInterval::NUMBER => {
                if let Ok(set) = message.decode::<SetInterval>() {
                    defmt::info!("a reading each {=u32} ms", set.milliseconds);
                    self.interval = set.milliseconds.into();
                    self.next_reading = now;
                }
            }
            Blink::NUMBER => {
                if let Ok(blink) = message.decode::<Blink>() {
                    defmt::info!("blinks {=u8} times", blink.times);
                    self.blinker.begin(blink.times, now);
                }
            }
            Reboot::NUMBER => {
                if message.decode::<Reboot>().is_ok() {
                    defmt::info!("is to reboot");
                    self.reboot = true;
                }
            }
            _ => message.reject("not in this firmware"),
        }
    }

    /// Whether the service has said so: disconnect in order, then restart the board.
    pub const fn is_to_reboot(&self) -> bool {
        self.reboot
    }

    /// Sends what is due. What finds no room is sent later.
    pub fn report<C, T>(&mut self, client: &mut Client<'_, Service, C, T>, now: u64) {
        if let Some(times) = self.blinker.step(&mut self.led, now) {
            // Somebody looks at the light, not at this: it may be lost.
            let _ = client.send(&Blinked { times });
        }
        if !self.is_connected || self.reboot {
            return;
        }
        if let Some(alarm) = self.alarm
            && sent(client, &alarm)
        {
            self.alarm = None;
        }
        while self.interval > 0 && self.next_reading <= now {
            let reading = self.reading(now);
            if !sent(client, &reading) {
                return;
            }
            self.readings = self.readings.wrapping_add(1);
            self.next_reading = self.next_reading.max(now.saturating_sub(self.interval)) + self.interval;
        }
    }

    /// When something is due, milliseconds since the start.
    pub fn wake(&self) -> Option<u64> {
        let reading = (self.is_connected && self.interval > 0).then_some(self.next_reading);
        [reading, self.blinker.wake()].into_iter().flatten().min()
    }

    fn reading(&mut self, now: u64) -> Reading {
        let measured = self.sensor.measure();
        Reading {
            number: self.readings,
            uptime: now,
            celsius: measured.celsius,
            millivolts: measured.millivolts,
            connections: self.connections,
        }
    }

    fn raise(&mut self, kind: AlarmKind, now: u64) {
        self.alarm = Some(Alarm {
            number: self.alarms,
            uptime: now,
            kind,
        });
        self.alarms = self.alarms.wrapping_add(1);
    }
}

/// Whether it was taken. Without room or credit now it is tried again later.
fn sent<M: FromClient<Service>, C, T>(client: &mut Client<'_, Service, C, T>, message: &M) -> bool {
    match client.send(message) {
        Ok(()) => true,
        Err(SendError::Full(_) | SendError::NotOpen) => false,
        Err(error) => {
            defmt::warn!("not sent: {}", error);
            false
        }
    }
}
