//! The service of the stations in `firmware/`, and of whoever else speaks their messages: prints what arrives, and tells
//! them what is typed.
//!
//! ```sh
//! cargo run --release --example make_certificates -- certificates --client station
//! cargo run --release --example agent_service -- --folder certificates
//! ```

use std::io::BufRead;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diset_examples::{certificate_error, printable};
use diset_std::tls::{ServerTls, TlsFiles};
use diset_std::{BoundService, Conn, Rule, Service, ServiceHandle};
use messages::{Alarm, Blink, Blinked, Reading, Reboot, SetInterval, Station};
use tokio::sync::mpsc;

type Failed = Box<dyn core::error::Error>;

/// Prints what stations report. A line on standard input goes to all that are connected: `interval MILLISECONDS`,
/// `blink TIMES`, `reboot`. Ends in order at Ctrl-C or `quit`.
#[derive(Parser)]
#[command(
    after_help = "`cargo run --release --example make_certificates -- certificates --client station` writes the files \
    that this and a station need."
)]
struct Options {
    /// Where to listen; port 0 for a free one.
    #[arg(long, default_value = "[::]:9145")]
    listen: String,
    /// The folder with service.pem, service.key and ca.pem.
    #[arg(long, required_unless_present = "trusted_line")]
    folder: Option<PathBuf>,
    /// Without TLS and without knowing who connects, for a line that nobody else can reach.
    #[arg(long, conflicts_with = "folder")]
    trusted_line: bool,
    /// Keep sessions in this file, so that nothing acked is lost or repeated when the service is killed.
    #[arg(long)]
    store: Option<PathBuf>,
    /// What each station is told when it connects, as it would be typed; may be given several times.
    #[arg(long = "tell")]
    tell: Vec<Command>,
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

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
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
    let bound = bind(service(&options), &options).await?;
    let address = bound
        .local_addr()
        .map_or_else(|| options.listen.clone(), |address| address.to_string());
    println!("Example/Station listens on {address}; Ctrl-C ends it");
    let handle = bound.handle();
    bound.run_until(take_commands(handle)).await;
    println!("drained and stopped");
    Ok(())
}

fn service(options: &Options) -> Service<Station> {
    let mut service = Service::new(Station);
    if let Some(path) = &options.store {
        service = service.durable(path);
    }
    let at_once = options.tell.clone();
    service
        .on_connect(|conn: Conn<Station>| async move {
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
            Ok(())
        })
        .on_connected(move |conn: Conn<Station>| {
            let commands = at_once.clone();
            async move {
                for command in commands {
                    match command {
                        Command::Interval(milliseconds) => conn.send(&SetInterval { milliseconds }).await?,
                        Command::Blink(times) => conn.send(&Blink { times }).await?,
                        Command::Reboot => conn.send(&Reboot {}).await?,
                    }
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
            println!(
                "{} alarm {}: {:?} at {} ms",
                conn.identity(),
                alarm.number,
                alarm.kind,
                alarm.uptime
            );
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

async fn bind(service: Service<Station>, options: &Options) -> Result<BoundService<Station>, Failed> {
    let address = options.listen.as_str();
    let Some(folder) = &options.folder else {
        let service = service.allow_connect(Rule::everyone());
        return Ok(service.bind_plain_tcp(address).await?);
    };
    let file = |name| folder.join(name);
    let files = TlsFiles::new(file("service.pem"), file("service.key"), file("ca.pem"));
    let tls = ServerTls::from_files(&files).map_err(certificate_error)?;
    Ok(service.bind(address, tls).await?)
}

/// What is typed goes to everybody, until Ctrl-C or `quit`.
async fn take_commands(service: ServiceHandle<Station>) {
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
            _ = tokio::signal::ctrl_c() => return,
            // Without a standard input there is Ctrl-C only.
            Some(line) = lines.recv() => line,
            else => return tokio::signal::ctrl_c().await.unwrap_or_default(),
        };
        if line.trim() == "quit" {
            return;
        }
        match line.parse() {
            Ok(command) => println!("told {} stations", tell(&service, command)),
            Err(error) => println!("{}", printable(&error)),
        }
    }
}

fn tell(service: &ServiceHandle<Station>, command: Command) -> usize {
    match command {
        Command::Interval(milliseconds) => service.broadcast(&SetInterval { milliseconds }),
        Command::Blink(times) => service.broadcast(&Blink { times }),
        Command::Reboot => service.broadcast(&Reboot {}),
    }
    .queued
}
