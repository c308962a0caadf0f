//! A service that ends when it is asked to, by SIGINT or SIGTERM, as process 1 too: its clients are told, what is under
//! way is answered, and it ends as one that has done its work.

use core::time::Duration;
use std::process::{Command, Stdio};

use diset_std::tls::ServerTls;
use diset_std::{Cause, Client, Code, Conn, SendError, Service, shutdown_signal};

use super::child::{Process, place, tell};
use crate::common::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of another test"]
async fn child() -> TestResult {
    let Some(place) = place()? else { return Ok(()) };
    let stop = shutdown_signal();
    let tls = ServerTls::new(place.certificate, place.authorities)?;
    let service = Service::new(PingPong)
        .drain_time(Duration::from_secs(3600))
        .on_ref::<Note<'static>>(|_, _| Ok(()))
        .on(|conn: Conn<PingPong>, ping: Ping| async move {
            conn.send(&Pong { id: ping.id }).await?;
            if ping.id < 0 {
                core::future::pending::<()>().await;
            }
            Ok(())
        });
    let bound = service.bind(place.address.as_str(), tls).await?;
    let port = bound.local_addr().ok_or("a port")?.port();
    tell(&format!("{} {port}", std::process::id()));
    bound.run_until(stop).await;
    tell("drained");
    Ok(())
}

/// A service in a process of its own; the number that it has there, and a client in the middle of an exchange.
struct Served {
    service: Process,
    own_id: u32,
    client: Client<PingPong>,
    pongs: Seen<i64>,
    ends: Seen<Option<Code>>,
}

async fn serve(by: &[&str], first: i64) -> Result<Served, Box<dyn core::error::Error>> {
    let world = World::new()?;
    let certificate = world.ca.server(&["localhost"])?;
    let mut service = Process::start_by(by, "processes::signals::child", &world, &certificate, "127.0.0.1:0")?;
    let ready = service.line().await?.ok_or("it listens")?;
    let (own_id, port) = ready.split_once(' ').ok_or("number and port")?;
    let (log, pongs) = log();
    let (ended, ends) = common_log();
    let client = Client::builder(PingPong, &format!("localhost:{port}"))
        .tls(world.tls("alice")?)
        .on(move |client: Client<PingPong>, pong: Pong| {
            log.add(pong.id);
            async move {
                if pong.id >= 0 {
                    client.send(&Ping { id: pong.id + 1 }).await?;
                }
                Ok(())
            }
        })
        .on_drop(move |_, why| {
            let in_order = matches!(why.cause(), Cause::WentAway(notice) if notice.retry().is_some());
            ended.add(why.code().filter(|_| in_order));
            async {}
        })
        .connect()
        .await?;
    client.send(&Ping { id: first }).await?;
    let own_id = own_id.parse()?;
    Ok(Served {
        service,
        own_id,
        client,
        pongs,
        ends,
    })
}

fn common_log() -> (Log<Option<Code>>, Seen<Option<Code>>) {
    log()
}

/// Sends a signal to one process.
fn signal(name: &str, id: u32) -> TestResult {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {id}")])
        .status()?;
    assert!(sent.success(), "the signal is sent");
    Ok(())
}

/// It ends in order: the client is told to come back, and the exit code is 0.
async fn ends_in_order(mut served: Served, name: &str, id: u32) -> TestResult {
    served.pongs.find(|id| *id >= 3).await;
    signal(name, id)?;
    assert_eq!(served.ends.next().await, Some(Code::Shutdown), "PROTOCOL G-1: {name}");
    assert_eq!(served.service.line().await?.as_deref(), Some("drained"), "{name}");
    assert_eq!(served.service.gone().await?, Some(0), "{name}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_ends_in_order_when_it_is_asked_to() -> TestResult {
    for name in ["INT", "TERM"] {
        let served = serve(&[], 0).await?;
        let id = served.service.id()?;
        assert_eq!(id, served.own_id);
        ends_in_order(served, name, id).await?;
    }
    Ok(())
}

/// One that waits for a handler that never returns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_it_at_once() -> TestResult {
    for (first, second, code) in [("TERM", "INT", 130), ("INT", "TERM", 143)] {
        let mut served = serve(&[], -1).await?;
        let id = served.service.id()?;
        assert_eq!(served.pongs.next().await, -1);
        signal(first, id)?;
        within("the go-away", async {
            while served.client.try_send(&Note { text: "" }) != Err(SendError::GoingAway) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(served.service.is_running()?, "it waits for its handler");
        signal(second, id)?;
        assert_eq!(served.service.gone().await?, Some(code));
    }
    Ok(())
}

/// How this machine lets a process be number 1: as root, or as root of a user namespace.
#[cfg(target_os = "linux")]
fn new_numbers() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [
        &["unshare", "--pid", "--fork", "--kill-child"],
        &[
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
        ],
    ];
    let works = |way: &&&[&str]| {
        let tried = Command::new(way[0])
            .args(&way[1..])
            .arg("true")
            .stderr(Stdio::null())
            .status();
        tried.is_ok_and(|status| status.success())
    };
    // Longer lived than this function: they are constants.
    let works: Vec<_> = ways.iter().filter(works).copied().collect();
    works.first().copied()
}

/// The kernel lets process 1 have only the signals that it has handlers for.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_process_1_ends_in_order() -> TestResult {
    let Some(way) = new_numbers() else {
        let missing = "a_service_that_is_process_1_ends_in_order: `unshare --pid --fork` does not work here; it needs \
            util-linux and root or user namespaces";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("SKIPPED: {missing}");
        return Ok(());
    };
    for name in ["TERM", "INT"] {
        let served = serve(way, 0).await?;
        assert_eq!(served.own_id, 1, "it is process 1");
        // Its number here: the only child of what has started it.
        let parent = served.service.id()?;
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        ends_in_order(served, name, children.trim().parse()?).await?;
    }
    Ok(())
}
