//! What the firmware and its service say to each other. Both are built with this file, so they cannot disagree; when one
//! of them is of another version, they find out when they connect, message by message.
#![no_std]

use diset_proto::{Schema, define_service};
use serde::{Deserialize, Serialize};

/// What was measured; one at each interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Schema)]
pub struct Reading {
    /// Counts the readings that were sent since the start, from 0.
    pub number: u32,
    /// Milliseconds since the start.
    pub uptime: u64,
    /// Temperature, degrees Celsius.
    pub celsius: f32,
    /// Supply, millivolts.
    pub millivolts: u16,
    /// Connections since the start, this one included.
    pub connections: u32,
}

/// Something that must not be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Alarm {
    /// Counts the alarms since the start, from 0.
    pub number: u32,
    /// When it was raised, milliseconds since the start.
    pub uptime: u64,
    /// What it is about.
    pub kind: AlarmKind,
}

/// What an [`Alarm`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub enum AlarmKind {
    /// The station has started.
    Started,
    /// The connection was lost: the station cannot report.
    Offline,
    /// Somebody has answered in place of the service and did not prove to be it; once for each time without a connection.
    Impostor,
    /// The supply has fallen below 3.29 V.
    LowSupply,
}

/// Take a reading so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct SetInterval {
    /// Milliseconds from one reading to the next; 0 for none.
    pub milliseconds: u32,
}

/// Blink, so that somebody in front of a row of boards finds this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Blink {
    /// So often.
    pub times: u8,
}

/// The station has blinked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Blinked {
    /// So often.
    pub times: u8,
}

/// Disconnect in order and start again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Schema)]
pub struct Reboot {}

define_service! {
    /// Listens to stations, and tells them what to do.
    pub Station = "Example/Station";
    from_client: [Reading, Alarm, Blinked],
    from_service: [SetInterval, Blink, Reboot],
}
