//! What the station does, whichever way its client is driven: readings at an interval, alarms, and what it is told.
//!
//! Nothing here waits. The agents ask [`Station::wake`] when to come back.
#![no_std]

mod blinker;

use core::time::Duration;

use board::{Led, Sensor};
use diset_embedded::{
    Client, FromClient, Keep, Limits, Message, MessageOf, Outbox, Outcome, ReconnectPolicy, SendError, Trid, Volatile,
};
use messages::{Alarm, AlarmKind, Blink, Blinked, Reading, Reboot, SetInterval, Station as Service};

use crate::blinker::Blinker;

/// Bytes for alarms that the service has not dealt with: eleven of the longest.
pub const OUTBOX: usize = 512;
/// So long the line may be silent. A lost service is noticed in half as long again.
pub const SILENCE: Duration = Duration::from_secs(2);
/// Waits between attempts are short: a gateway at the other end of a wire is not overrun by one station.
pub const RECONNECT: ReconnectPolicy = ReconnectPolicy {
    base: Duration::from_millis(200),
    max: Duration::from_secs(2),
    ..ReconnectPolicy::DEFAULT
};
/// So long TLS and the handshake of the client may take together.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// So long an orderly end may take.
pub const GOODBYE: Duration = Duration::from_secs(2);

/// What the station can take.
pub const LIMITS: Limits = Limits::CHIP.with_max_silence(SILENCE).with_handshake(HANDSHAKE);

/// Milliseconds between readings at first.
const INTERVAL: u64 = 1000;
/// Millivolts: less is too little.
const LOW: u16 = 3290;

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
    /// The alarm about it was raised, and it is still so.
    is_supply_low: bool,
    /// The alarm about an impostor was raised since the last connection.
    met_impostor: bool,
    is_connected: bool,
    stay: Stay,
}

/// Whether the station goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    Running,
    /// It is to reboot, when its alarms are dealt with or at this time.
    Until(u64),
    Leaving,
}

impl Station {
    /// A station that has just started.
    pub fn new(sensor: Sensor, led: Led) -> Self {
        Self {
            sensor,
            led,
            blinker: Blinker::default(),
            interval: INTERVAL,
            next_reading: 0,
            readings: 0,
            connections: 0,
            alarms: 0,
            is_supply_low: false,
            met_impostor: false,
            is_connected: false,
            stay: Stay::Running,
        }
    }

    /// The client is there, and takes alarms.
    pub fn started<C, T, const N: usize>(&mut self, client: &mut Client<'_, Service, C, T, Outbox<N, Volatile>>) {
        self.raise(client, AlarmKind::Started, 0);
    }

    /// The connection is open.
    pub fn connected(&mut self, trid: Trid) {
        defmt::info!("connected: {}", trid);
        self.connections = self.connections.saturating_add(1);
        self.is_connected = true;
        self.met_impostor = false;
    }

    /// The connection is over.
    pub fn dropped<C, T, const N: usize>(
        &mut self,
        client: &mut Client<'_, Service, C, T, Outbox<N, Volatile>>,
        now: u64,
    ) {
        if self.is_connected && !self.is_to_reboot() {
            self.raise(client, AlarmKind::Offline, now);
        }
        self.is_connected = false;
    }

    /// Somebody has answered who is not the service.
    pub fn met_impostor<C, T, const N: usize>(
        &mut self,
        client: &mut Client<'_, Service, C, T, Outbox<N, Volatile>>,
        now: u64,
    ) {
        if !self.met_impostor {
            self.met_impostor = true;
            self.raise(client, AlarmKind::Impostor, now);
        }
    }

    /// An alarm has come to an end other than that the service has dealt with it.
    pub fn failed(&self, number: u64, outcome: &Outcome) {
        defmt::error!("acked message {=u64}: {}", number, outcome);
    }

    /// Does what the service says.
    pub fn told<K: Keep>(&mut self, message: Message<'_, '_, Service, K>, now: u64) {
        // A message that does not fit its definition has ended the connection by itself: there is nothing to be done.
        match message.number() {
            SetInterval::NUMBER => message.run(|set: SetInterval| {
                defmt::info!("a reading each {=u32} ms", set.milliseconds);
                self.interval = set.milliseconds.into();
                self.next_reading = now;
                Ok(())
            }),
            Blink::NUMBER => message.run(|blink: Blink| {
                defmt::info!("blinks {=u8} times", blink.times);
                self.blinker.begin(blink.times, now);
                Ok(())
            }),
            Reboot::NUMBER => message.run(|_: Reboot| {
                defmt::info!("is to reboot");
                let limit = u64::try_from(GOODBYE.as_millis()).unwrap_or_default();
                self.stay = Stay::Until(now.saturating_add(limit));
                Ok(())
            }),
            _ => message.reject("not in this firmware"),
        }
    }

