//! The file of a Unix socket: replaced when a killed service left it behind, and only then.

use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Barrier};

use diset_std::{BindError, Client};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::runtime::Handle;

use crate::common::*;

/// How many start at once.
const STARTING: usize = 8;
const FILE: &str = "DIALLING_SOCKET";

async fn is_served_at(path: &Path) -> TestResult {
    let mut client = Neighbour::new(Client::builder_unix(PingPong, path)).await?;
    client.is_served().await;
    client.client.close().await;
    Ok(())
}

/// Why it cannot listen there.
async fn refusal(path: &Path) -> Result<String, &'static str> {
    match answering().bind_unix(path).await.err() {
        Some(error @ BindError::Path { .. }) => Ok(error.to_string()),
        Some(_) => Err("another error"),
        None => Err("it listens"),
    }
}

#[tokio::test]
#[ignore = "a part of the test below, in a process of its own"]
async fn a_service_that_is_killed() -> TestResult {
    let Some(path) = env::var_os(FILE) else { return Ok(()) };
    let bound = answering().bind_unix(path).await?;
    println!("\u{1}listens");
    std::io::stdout().flush()?;
    bound.run().await;
    Ok(())
}

#[tokio::test]
async fn the_file_of_a_killed_service_is_replaced() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    for _ in 0..2 {
        let mut child = tokio::process::Command::new(env::current_exe()?)
            .args([
                "--exact",
                "dialling::socket_files::a_service_that_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("a pipe")?).lines();
        while let Some(line) = within("it listens", lines.next_line()).await? {
            if line.contains('\u{1}') {
                break;
            }
        }
        let text = refusal(&path).await?;
        assert!(text.contains("another process listens on it"), "{text}");
        is_served_at(&path).await?;
        child.kill().await?;
        assert!(path.exists(), "it was killed");
    }
    let running = run(answering().bind_unix(&path).await?);
    is_served_at(&path).await?;
    running.stop().await;
    let left: Vec<_> = fs::read_dir(folder.path())?.collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_alive_or_no_stream_socket_is_never_removed() -> TestResult {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "precious")?;
    fs::create_dir(at("folder"))?;
    // Nobody listens any more where it leads.
    drop(UnixListener::bind(at("left"))?);
    symlink(at("left"), at("link"))?;
    symlink(at("nowhere"), at("dangling"))?;
    for name in ["file", "folder", "link", "dangling"] {
        let text = refusal(&at(name)).await?;
        assert!(text.contains("something that is no socket is there"), "{name}: {text}");
        assert!(fs::symlink_metadata(at(name)).is_ok(), "{name}");
    }
    assert_eq!(fs::read_to_string(at("file"))?, "precious");
    let datagrams = UnixDatagram::bind(at("datagrams"))?;
    assert!(
        refusal(&at("datagrams"))
            .await?
            .contains("another process listens on it")
    );
    drop(datagrams);

    // One that lives and is slow: its queue is full.
    let socket = tokio::net::UnixSocket::new_stream()?;
    socket.bind(at("slow"))?;
    let slow = socket.listen(1)?;
    let mut queue = Vec::new();
    while let Ok(guest) = tokio::net::UnixStream::connect(at("slow")).await {
        queue.push(guest);
        assert!(queue.len() < 64, "its queue has no end");
    }
    assert!(refusal(&at("slow")).await?.contains("another process listens on it"));
    drop(queue);
    slow.accept().await?;
    UnixStream::connect(at("slow"))?;

    let text = refusal(&at("missing/socket")).await?;
    assert!(text.contains("does its folder exist"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_services_that_start_at_once_one_listens() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    for round in 0..200 {
        if round % 4 > 0 {
            drop(UnixListener::bind(&path)?);
        }
        let together = Arc::new(Barrier::new(STARTING));
        let starting: Vec<_> = (0..STARTING)
            .map(|_| {
                let (path, together) = (path.clone(), Arc::clone(&together));
                tokio::task::spawn_blocking(move || {
                    let service = answering();
                    together.wait();
                    Handle::current().block_on(service.bind_unix(path))
                })
            })
            .collect();
        let mut listening = Vec::new();
        for started in starting {
            listening.extend(within("started", started).await?);
        }
        assert_eq!(listening.len(), 1, "in round {round}");
        let running = run(listening.remove(0));
        if round % 20 == 0 {
            is_served_at(&path).await?;
        }
        running.stop().await;
        assert!(!path.exists(), "in round {round}");
    }
    Ok(())
}

/// On one thread, which also has to let go of the lock.
#[tokio::test]
async fn who_waits_for_the_lock_of_the_folder_does_not_keep_others_waiting() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    drop(UnixListener::bind(&path)?);
    let lock = fs::File::open(folder.path())?;
    lock.lock()?;
    let let_go = async {
        tokio::task::yield_now().await;
        lock.unlock()
    };
    let (bound, unlocked) = tokio::join!(answering().bind_unix(&path), let_go);
    unlocked?;
    let running = run(bound?);
    is_served_at(&path).await?;
    // Nor does who removes the file.
    lock.lock()?;
    running.stop().await;
    assert!(path.exists(), "the folder is locked");
    lock.unlock()?;
    within("the file goes", async {
        while path.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn the_file_of_a_successor_stays() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("socket");
    let older = run(answering().bind_unix(&path).await?);
    fs::remove_file(&path)?;
    let newer = run(answering().bind_unix(&path).await?);
    older.stop().await;
    is_served_at(&path).await?;
    newer.stop().await;
    assert!(!path.exists());
    Ok(())
}
