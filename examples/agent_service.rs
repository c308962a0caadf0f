//! The service of the stations in `firmware/`, and of whoever else speaks their messages: prints what arrives, and tells
//! them what is typed. Stations on chips, which hold TLS records of 1 KiB, and others come to the same port.
//!
//! ```sh
//! cargo run --example make_certificates -- certificates --client station
//! cargo run --example agent_service -- --folder certificates --store stations.redb
//! cargo run --example agent_host -- --folder certificates        # in another terminal: a station without a chip
//! ```

use core::future::ready;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use diset_examples::{certificate_error, printable, println, refuse_retired};
use diset_std::store::Transaction;
use diset_std::store::redb::{self, ReadableTable as _, TableDefinition};
use diset_std::tls::{Certificate, ServerTls, TlsError, TlsFiles};
use diset_std::{
    BoundService, Conn, Failure, Outcome, Resumption, Rule, Service, ServiceHandle, ShutdownSignal, shutdown_signal,
};
use messages::{Alarm, Blink, Blinked, Reading, Reboot, SetInterval, Station};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

type Failed = Box<dyn core::error::Error>;

/// The alarms of all stations in the order in which they came, in the file of the sessions.
const ALARMS: TableDefinition<'_, u64, &str> = TableDefinition::new("alarms");

/// Prints what stations report. A line on standard input goes to all that are connected: `interval MILLISECONDS`,
/// `blink TIMES`, `reboot`; each has done it once, and says so. Ends in order at Ctrl-C, SIGTERM or `quit`.
#[derive(Parser)]
#[command(
    group = clap::ArgGroup::new("who").required(true).args(["folder", "trusted_line"]),
    after_help = "`cargo run --example make_certificates -- certificates --client station` writes the files \
    that this and a station need."
)]
struct Options {
    /// Where to listen; port 0 for a free one.
    #[arg(long, default_value = "[::]:9145")]
    listen: String,
    /// The folder with service.pem, service.key and ca.pem. The certificate must be of P-256 and short, or stations on
    /// chips cannot take it; if the service has another one, put one for them into devices.pem and devices.key.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Without TLS and without knowing who connects, for a line that nobody else can reach.
    #[arg(long)]
    trusted_line: bool,
    /// Keep sessions and alarms in this file, so that nothing acked is lost or repeated when the service is killed.
    #[arg(long)]
    store: Option<PathBuf>,
    /// What each station is told when its session begins, as it would be typed; may be given several times.
    #[arg(long = "tell")]
    tell: Vec<Command>,
    /// A station of this name, as in its certificate, is told not to come back; may be given several times.
    #[arg(long)]
    retired: Vec<String>,
}

/// What a station can be told.
#[derive(Debug, Clone, Copy)]
enum Command {
    Interval(u32),
    Blink(u8),
    Reboot,
}

impl core::str::FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bad = |error| format!("`{line}`: {error}");
        match words.as_slice() {
            ["interval", milliseconds] => milliseconds
                .parse()
                .map(Self::Interval)
                .map_err(|error| bad(format!("{error}"))),
            ["blink", times] => times.parse().map(Self::Blink).map_err(|error| bad(format!("{error}"))),
            ["reboot"] => Ok(Self::Reboot),
            _ => Err(bad(
                "there are `interval MILLISECONDS`, `blink TIMES` and `reboot`".to_owned()
            )),
        }
    }
}

