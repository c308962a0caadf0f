//! Many messages, slow peers, slow handlers: order, credit and progress.

use core::future::Future;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;

use diset_std::diset_proto::Bound;
use diset_std::{Client, Code, Conn, Limits, SendError, Service, SlowPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::common::*;

const MANY: i64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_both_ways_under_full_load() -> TestResult {
    let world = World::new()?;
    let (log, mut at_service) = log();
    let running = world
        .serve(
            Service::new(PingPong)
                .on({
                    let mut next = 0;
                    let (sender, mut came) = tokio::sync::mpsc::unbounded_channel();
                    tokio::spawn(async move {
                        while let Some(id) = came.recv().await {
                            assert_eq!(id, next, "PROTOCOL M-3");
                            next += 1;
                            if next == MANY {
                                log.add(());
                            }
                        }
                    });
                    move |_, ping: Ping| {
                        let sender = sender.clone();
                        async move {
                            if ping.id % 1000 == 0 {
                                tokio::task::yield_now().await;
                            }
                            Ok(sender.send(ping.id)?)
                        }
                    }
                })
                .on_connected(|conn| async move {
                    tokio::spawn(async move {
                        for id in 0..MANY {
                            conn.send(&Pong { id }).await.expect("open");
                        }
                    });
                    Ok(())
                }),
        )
        .await?;
    let (log, mut at_client) = crate::common::log();
    let next = core::sync::atomic::AtomicI64::new(0);
    let client = world
        .client(PingPong, &running, "alice")?
        .on_ref::<Pong>(move |_, pong| {
            assert_eq!(pong.id, next.fetch_add(1, Ordering::SeqCst), "PROTOCOL M-3");
            if pong.id == MANY - 1 {
                log.add(());
            }
            Ok(())
        })
        .connect()
        .await?;
    // Both sides only write, neither waits for the other: nothing hangs.
    for id in 0..MANY {
        client.send(&Ping { id }).await?;
    }
    at_service.next().await;
    at_client.next().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_only_write_large_messages_do_not_hang() -> TestResult {
    const BLOBS: usize = 200;
    let world = World::new()?;
    // The longest that fits: a number, and a length of three bytes.
    let size = 64 * 1024 - 2 - 3;
    let blob = move || Blob { bytes: vec![7; size] };
    let (log, mut done) = log();
    let (count, ended) = (Count::default(), log.clone());
    let running = world
        .serve(Service::new(PingPong).on(move |conn: Conn<PingPong>, got: Blob| {
            assert_eq!(got.bytes.len(), size);
            if count.add() + 1 == BLOBS {
                log.add(());
            }
            // The handler waits for room while the client writes.
            async move { Ok(conn.send(&blob()).await?) }
        }))
        .await?;
    let count = Count::default();
    let client = world
        .client(PingPong, &running, "alice")?
        .on_ref::<Blob>(move |_, _| {
            if count.add() + 1 == BLOBS {
                ended.add(());
            }
            Ok(())
        })
        .connect()
        .await?;
    for _ in 0..BLOBS {
        client.send(&blob()).await?;
    }
    done.next().await;
    done.next().await;
    let longer = Blob {
        bytes: vec![7; size + 1],
    };
    assert_eq!(client.send(&longer).await, Err(SendError::TooLong), "PROTOCOL F-6");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_handler_holds_up_nobody_but_its_own_connection() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let (log, mut seen) = log();
    let silence = Duration::from_secs(1);
    let running = world
        .serve(
            answering()
                .limits(Limits::SERVER.with_max_silence(silence))
                .on(move |_, shout: Shout| {
                    let (gate, log) = (Arc::clone(&held), log.clone());
                    log.add(shout.text);
                    async move {
                        gate.acquire().await?.forget();
                        log.add("done".into());
                        Ok(())
                    }
                }),
        )
        .await?;
    let slow = world.client(PingPong, &running, "alice")?.connect().await?;
    let trid = slow.trid();
    let (pongs, mut answered) = crate::common::log();
    let quick = world
        .client(PingPong, &running, "bob")?
        .on_ref::<Pong>(move |_, pong| {
            pongs.add(pong.id);
            Ok(())
        })
        .connect()
        .await?;
    slow.send(&Shout { text: "wait".into() }).await?;
    assert_eq!(seen.next().await, "wait");
    for id in 0..1000 {
        quick.send(&Ping { id }).await?;
        assert_eq!(answered.next().await, id);
    }
    // Longer than the span after which a silent peer counts as dead: here time is the matter.
    tokio::time::sleep(silence * 2).await;
    assert_eq!(
        slow.trid(),
        trid,
        "PROTOCOL K-5: keep-alives are answered while a handler waits"
    );
    gate.add_permits(1);
    assert_eq!(seen.next().await, "done");
    Ok(())
}

/// A service whose clients' messages get stuck in a handler, and a client with this policy.
async fn stuck(
    world: &World,
    policy: SlowPolicy,
) -> Result<(Running<PingPong>, Client<PingPong>, Seen<Option<Code>>), Box<dyn core::error::Error>> {
    let running = world
        .serve(Service::new(PingPong).on(|_, _: Ping| core::future::pending()))
        .await?;
    let (log, drops) = log();
    let client = world
        .client(PingPong, &running, "alice")?
        .slow_policy(policy)
        .on_drop(move |_, why| {
            log.add(code(&why));
            async {}
        })
        .connect()
        .await?;
    Ok((running, client, drops))
}

async fn send_until_full(client: &Client<PingPong>) -> SendError {
    let sending = async {
        loop {
            if let Err(error) = client.send(&Ping { id: 1 }).await {
                return error;
            }
        }
    };
    within("no more room", sending).await
}

#[tokio::test]
async fn a_peer_that_does_not_keep_up_is_dealt_with_as_asked() -> TestResult {
    let world = World::new()?;
    for policy in [SlowPolicy::Fail, SlowPolicy::Wait(Duration::from_millis(50))] {
        let (_running, client, _) = stuck(&world, policy).await?;
        assert_eq!(
            send_until_full(&client).await,
            SendError::Full(Bound::Credit),
            "PROTOCOL L-3"
        );
        assert!(client.trid().is_some(), "nothing is lost");
    }
    let (_running, client, mut drops) = stuck(&world, SlowPolicy::Disconnect).await?;
    assert_eq!(send_until_full(&client).await, SendError::Full(Bound::Credit));
    assert_eq!(drops.next().await, Some(Code::Busy));
    Ok(())
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped_for_it() -> TestResult {
    let world = World::new()?;
    let (log, mut drops) = log();
    let (connected, mut conns) = crate::common::log();
    let running = world
        .serve(
            Service::new(PingPong)
                .slow_policy(SlowPolicy::Disconnect)
                .on_connected(move |conn| {
                    connected.add(conn);
                    async { Ok(()) }
                })
                .on_drop(move |_, why| {
                    log.add((code(&why), why.unconfirmed()));
                    async {}
                }),
        )
        .await?;
    // It grants much, so that it is the transport that is full. A relay that stops reading
    // stands for a client that hangs.
    let (address, stopped) = relay(running.address.clone(), |_| {}).await?;
    let _client = Client::builder(PingPong, &address)
        .tls(world.tls("alice")?)
        .limits(Limits::SERVER.with_credit(1 << 30, 1 << 20))
        .on_ref::<Blob>(|_, _| Ok(()))
        .connect()
        .await?;
    let conn = conns.next().await;
    stopped.store(true, Ordering::SeqCst);
    let blob = Blob { bytes: vec![7; 60_000] };
    let mut sent = 0;
    let full = within("no more room", async {
        loop {
            if let Err(error) = conn.send(&blob).await {
                return error;
            }
            sent += 1;
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(full, SendError::Full(Bound::Output));
    let (why, unconfirmed) = drops.next().await;
    assert_eq!(why, Some(Code::Busy));
    assert!(
        (1..=sent).contains(&unconfirmed),
        "PROTOCOL L-6: {unconfirmed} of {sent}"
    );
    Ok(())
}

/// A relay to a service, which looks at what the client sends; it stops reading from the
/// service when it is told to.
async fn relay(
    to: String,
    look: impl Fn(&[u8]) + Send + Sync + 'static,
) -> Result<(String, Arc<AtomicBool>), std::io::Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("localhost:{}", listener.local_addr()?.port());
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    tokio::spawn(async move {
        let (client, _) = listener.accept().await?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_service, mut to_service) = TcpStream::connect(to).await?.into_split();
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = from_service.read(&mut buffer).await {
                to_client.write_all(&buffer[..count]).await?;
                if stop.load(Ordering::SeqCst) {
                    core::future::pending::<()>().await;
                }
            }
            to_client.shutdown().await
        });
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            look(&buffer[..count]);
            to_service.write_all(&buffer[..count]).await?;
        }
        to_service.shutdown().await
    });
    Ok((address, stopped))
}

#[tokio::test]
async fn many_small_messages_leave_in_one_record() -> TestResult {
    let world = World::new()?;
    let (log, mut notes) = log();
    let running = world
        .serve(answering().on_ref::<Note<'_>>(move |_, note| {
            log.add(note.text.to_owned());
            Ok(())
        }))
        .await?;
    let records = Count::default();
    let (counted, (pongs, mut answered)) = (records.clone(), crate::common::log());
    let stream = std::sync::Mutex::new(Vec::new());
    let (address, _) = relay(running.address.clone(), move |bytes| {
        let mut stream = stream.lock().expect("no panic");
        stream.extend_from_slice(bytes);
        while let Some(&[kind, _, _, high, low]) = stream.first_chunk() {
            let end = 5 + usize::from(u16::from_be_bytes([high, low]));
            if stream.len() < end {
                break;
            }
            stream.drain(..end);
            if kind == 23 {
                counted.add();
            }
        }
    })
    .await?;
    let client = Client::builder(PingPong, &address)
        .tls(world.tls("alice")?)
        .on_ref::<Pong>(move |_, pong| {
            pongs.add(pong.id);
            Ok(())
        })
        .connect()
        .await?;
    client.send(&Ping { id: 1 }).await?;
    answered.next().await;
    let before = records.value();
    // One thread, no waiting: the connection's task cannot run in between.
    for _ in 0..500 {
        client.try_send(&Note { text: "short" })?;
    }
    for _ in 0..500 {
        assert_eq!(notes.next().await, "short");
    }
    assert_eq!(records.value() - before, 1);
    Ok(())
}

