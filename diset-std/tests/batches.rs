//! Many messages at a time, sent and handled: each comes once and in order, and an end is where it belongs.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use diset_std::{Cause, Code, Limits, Service};

use crate::common::*;

const MANY: i64 = 5_000;

fn pings() -> Vec<Ping> {
    (0..MANY).map(|id| Ping { id }).collect()
}

#[tokio::test]
async fn messages_sent_together_come_once_and_in_order() -> TestResult {
    let world = World::new()?;
    let (log, seen) = log();
    // The batch does not fit the credit: it waits many times.
    let limits = Limits::SERVER.with_max_frame(1024).with_credit(2048, 50);
    let service = Service::new(PingPong).limits(limits).on_ref::<Ping>(move |_, ping| {
        log.add(ping.id);
        Ok(())
    });
    let running = world.serve(service).await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let pings = pings();
    let mut left = pings.as_slice();
    {
        // Given up in the middle: what is left says so.
        let mut sending = pin!(client.send_all(&mut left));
        let polled = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
    }
    assert!(!left.is_empty() && left.len() < pings.len());
    within("the rest", client.send_all(&mut left)).await?;
    assert!(left.is_empty());
    client.close().await;
    running.stop().await;
    assert_eq!(seen.rest().await, (0..MANY).collect::<Vec<_>>(), "PROTOCOL M-3");
    Ok(())
}

#[tokio::test]
async fn nothing_is_handled_after_a_handler_has_disconnected() -> TestResult {
    let world = World::new()?;
    let (log, seen) = log();
    let service = Service::new(PingPong).on_ref::<Ping>(move |conn, ping| {
        log.add(ping.id);
        if ping.id == 5 {
            conn.disconnect("enough");
        }
        Ok(())
    });
    let running = world.serve(service).await?;
    let (drops, mut dropped) = crate::common::log();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_drop(move |client, why| {
            client.stop();
            drops.add(why.cause().clone());
            core::future::ready(())
        })
        .connect()
        .await?;
    client.send_all(&mut &pings()[..20]).await?;
    let cause = dropped.next().await;
    assert!(
        matches!(&cause, Cause::PeerError(notice) if notice.code() == Code::Disconnected),
        "{cause:?}"
    );
    running.stop().await;
    assert_eq!(seen.rest().await, [0, 1, 2, 3, 4, 5]);
    Ok(())
}

#[tokio::test]
async fn answers_leave_before_the_error_that_a_later_message_causes() -> TestResult {
    let world = World::new()?;
    // Shout has no handler.
    let service = Service::new(PingPong).on_ref::<Ping>(|conn, ping| Ok(conn.try_send(&Pong { id: ping.id })?));
    let running = world.serve(service).await?;
    let (log, mut seen) = log();
    let drops = log.clone();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_ref::<Pong>(move |_, pong| {
            log.add(Ok(pong.id));
            Ok(())
        })
        .on_drop(move |client, why| {
            client.stop();
            drops.add(Err(why.cause().clone()));
            core::future::ready(())
        })
        .connect()
        .await?;
    client.send_all(&mut &pings()[..20]).await?;
    client
        .send(&Shout {
            text: "hello".to_owned(),
        })
        .await?;
    for id in 0..20 {
        assert_eq!(seen.next().await, Ok(id));
    }
    let end = seen.next().await;
    assert!(
        matches!(&end, Err(Cause::PeerError(notice)) if notice.code() == Code::NoHandler),
        "{end:?}"
    );
    running.stop().await;
    Ok(())
}