    /// Whether to restart the board, once there is no connection. Alarms that are stored are a reason to connect again
    /// before, as for [`leaves`](Self::leaves).
    pub fn restarts(&self, stored: usize, now: u64) -> bool {
        match self.stay {
            Stay::Running => false,
            Stay::Until(limit) => stored == 0 || limit <= now,
            Stay::Leaving => true,
        }
    }

    /// Whether the service has said so: disconnect in order, then restart the board.
    fn is_to_reboot(&self) -> bool {
        self.stay != Stay::Running
    }

    /// Whether to disconnect now, which is said once. A restart would lose the alarms that are stored: it waits until
    /// there are none, for as long as an orderly end may take.
    pub fn leaves(&mut self, stored: usize, now: u64) -> bool {
        let leaves = matches!(self.stay, Stay::Until(limit) if stored == 0 || limit <= now);
        if leaves {
            self.stay = Stay::Leaving;
        }
        leaves
    }

    /// Measures and sends what is due. A reading that finds no connection, or no room, is looked at and not kept.
    pub fn report<C, T, const N: usize>(
        &mut self,
        client: &mut Client<'_, Service, C, T, Outbox<N, Volatile>>,
        now: u64,
    ) {
        if let Some(times) = self.blinker.step(&mut self.led, now) {
            // Somebody looks at the light, not at this: it may be lost.
            let _ = client.send(&Blinked { times });
        }
        if self.is_to_reboot() {
            return;
        }
        while self.interval > 0 && self.next_reading <= now {
            self.next_reading = self.next_reading.max(now.saturating_sub(self.interval)) + self.interval;
            let reading = self.reading(now);
            self.watch(client, reading.millivolts, now);
            if self.is_connected && sent(client, &reading) {
                self.readings = self.readings.wrapping_add(1);
            }
        }
    }

    /// When something is due, milliseconds since the start.
    pub fn wake(&self) -> Option<u64> {
        let next = match self.stay {
            Stay::Running => (self.interval > 0).then_some(self.next_reading),
            Stay::Until(limit) => Some(limit),
            Stay::Leaving => None,
        };
        earlier(next, self.blinker.wake())
    }

    /// Raises an alarm when the supply begins to be low.
    fn watch<C, T, const N: usize>(
        &mut self,
        client: &mut Client<'_, Service, C, T, Outbox<N, Volatile>>,
        millivolts: u16,
        now: u64,
    ) {
        let is_low = millivolts < LOW;
        if is_low && !self.is_supply_low {
            self.raise(client, AlarmKind::LowSupply, now);
        }
        self.is_supply_low = is_low;
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

    /// Stores an alarm, with or without a connection. The service deals with it once; when the service has lost its
    /// memory of the session, perhaps twice, as that is better than not at all.
    fn raise<C, T, const N: usize>(
        &mut self,
        client: &mut Client<'_, Service, C, T, Outbox<N, Volatile>>,
        kind: AlarmKind,
        now: u64,
    ) {
        let alarm = Alarm {
            number: self.alarms,
            uptime: now,
            kind,
        };
        self.alarms = self.alarms.wrapping_add(1);
        defmt::info!("alarm {=u32} of kind {=u8}", alarm.number, kind as u8);
        if let Err(error) = client.send_acked_or_resend(&alarm) {
            // The service sees it by the numbers, too.
            defmt::error!("alarm {=u32} is lost: {}", alarm.number, error);
        }
    }
}

/// Whether it was taken. Without room or credit now it was not.
fn sent<M: FromClient<Service>, C, T, K: Keep>(client: &mut Client<'_, Service, C, T, K>, message: &M) -> bool {
    match client.send(message) {
        Ok(()) => true,
        Err(SendError::Full(_) | SendError::NotOpen) => false,
        Err(error) => {
            defmt::warn!("not sent: {}", error);
            false
        }
    }
}

/// The earlier of two times that may be there.
// Called and not copied to where times are compared.
#[inline(never)]
pub fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
