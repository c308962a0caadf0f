//! An agent keeps reporting numbered readings while its service is killed and started again. At the end the service
//! shows that every number arrived once.
//!
//! ```sh
//! cargo run --example outbox
//! ```
//!
//! The agent is this program; the service is another process of it, killed without warning (`kill -9`). The agent sends
//! each reading with `send_acked` and does not wait. The service keeps its sessions in a file, and its handler writes
//! each reading into a table of that file, in the transaction with which the message counts as handled.

use core::error::Error;
use core::time::Duration;
use diset_examples::println;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use clap::Parser;
use diset_std::store::Transaction;
use diset_std::store::redb::{self, ReadableTable as _, TableDefinition};
use diset_std::tls::throwaway::{ThrowawayCa, to_pem};
use diset_std::tls::{Authorities, Certificate, ClientTls, ServerTls};
use diset_std::{Client, Outcome, ReconnectPolicy, Resumption, Schema, Service, define_service, shutdown_signal};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

type Failed = Box<dyn Error + Send + Sync>;

/// One reading of the agent.
#[derive(Serialize, Deserialize, Schema)]
struct Reading {
    number: u64,
    celsius: f64,
}

/// The agent asks what has arrived …
#[derive(Serialize, Deserialize, Schema)]
struct Ask {}

/// … and the service has looked into its table.
#[derive(Serialize, Deserialize, Schema)]
struct Arrived {
    different: u64,
    more_than_once: u64,
    out_of_order: u64,
}

define_service! { Readings = "Example/Outbox"; from_client: [Reading, Ask], from_service: [Arrived] }

/// How often each number has arrived, and in which place for the first time.
const TABLE: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("readings");

/// Reports readings to a service that is killed again and again, and proves that each arrived once.
#[derive(Parser)]
struct Options {
    /// How many readings are reported.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    readings: u64,
    /// How often the service is killed meanwhile.
    #[arg(long, default_value_t = 8)]
    kills: u64,
    /// For the process of the service: its folder.
    #[arg(long, hide = true, requires = "port")]
    serve: Option<PathBuf>,
    /// For the process of the service: where it listens.
    #[arg(long, hide = true)]
    port: Option<u16>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let result = match (&options.serve, options.port) {
        (Some(folder), Some(port)) => serve(folder, port).await,
        _ => agent(&options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outbox: {error}");
            ExitCode::FAILURE
        }
    }
}

// ── the service ─────────────────────────────────────────────────────────────────────

async fn serve(folder: &Path, port: u16) -> Result<(), Failed> {
    let file = |name| folder.join(name);
    let certificate = Certificate::from_pem_files(file("service.pem"), file("service.key"))?;
    let tls = ServerTls::new(certificate, Authorities::from_pem_file(file("ca.pem"))?)?;
    let bound = Service::new(Readings)
        .durable(file("sessions.redb"))
        .on(|conn, reading: Reading| async move {
            // The reading is in the table, and handled: both or neither.
            conn.transact(move |transaction| note(transaction, reading.number))
                .await?;
            Ok(())
        })
        .on(|conn, _: Ask| async move {
            let service = conn.service();
            let store = service
                .store()
                .ok_or("the service keeps no file")
                .map_err(diset_std::Failure::new)?;
            conn.send(&count(&store.read()?)?).await?;
            Ok(())
        })
        .bind(("127.0.0.1", port), tls)
        .await?;
    bound.run_until(shutdown_signal()).await;
    Ok(())
}

fn note(transaction: &Transaction<'_>, number: u64) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(TABLE)?;
    let before = table.get(number)?.map(|entry| entry.value());
    let place = table.iter()?.count() as u64;
    table.insert(number, before.map_or((1, place), |(times, place)| (times + 1, place)))?;
    Ok(())
}

