//! What acked delivery costs on the wire (PROTOCOL ): a stream of acked messages takes at
//! most a tenth more bytes, both directions and TLS included, than one of plain messages. Messages that
//! come one by one have an acknowledgement each, in a record of its own: what that takes is printed.

use core::time::Duration;
use std::sync::Arc;

use diset_std::{Client, Service};

use super::proxy::{Traffic, proxy};
use crate::common::*;

/// Who sends.
#[derive(Debug, Clone, Copy)]
enum From {
    Client,
    Service,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
struct Flow {
    from: From,
    count: usize,
    size: usize,
    /// How long after each other; a stream without it.
    each: Option<Duration>,
}

impl Flow {
    /// How many bytes pass, both directions together, from the first message until the end of the connection.
    async fn cost(self, acked: bool) -> Result<u64, Box<dyn core::error::Error>> {
        let world = World::new()?;
        let (log, mut seen) = log();
        let (told, count) = (log.clone(), Count::default());
        let all = count.clone();
        let service = Service::new(PingPong).on_ref::<Blob>(move |_, _| {
            if all.add() + 1 == self.count {
                told.add(());
            }
            Ok(())
        });
        let running = world.serve(service).await?;
        let traffic = Arc::new(Traffic::default());
        let address = proxy(running.port(), 0, Arc::clone(&traffic)).await?;
        let client = Client::builder(PingPong, &address)
            .tls(world.tls("alice")?)
            .on_ref::<Blob>(move |_, _| {
                if count.add() + 1 == self.count {
                    log.add(());
                }
                Ok(())
            })
            .connect()
            .await?;
        let conn = conn_of(&running, &client).await;
        let blob = Blob {
            bytes: vec![7; self.size],
        };
        let before = traffic.passed();
        for sent in 1..=self.count {
            match (self.from, acked) {
                (From::Client, false) => client.send(&blob).await?,
                (From::Client, true) => drop(client.send_acked(&blob).await?),
                (From::Service, false) => conn.send(&blob).await?,
                (From::Service, true) => drop(conn.send_acked(&blob).await?),
            }
            match self.each {
                Some(each) => tokio::time::sleep(each).await,
                // As it is in life: others have their turn.
                None if sent % 64 == 0 => tokio::task::yield_now().await,
                None => {}
            }
        }
        seen.next().await;
        client.close().await;
        running.stop().await;
        Ok(traffic.passed() - before)
    }

    /// Prints what acknowledgements take; plain and acked bytes.
    async fn compare(self) -> Result<(u64, u64), Box<dyn core::error::Error>> {
        let (plain, acked) = (self.cost(false).await?, self.cost(true).await?);
        let each = |bytes: u64| bytes as f64 / self.count as f64;
        println!(
            "{self:?}: plain {:.2}, acked {:.2} bytes each: {:.4}",
            each(plain),
            each(acked),
            acked as f64 / plain as f64
        );
        Ok((plain, acked))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acked_messages_cost_at_most_a_tenth_more_bytes() -> TestResult {
    for from in [From::Client, From::Service] {
        for size in [32, 1024] {
            let stream = Flow {
                from,
                count: 20_000,
                size,
                each: None,
            };
            let (plain, acked) = stream.compare().await?;
            assert!(
                acked * 10 <= plain * 11,
                "PROTOCOL Q-2: {stream:?}: {plain}, {acked} bytes"
            );
        }
    }
    Ok(())
}

/// Figures for docs/DELIVERY.md: they depend on how messages and acknowledgements meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_one_by_one_have_an_acknowledgement_each() -> TestResult {
    for (millis, count) in [(2, 200), (30, 50)] {
        let paced = Flow {
            from: From::Client,
            count,
            size: 32,
            each: Some(Duration::from_millis(millis)),
        };
        let (plain, acked) = paced.compare().await?;
        // An Ack of three bytes in a record of its own takes 25 more or less; never two for one message.
        assert!(
            acked <= plain + 50 * count as u64,
            "PROTOCOL Q-2: {plain}, {acked} bytes"
        );
    }
    Ok(())
}
