//! What acked delivery costs on the wire (PROTOCOL ): a stream of acked messages takes at
//! most a tenth more bytes, both directions and TLS included, than one of plain messages.

use std::sync::Arc;

use diset_std::Service;

use crate::common::*;
use crate::proxy::{Traffic, proxy};

const MESSAGES: usize = 20_000;

/// Sends so many messages of this size; how many bytes passed, both directions together.
async fn cost(size: usize, acked: bool) -> Result<u64, Box<dyn core::error::Error>> {
    let world = World::new()?;
    let (log, mut seen) = log();
    let count = Count::default();
    let service = Service::new(PingPong).on_ref::<Blob>(move |_, _| {
        if count.add() + 1 == MESSAGES {
            log.add(());
        }
        Ok(())
    });
    let running = world.serve(service).await?;
    let traffic = Arc::new(Traffic::default());
    let address = proxy(running.port(), 0, Arc::clone(&traffic)).await?;
    let client = diset_std::Client::builder(PingPong, &address)
        .tls(world.tls("alice")?)
        .connect()
        .await?;
    let blob = Blob { bytes: vec![7; size] };
    let before = traffic.passed();
    for sent in 1..=MESSAGES {
        if acked {
            client.send_acked(&blob).await?;
        } else {
            client.send(&blob).await?;
        }
        if sent % 64 == 0 {
            // As it is in life: others have their turn.
            tokio::task::yield_now().await;
        }
    }
    seen.next().await;
    client.close().await;
    running.stop().await;
    Ok(traffic.passed() - before)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acked_messages_cost_at_most_a_tenth_more_bytes() -> TestResult {
    for size in [32, 1024] {
        let (plain, acked) = (cost(size, false).await?, cost(size, true).await?);
        let each = |bytes: u64| bytes as f64 / MESSAGES as f64;
        let ratio = acked as f64 / plain as f64;
        println!(
            "{MESSAGES} messages of {size} bytes: plain {:.2}, acked {:.2} bytes each: {ratio:.4}",
            each(plain),
            each(acked),
        );
        assert!(acked * 10 <= plain * 11, "PROTOCOL Q-2: {size} bytes: {ratio:.3}");
    }
    Ok(())
}
