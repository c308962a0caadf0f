//! What station and host say to each other, as postcard-rpc has it.

use core::cell::Cell;
use core::convert::Infallible;

use board::Led;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use messages::{Alarm, Blink, Blinked, Reading, Reboot, SetInterval};
use postcard_rpc::header::VarHeader;
use postcard_rpc::server::WireSpawn;
use postcard_rpc::server::impls::embedded_io_async_v0_6::EioWireTx;
use postcard_rpc::{TopicDirection, define_dispatch, endpoints, topics};

use crate::port::Sending;

/// The way to the host.
pub type Tx = EioWireTx<CriticalSectionRawMutex, Sending>;

endpoints! {
    list = ENDPOINTS;
    | EndpointTy | RequestTy | ResponseTy | Path |
    | ---------- | --------- | ---------- | ---- |
    | IntervalEndpoint | SetInterval | () | "station/interval" |
    | BlinkEndpoint | Blink | Blinked | "station/blink" |
    | RebootEndpoint | Reboot | () | "station/reboot" |
}

topics! {
    list = TOPICS_IN;
    direction = TopicDirection::ToServer;
    | TopicTy | MessageTy | Path |
    | ------- | --------- | ---- |
}

topics! {
    list = TOPICS_OUT;
    direction = TopicDirection::ToClient;
    | TopicTy | MessageTy | Path | Cfg |
    | ------- | --------- | ---- | --- |
    | ReadingTopic | Reading | "station/reading" | |
    | AlarmTopic | Alarm | "station/alarm" | |
}

/// What handlers work on.
pub struct Context {
    pub interval: &'static Cell<u32>,
    pub led: Led,
}

/// Nothing is spawned here.
#[derive(Clone)]
pub struct Spawn;

impl WireSpawn for Spawn {
    type Error = Infallible;
    type Info = ();

    fn info(&self) -> &() {
        &()
    }
}

define_dispatch! {
    app: Dispatcher;
    spawn_fn: drop;
    tx_impl: Tx;
    spawn_impl: Spawn;
    context: Context;

    endpoints: {
        list: ENDPOINTS;

        | EndpointTy | kind | handler |
        | ---------- | ---- | ------- |
        | IntervalEndpoint | blocking | interval |
        | BlinkEndpoint | blocking | blink |
        | RebootEndpoint | blocking | reboot |
    };
    topics_in: {
        list: TOPICS_IN;

        | TopicTy | kind | handler |
        | ------- | ---- | ------- |
    };
    topics_out: {
        list: TOPICS_OUT;
    };
}

fn interval(context: &mut Context, _: VarHeader, set: SetInterval) {
    defmt::info!("a reading each {=u32} ms", set.milliseconds);
    context.interval.set(set.milliseconds);
}

fn blink(context: &mut Context, _: VarHeader, blink: Blink) -> Blinked {
    context.led.set(blink.times > 0);
    Blinked { times: blink.times }
}

fn reboot(_: &mut Context, _: VarHeader, _: Reboot) {
    board::restart()
}
