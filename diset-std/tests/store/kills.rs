//! A service is killed at any moment, again and again: what its clients were told stands.

use core::time::Duration;
use std::collections::HashMap;
use std::process::{Child, Command, Stdio};

use diset_proto::ServiceName;
use diset_std::Trid;
use diset_std::store::{DurableStore, StoreBounds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::ends::{ClientEnd, HANDLED, ServiceEnd, TestResult, id_of, unwrapped};

const CLIENTS: u8 = 4;
const KILLS: u64 = 20;
const STORE: &str = "DISET_TEST_STORE";
const PORT: &str = "DISET_TEST_PORT";

/// The service: another process, that this test starts from itself.
#[tokio::test]
#[ignore = "started by the test below"]
async fn service() -> TestResult {
    let (Ok(path), Ok(port)) = (std::env::var(STORE), std::env::var(PORT)) else {
        return Ok(());
    };
    let name = ServiceName::parse("Test/Meter").ok_or("a name")?;
    let (store, sessions) = DurableStore::open(path, name, StoreBounds::default())?;
    let mut sessions: HashMap<_, _> = sessions.into_iter().map(|session| (session.id, session)).collect();
    let first = store.newest_trid().number() + 1;
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        let mut stream = TcpStream::connect(("127.0.0.1", port.parse()?)).await?;
        stream.write_all(&[client]).await?;
        let end = ServiceEnd {
            store: store.clone(),
            client,
            trid: Trid::new(first + u64::from(client)),
            sends: 40,
        };
        tasks.push(tokio::spawn(end.run(stream, sessions.remove(&id_of(client)))));
    }
    for task in tasks {
        if let Err(error) = task.await? {
            eprintln!("the service: {error}");
            std::process::exit(1);
        }
    }
    Ok(())
}

fn start(path: &std::path::Path, port: u16) -> TestResult<Child> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", "store::kills::service", "--ignored", "--nocapture"])
        .env(STORE, path)
        .env(PORT, port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    Ok(child)
}

/// Lets the clients of this round talk to the service until it is killed or all is dealt with.
async fn round(
    listener: &TcpListener,
    mut child: Child,
    clients: Vec<ClientEnd>,
    kill_after: Option<Duration>,
) -> TestResult<Vec<ClientEnd>> {
    let mut tasks = Vec::new();
    let mut clients: HashMap<u8, ClientEnd> = clients.into_iter().map(|client| (client.client, client)).collect();
    while !clients.is_empty() {
        let (mut stream, _) = listener.accept().await?;
        let index = stream.read_u8().await?;
        let mut client = clients.remove(&index).ok_or("a client twice")?;
        let until = if kill_after.is_some() { u64::MAX } else { client.sent };
        tasks.push(tokio::spawn(async move {
            let result = client.run(stream, until).await;
            result.map(|()| client)
        }));
    }
    if let Some(after) = kill_after {
        tokio::time::sleep(after).await;
        if let Some(status) = child.try_wait()? {
            return Err(format!("the service has ended by itself: {status}").into());
        }
        child.kill()?;
    }
    let mut back = Vec::new();
    for task in tasks {
        back.push(tokio::time::timeout(Duration::from_secs(60), task).await???);
    }
    let status = child.wait()?;
    if kill_after.is_none() && !status.success() {
        return Err(format!("the service has failed: {status}").into());
    }
    Ok(back)
}

/// What the clients were told is in the file, in order, and the counters fit. How many messages wait there.
fn check(path: &std::path::Path, clients: &[ClientEnd]) -> TestResult<usize> {
    let name = ServiceName::parse("Test/Meter").ok_or("a name")?;
    let (store, sessions) = DurableStore::open(path, name, StoreBounds::default())?;
    let handled = store.read()?;
    let mut waiting = 0;
    let mut sessions: HashMap<_, _> = sessions.into_iter().map(|session| (session.id, session)).collect();
    for client in clients {
        let told = client.session()?.delivered();
        let Some(restored) = sessions.remove(&id_of(client.client)) else {
            assert_eq!((told.received, client.connected), (0, 0), "client {}", client.client);
            continue;
        };
        let unhandled: Vec<u64> = restored.unhandled().iter().map(|message| message.number).collect();
        for message in restored.unhandled() {
            assert!(message.payload.starts_with(&varint(message.number)), "{message:?}");
        }
        let session = unwrapped(restored)?;
        let record = session.record();
        waiting += unhandled.len();
        assert!(record.received() >= told.received, "{record:?} {told:?}");
        assert!(session.processed() >= told.processed, "{record:?} {told:?}");
        let expected: Vec<u64> = (session.processed() + 1..=record.received()).collect();
        assert_eq!(unhandled, expected, "client {}: {record:?}", client.client);
        let got = client.got.last().copied().unwrap_or(0);
        assert!(record.stored() >= got, "{record:?}, but {got} has left");
        let mut last = 0;
        use diset_proto::store::Replay as _;
        while let Some(stored) = session.replay().after(last) {
            assert!(stored.payload.starts_with(&varint(stored.number)));
            assert!(last == 0 || stored.number == last + 1, "{} after {last}", stored.number);
            last = stored.number;
        }
        assert!(last == 0 || last == record.stored(), "{record:?}, the last is {last}");
        if session.processed() > 0 {
            let handled = handled.open_table(HANDLED)?;
            for value in 1..=session.processed() {
                let count = handled.get((client.client, value))?.map_or(0, |row| row.value());
                let fits = if value % 2 == 0 { count == 1 } else { count >= 1 };
                assert!(fits, "client {}: {value} was handled {count} times", client.client);
            }
        }
    }
    Ok(waiting)
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// PROTOCOL, N-4: nothing that was told is lost, sessions go on, and what a handler commits with its
/// message is there once.
#[tokio::test]
async fn a_service_that_is_killed_keeps_what_it_told() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("sessions.redb");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut clients: Vec<_> = (0..CLIENTS).map(ClientEnd::new).collect();
    let mut waited = 0;
    let mut moment = std::process::id();
    for kill in 0..KILLS {
        // From within the handshake to after hundreds of commits.
        moment = moment.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let after = Duration::from_micros(u64::from(moment >> 15) * (1 + kill % 4));
        println!("kill {kill} after {after:?}");
        clients = round(&listener, start(&path, port)?, clients, Some(after)).await?;
        if path.exists() {
            waited += check(&path, &clients)?;
        }
    }
    clients = round(&listener, start(&path, port)?, clients, None).await?;
    check(&path, &clients)?;
    let sent: u64 = clients.iter().map(|client| client.sent).sum();
    let got: usize = clients.iter().map(|client| client.got.len()).sum();
    println!("{sent} messages to the service, {waited} of them waited in the file at a kill; {got} from it");
    for client in &clients {
        assert_eq!(client.session()?.delivered().processed, client.sent);
        assert_eq!(client.got, (1..=client.got.len() as u64).collect::<Vec<_>>());
        assert!(client.connected > 1 && client.sent > 0);
    }
    Ok(())
}
