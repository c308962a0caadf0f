//! A client that is polled.

use core::time::Duration;

use board::Uart;
use diset_embedded::blocking::Channel;
use diset_embedded::tls::{TlsBuffers, TlsChannel};
use diset_embedded::{
    Buffers, Client, Config, Event, Keep, Message, MessageOf, NoClock, NoOutbox, Outbox, Retry, TrustedLine, Volatile,
};
use line::Call;
use messages::{Alarm, AlarmKind, Blink, Blinked, Reading, Reboot, SetInterval, Station};

use crate::now;
use crate::secrets::with_tls;

/// Of each kind of message that the client sends.
pub(crate) const READING: Reading = Reading {
    number: 1,
    uptime: 2,
    celsius: 3.5,
    millivolts: 3300,
    connections: 1,
};
pub(crate) const ALARM: Alarm = Alarm {
    number: 1,
    uptime: 2,
    kind: AlarmKind::Offline,
};

type Polled<'b, C, K> = Client<'b, Station, C, NoClock, K>;

pub(crate) fn trusted(mut call: Call<'_, Uart>, config: Config<'_>) {
    let mut buffers: Buffers = Buffers::new();
    let Ok(mut client) = Client::<_, TrustedLine<Call<'_, Uart>>>::blocking(Station, config, &mut buffers) else {
        defmt::panic!("the settings do not fit together");
    };
    if call.dial().is_err() {
        client.unreachable(now());
    }
    if let Err(error) = client.connect(TrustedLine::new(call).ending_with(Call::hang_up), now()) {
        defmt::warn!("not connected: {}", defmt::Debug2Format(&error));
    }
    converse(&mut client);
    if let Some(line) = client.take_channel() {
        line.into_inner().hang_up();
    }
}

pub(crate) fn over_tls(
    mut call: Call<'_, Uart>,
    config: Config<'_>,
    outbox: &mut Outbox<256, Volatile>,
    records: &TlsBuffers,
) {
    let mut buffers: Buffers = Buffers::new();
    let client = Client::<_, TlsChannel<'_, Call<'_, Uart>>>::blocking(Station, config, &mut buffers)
        .and_then(|client| client.with_outbox(outbox));
    let Ok(mut client) = client else {
        defmt::panic!("the settings do not fit together");
    };
    if call.dial().is_err() {
        client.unreachable(now());
    }
    for is_pinned in [false, true] {
        match with_tls(call, records, is_pinned, |tls| client.connect(tls, now())) {
            Ok(Some(Err(error))) => defmt::warn!("not connected: {}", defmt::Debug2Format(&error)),
            Ok(_) => {}
            Err(error) => defmt::warn!("no TLS: {}", error),
        }
        converse(&mut client);
        store(&mut client);
        if let Some(channel) = client.take_channel() {
            channel.into_inner().hang_up();
        }
    }
}

fn converse<C: Channel, K: Answer>(client: &mut Polled<'_, C, K>) {
    while client.is_busy() {
        while let Some(event) = client.poll(now()) {
            take(event);
        }
        let _ = client.send(&READING);
        let _ = client.send(&ALARM);
        let _ = client.send(&Blinked { times: 1 });
        client.flush(now());
        match client.unconfirmed() {
            0 => client.close(now(), Duration::from_secs(1)),
            1 => client.disconnect("enough"),
            _ => {}
        }
        look(client);
    }
}

/// What a client says of itself.
pub(crate) fn look<C, T, K: Keep>(client: &Client<'_, Station, C, T, K>) {
    let retry = match client.retry() {
        Retry::At(time) => time.as_millis(),
        Retry::Never => 0,
    };
    board::report("retry", usize::try_from(retry).unwrap_or_default());
    let wake = client.wake().map_or(0, diset_embedded::Instant::as_millis);
    board::report("wake", usize::try_from(wake).unwrap_or_default());
    if let Some(trid) = client.trid() {
        defmt::info!("{}", trid);
    }
    if let Some(verdict) = client.verdict::<Reading>() {
        defmt::info!("{}", defmt::Debug2Format(&verdict));
    }
    defmt::info!("{}", defmt::Debug2Format(&client.identity()));
    defmt::info!("{}", defmt::Debug2Format(client));
}

/// What only a client with an outbox can do.
pub(crate) fn store<C, T, const N: usize>(client: &mut Client<'_, Station, C, T, Outbox<N, Volatile>>) {
    for stored in [client.send_acked(&ALARM), client.send_acked_or_resend(&READING)] {
        if let Err(error) = stored {
            defmt::warn!("not stored: {}", error);
            client.skip_oldest();
        }
    }
    defmt::info!("{}", defmt::Debug2Format(&client.resumption()));
    defmt::info!("{}", defmt::Debug2Format(&client.delivered()));
    board::report("stored", client.stored());
}

pub(crate) fn take<K: Answer>(event: Event<'_, '_, Station, K>) {
    match event {
        Event::Connected(trid) => defmt::info!("{}", trid),
        Event::Message(message) => told(message),
        Event::Outcome { number, outcome } => defmt::info!("{} {}", number, defmt::Debug2Format(&outcome)),
        Event::Delivered(delivered) => defmt::info!("{}", delivered.processed),
        Event::GoingAway(notice) => defmt::info!("{}", defmt::Debug2Format(&notice)),
        Event::Dropped(dropped) => {
            defmt::warn!("{}", dropped);
            defmt::warn!("{}", defmt::Debug2Format(&dropped));
            defmt::warn!("{}", defmt::Display2Format(&dropped));
        }
        _ => {}
    }
}

fn told<K: Answer>(message: Message<'_, '_, Station, K>) {
    if let Some(received) = message.received() {
        board::report("received", usize::from(received.maybe_repeated));
    }
    defmt::info!("{}", defmt::Debug2Format(&message));
    match message.number() {
        SetInterval::NUMBER => message.run(|set: SetInterval| {
            board::report("interval", usize::try_from(set.milliseconds).unwrap_or_default());
            Ok(())
        }),
        Blink::NUMBER => K::answer(message),
        Reboot::NUMBER => {
            if let Some((_, handling)) = message.decode::<Reboot>() {
                handling.reject("not now");
            }
        }
        _ => message.reject("not in this firmware"),
    }
}

/// Answers a message while it is held.
pub(crate) trait Answer: Keep {
    fn answer(message: Message<'_, '_, Station, Self>)
    where
        Self: Sized;
}

impl Answer for NoOutbox {
    fn answer(message: Message<'_, '_, Station, Self>) {
        message.answer(|blink: Blink, handling| {
            handling.send(&Blinked { times: blink.times })?;
            Ok(())
        });
    }
}

impl<const N: usize> Answer for Outbox<N, Volatile> {
    fn answer(message: Message<'_, '_, Station, Self>) {
        message.answer(|blink: Blink, handling| {
            handling.send(&Blinked { times: blink.times })?;
            handling.send_acked(&ALARM)?;
            handling.send_acked_or_resend(&ALARM)?;
            Ok(())
        });
    }
}
