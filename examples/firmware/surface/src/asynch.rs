//! A client under an executor, of which one look after the other takes the place.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use board::Uart;
use diset_embedded::tls::{TlsBuffers, TlsChannel};
use diset_embedded::{Buffers, Channel, Client, Clock, Config, Instant, Outbox, TrustedLine, Volatile};
use line::Call;
use messages::Station;

use crate::polled::{ALARM, Answer, READING, look, store, take};
use crate::secrets::with_tls;

pub(crate) fn trusted(call: Call<'_, Uart>, config: Config<'_>) {
    let mut buffers: Buffers = Buffers::new();
    let Ok(mut client) = Client::<_, TrustedLine<Call<'_, Uart>>, _>::new(Station, config, Time, &mut buffers) else {
        defmt::panic!("the settings do not fit together");
    };
    let opened = wait(async {
        client.wait_for_retry().await;
        client.connect(TrustedLine::new(call).ending_with(Call::hang_up)).await
    });
    if let Err(error) = opened {
        defmt::warn!("not connected: {}", defmt::Debug2Format(&error));
        client.unreachable();
    }
    wait(converse(&mut client));
}

pub(crate) fn over_tls(
    call: Call<'_, Uart>,
    config: Config<'_>,
    outbox: &mut Outbox<256, Volatile>,
    records: &TlsBuffers,
) {
    let mut buffers: Buffers = Buffers::new();
    let client = Client::<_, TlsChannel<'_, Call<'_, Uart>>, _>::new(Station, config, Time, &mut buffers)
        .and_then(|client| client.with_outbox(outbox));
    let Ok(mut client) = client else {
        defmt::panic!("the settings do not fit together");
    };
    for is_pinned in [false, true] {
        match with_tls(call, records, is_pinned, |tls| wait(client.connect(tls))) {
            Ok(Some(Err(error))) => defmt::warn!("not connected: {}", defmt::Debug2Format(&error)),
            Ok(_) => {}
            Err(error) => defmt::warn!("no TLS: {}", error),
        }
        wait(converse(&mut client));
        store(&mut client);
        drop(client.take_channel());
    }
}

async fn converse<C: Channel, K: Answer>(client: &mut Client<'_, Station, C, Time, K>) {
    while let Some(event) = client.next().await {
        take(event);
        let _ = client.send(&READING);
        let _ = client.send(&ALARM);
        client.flush().await;
        match client.unconfirmed() {
            0 => client.close(Duration::from_secs(1)),
            1 => client.disconnect("enough"),
            _ => {}
        }
        look(client);
    }
}

fn wait<R>(future: impl Future<Output = R>) -> R {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

struct Time;

impl Clock for Time {
    fn now(&self) -> Instant {
        crate::now()
    }

    async fn sleep_until(&mut self, time: Instant) {
        core::future::poll_fn(|_| match crate::now() >= time {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}
