//! What real sockets did to both engines stands in files, which replay; their number and size are bounded.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Ping, PingPong, Pong, TestResult, World, within};
use diset_std::diset_proto::recording::{BadLog, Entries, Entry};
use diset_std::diset_proto::replay::{Replay, ReplayError, Replayed};
use diset_std::{Code, Outcome, Recordings, Service};

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("diset-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        Self(folder)
    }

    /// The logs of one side, the oldest first.
    fn logs(&self, side: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).expect("a folder");
        let mut logs: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
        logs.retain(|path| path.to_string_lossy().contains(side));
        logs.sort();
        logs
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn replay(path: &Path) -> Result<Replayed, ReplayError> {
    let log = fs::read(path).expect("a log");
    Replay::of::<PingPong>(&log)?.run()
}

fn service() -> Service<PingPong> {
    Service::new(PingPong).on(|conn, ping: Ping| async move {
        conn.send_acked(&Pong { id: ping.id }).await?;
        Ok(())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_sessions_are_recorded_and_replay() -> TestResult {
    let folder = Folder::new("recorded");
    let recordings = Recordings::to(&folder.0)?;
    let world = World::new()?;
    let running = world.serve(service().record_connections(recordings.clone())).await?;
    let client = world
        .client(PingPong, &running, "alice")?
        .on(|_, _: Pong| async { Ok(()) })
        .record_connections(recordings)
        .connect()
        .await?;
    let mut last = None;
    for id in 0..200 {
        let sent = client.send_acked(&Ping { id }).await?;
        if id % 50 == 25 {
            // The next cut is that of another connection.
            assert_eq!(within("an outcome", sent.processed()).await?, Outcome::Ok);
            client.cut();
        } else {
            last = Some(sent);
        }
    }
    assert_eq!(within("the last", last.ok_or("sent")?.processed()).await?, Outcome::Ok);
    client.close().await;
    running.stop().await;
    for side in ["client", "service"] {
        let logs = folder.logs(side);
        assert!(logs.len() > 2, "{side}: {logs:?}");
        let mut bytes = 0;
        for log in &logs {
            let replayed = replay(log).map_err(|error| format!("{}: {error}", log.display()))?;
            bytes += replayed.bytes;
        }
        assert!(bytes > 1000, "{side}: {bytes} bytes");
    }
    let last = replay(folder.logs("client").last().ok_or("a log")?)?;
    assert_eq!(last.cause.and_then(|cause| cause.code()), Some(Code::Done));
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_reads_a_log() -> TestResult {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new("private");
    let world = World::new()?;
    let running = world
        .serve(service().record_connections(Recordings::to(&folder.0)?))
        .await?;
    let client = world.client(PingPong, &running, "alice")?.connect().await?;
    for log in folder.logs("service") {
        assert_eq!(fs::metadata(&log)?.permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(folder.logs("service").len(), 1);
    client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_log_that_is_full_ends_early_and_replays() -> TestResult {
    let folder = Folder::new("full");
    let recordings = Recordings::to(&folder.0)?.with_most(1, 2000);
    let world = World::new()?;
    let running = world.serve(service().record_connections(recordings)).await?;
    for name in ["alice", "bob"] {
        let client = world.client(PingPong, &running, name)?.connect().await?;
        let mut last = None;
        for id in 0..100 {
            last = Some(client.send_acked(&Ping { id }).await?);
        }
        within("the last", last.ok_or("sent")?.processed()).await?;
        client.close().await;
    }
    running.stop().await;
    let logs = folder.logs("service");
    assert_eq!(logs.len(), 1);
    let size = fs::metadata(&logs[0])?.len();
    assert!((1000..=2000).contains(&size), "{size}");
    let replayed = replay(&logs[0])?;
    assert_eq!(replayed.cause, None);
    Ok(())
}

#[tokio::test]
async fn a_changed_byte_of_a_file_is_found() -> TestResult {
    let folder = Folder::new("changed");
    let world = World::new()?;
    let running = world
        .serve(service().record_connections(Recordings::to(&folder.0)?))
        .await?;
    let client = world.client(PingPong, &running, "alice")?;
    let client = client.on(|_, _: Pong| async { Ok(()) }).connect().await?;
    let sent = client.send_acked(&Ping { id: 77 }).await?;
    within("the outcome", sent.processed()).await?;
    client.close().await;
    running.stop().await;
    let path = folder.logs("service").pop().ok_or("a log")?;
    let mut log = fs::read(&path)?;
    let is_message = |entry: &Entry<'_>| matches!(entry, Entry::Offered { .. } | Entry::Frame { head: 0x40, .. });
    let place = Entries::new(&log)?.position(|logged| logged.is_ok_and(|logged| is_message(&logged.entry)));
    let number = place.ok_or("a message")? as u64;
    let body = log.windows(4).position(|bytes| bytes == [0x40, 3, 0, 154]);
    let at = body.ok_or("the body")? + 3;
    log[at] ^= 1;
    fs::write(&path, &log)?;
    assert_eq!(replay(&path), Err(ReplayError::Log(BadLog::Damaged(number))));
    Ok(())
}