impl core::fmt::Display for Command {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Interval(milliseconds) => write!(f, "interval {milliseconds}"),
            Self::Blink(times) => write!(f, "blink {times}"),
            Self::Reboot => f.write_str("reboot"),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        // Warnings by default: that a client is refused, and why.
        .with_env_filter(
            EnvFilter::builder()
                .with_default_directive(LevelFilter::WARN.into())
                .from_env_lossy(),
        )
        .with_writer(std::io::stderr)
        .init();
    match serve(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent_service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Failed> {
    let stop = shutdown_signal();
    let bound = bind(service(&options), &options).await?;
    let address = bound
        .local_addr()
        .map_or_else(|| options.listen.clone(), |address| address.to_string());
    println!("Example/Station listens on {address}; Ctrl-C ends it");
    let handle = bound.handle();
    bound.run_until(take_commands(handle, stop)).await;
    println!("drained and stopped");
    Ok(())
}

fn service(options: &Options) -> Service<Station> {
    let mut service = Service::new(Station);
    if let Some(path) = &options.store {
        service = service.durable(path);
    }
    let (at_once, retired) = (options.tell.clone(), options.retired.clone());
    service
        .on_connect(move |conn: Conn<Station>| {
            let who = conn
                .credentials()
                .certificate()
                .map_or("nobody known", |certificate| certificate.subject());
            println!(
                "{} connects: {}, identity {}",
                conn.trid(),
                printable(who),
                conn.identity()
            );
            ready(refuse_retired(&conn, &retired))
        })
        .on_connected(move |conn: Conn<Station>| {
            let commands = at_once.clone();
            async move {
                if !matches!(conn.resumption(), Some(Resumption::Resumed { .. })) {
                    commands.into_iter().for_each(|command| tell(conn.clone(), command));
                }
                Ok(())
            }
        })
        .on(|conn, reading: Reading| async move {
            let Reading {
                number,
                uptime,
                celsius,
                millivolts,
                connections,
            } = reading;
            println!(
                "{} reading {number}: {celsius:.2} °C, {millivolts} mV, up {uptime} ms, connection {connections}",
                conn.identity()
            );
            Ok(())
        })
        .on(|conn, alarm: Alarm| async move {
            let Alarm { number, uptime, kind } = alarm;
            let mut said = format!("{} alarm {number}: {kind:?} at {uptime} ms", conn.identity());
            if conn.received().is_some_and(|received| received.maybe_repeated) {
                said += ", perhaps again";
            }
            keep(&conn, &said).await?;
            println!("{said}");
            Ok(())
        })
        .on(|conn, blinked: Blinked| async move {
            println!("{} has blinked {} times", conn.identity(), blinked.times);
            Ok(())
        })
        .on_drop(|conn, dropped| async move {
            println!("{} has gone: {}", conn.trid(), printable(&dropped.to_string()));
        })
}

/// Writes an alarm into the file: there, and dealt with; both or neither.
async fn keep(conn: &Conn<Station>, said: &str) -> Result<(), Failure> {
    if conn.received().is_none() || conn.service().store().is_none() {
        return Ok(());
    }
    let said = said.to_owned();
    let kept = conn.transact(move |transaction| append(transaction, &said)).await;
    kept.map_err(|error| Failure::new(format!("the alarm was not kept: {error}")))
}

fn append(transaction: &Transaction<'_>, said: &str) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(ALARMS)?;
    let next = table.last()?.map_or(0, |(place, _)| place.value() + 1);
    table.insert(next, said)?;
    Ok(())
}

async fn bind(service: Service<Station>, options: &Options) -> Result<BoundService<Station>, Failed> {
    let address = options.listen.as_str();
    let Some(folder) = &options.folder else {
        let service = service.allow_connect(Rule::everyone());
        return Ok(service.bind_plain_tcp(address).await?);
    };
    Ok(service.bind(address, tls(folder)?).await?)
}

fn tls(folder: &Path) -> Result<ServerTls, String> {
    let file = |name| folder.join(name);
    let files = TlsFiles::new(file("service.pem"), file("service.key"), file("ca.pem"));
    let own = file("devices.pem").exists();
    let devices = own.then(|| Certificate::from_pem_files(file("devices.pem"), file("devices.key")));
    let built = devices
        .transpose()
        .and_then(|devices| ServerTls::builder_from_files(&files)?.small_records(devices).build());
    built.map_err(|error| {
        let hint = match error {
            TlsError::SmallRecordsKey { .. } | TlsError::SmallRecordsFlight { .. } => {
                "; if the service is to keep this certificate, put one for devices into devices.pem and devices.key"
            }
            _ => "",
        };
        certificate_error(error) + hint
    })
}

/// What is typed goes to everybody, until Ctrl-C, SIGTERM or `quit`.
async fn take_commands(service: ServiceHandle<Station>, mut stop: ShutdownSignal) {
    let (typed, mut lines) = mpsc::channel(16);
    // Not of the runtime: it waits for a line for ever.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if typed.blocking_send(line).is_err() {
                return;
            }
        }
    });
    loop {
        let line = tokio::select! {
            () = &mut stop => return,
            // Without a standard input there are signals only.
            Some(line) = lines.recv() => line,
            else => return stop.await,
        };
        if line.trim() == "quit" {
            return;
        }
        match line.parse() {
            Ok(command) => {
                let connections = service.connections();
                println!("tells {} stations", connections.len());
                connections.into_iter().for_each(|conn| tell(conn, command));
            }
            Err(error) => println!("{}", printable(&error)),
        }
    }
}

/// Tells a station, once, however often it has to connect until it has done it.
fn tell(conn: Conn<Station>, command: Command) {
    tokio::spawn(async move {
        let stored = match command {
            Command::Interval(milliseconds) => conn.send_acked(&SetInterval { milliseconds }).await,
            Command::Blink(times) => conn.send_acked(&Blink { times }).await,
            Command::Reboot => conn.send_acked(&Reboot {}).await,
        };
        let who = conn.identity();
        let receipt = match stored {
            Ok(receipt) => receipt,
            Err(error) => return println!("{who} is not told `{command}`: {error}"),
        };
        match receipt.processed().await {
            Ok(Outcome::Ok) => println!("{who} has done `{command}`"),
            Ok(outcome) => println!("{who} has not done `{command}`: {outcome}"),
            Err(error) => println!("{who}: nobody knows about `{command}`: {error}"),
        }
    });
}