#[tokio::test]
async fn a_send_that_is_given_up_was_not_sent() -> TestResult {
    let world = World::new()?;
    let gate = Arc::new(Semaphore::new(0));
    let (held, (log, mut handled)) = (Arc::clone(&gate), log());
    let running = world
        .serve(
            Service::new(PingPong)
                // Fewer than are tried before the gate opens.
                .limits(Limits::SERVER.with_credit(128 * 1024, 4096))
                .on(move |_, ping: Ping| {
                    let (gate, log) = (Arc::clone(&held), log.clone());
                    async move {
                        let _go = gate.acquire().await?;
                        log.add(ping.id);
                        Ok(())
                    }
                }),
        )
        .await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    let mut sent = Vec::new();
    let mut given_up = 0;
    for id in 0..6000 {
        let ping = Ping { id };
        // Polled once, then dropped.
        let mut sending = core::pin::pin!(client.send(&ping));
        match sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                result?;
                sent.push(id);
            }
            Poll::Pending => given_up += 1,
        }
        if id == 5000 {
            // Those that waited before are gone; new ones find room.
            gate.add_permits(1);
        }
        if id > 5000 {
            tokio::task::yield_now().await;
        }
    }
    assert!(given_up > 100 && sent.len() > 1000, "{given_up} of {}", sent.len());
    for id in sent {
        assert_eq!(handled.next().await, id, "exactly what was accepted, in order");
    }
    client.close().await;
    assert_eq!(handled.now(), None);
    Ok(())
}