fn count(transaction: &redb::ReadTransaction) -> Result<Arrived, redb::Error> {
    let mut arrived = Arrived {
        different: 0,
        more_than_once: 0,
        out_of_order: 0,
    };
    for (expected, entry) in transaction.open_table(TABLE)?.iter()?.enumerate() {
        let (_, entry) = entry?;
        let (times, place) = entry.value();
        arrived.different += 1;
        arrived.more_than_once += u64::from(times > 1);
        arrived.out_of_order += u64::from(place != expected as u64);
    }
    Ok(arrived)
}

// ── the agent ───────────────────────────────────────────────────────────────────────

async fn agent(options: &Options) -> Result<(), Failed> {
    let folder = Folder::new()?;
    let ca = ThrowawayCa::new()?;
    folder.write_certificates(&ca)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut service = Running::start(&folder.0, port)?;
    println!(
        "the service runs as process {}; the agent reports {} readings",
        service.0.id(),
        options.readings
    );

    let (answers, mut answered) = mpsc::channel(1);
    let client = Client::builder(Readings, &format!("localhost:{port}"))
        .tls(ClientTls::new(ca.client("agent")?, ca.authorities())?)
        .reconnect(ReconnectPolicy {
            base: Duration::from_millis(20),
            max: Duration::from_millis(200),
            ..ReconnectPolicy::DEFAULT
        })
        .on_connected(|client| async move {
            if let Some(Resumption::Resumed { replayed }) = client.resumption() {
                println!("  connected again: the session goes on, {replayed} readings are sent again");
            }
            Ok(())
        })
        .on_outcome(|_, number, outcome| println!("  message {number}: {outcome}"))
        .on(move |_, arrived: Arrived| {
            let answers = answers.clone();
            async move { Ok(answers.send(arrived).await?) }
        })
        .start()?;

    let step = (options.readings / (options.kills + 1)).max(1);
    let mut last = None;
    for number in 0..options.readings {
        let celsius = 20.0 + f64::from(u8::try_from(number % 16)?) / 8.0;
        last = Some(client.send_acked(&Reading { number, celsius }).await?);
        if number % step == step - 1 && number / step < options.kills {
            service.kill()?;
            println!(
                "killed the service at reading {number}: {} readings wait in the outbox",
                client.stored()
            );
            service = Running::start(&folder.0, port)?;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if let Some(last) = last {
        let outcome = last.processed().await?;
        println!("the last reading: {outcome}; {} wait in the outbox", client.stored());
        if outcome != Outcome::Ok {
            return Err("the last reading was not dealt with".into());
        }
    }
    client.send(&Ask {}).await?;
    let arrived = answered.recv().await.ok_or("no answer")?;
    client.close().await;
    service.kill()?;
    println!(
        "{} readings sent, {} different ones arrived, {} more than once, {} out of order",
        options.readings, arrived.different, arrived.more_than_once, arrived.out_of_order
    );
    if arrived.different != options.readings || arrived.more_than_once + arrived.out_of_order > 0 {
        return Err("that is not each reading once and in order".into());
    }
    println!("every number arrived once, in order");
    Ok(())
}

/// The process of the service. It does not outlive the agent.
struct Running(Child);

impl Running {
    fn start(folder: &Path, port: u16) -> Result<Self, Failed> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").arg(folder).arg("--port").arg(port.to_string());
        Ok(Self(command.spawn()?))
    }

    /// `kill -9`.
    fn kill(&mut self) -> Result<(), Failed> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.kill();
    }
}

/// A folder for certificates and sessions, which goes with the program.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failed> {
        let folder = std::env::temp_dir().join(format!("diset-outbox-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    fn write_certificates(&self, ca: &ThrowawayCa) -> Result<(), Failed> {
        let (chain, key) = to_pem(&ca.server(&["localhost"])?);
        fs::write(self.0.join("service.pem"), chain)?;
        fs::write(self.0.join("service.key"), key)?;
        fs::write(self.0.join("ca.pem"), ca.pem())?;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left the system removes.
        let _ = fs::remove_dir_all(&self.0);
    }
}
