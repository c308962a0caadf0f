//! A service for `ping_client`: answers each Ping, and has News for everybody now and then. It takes certificates that change while it runs, and
//! ends the connections of clients that it would not let in any more.
//!
//! ```sh
//! cargo run --example make_certificates -- certificates
//! cargo run --example ping_service -- --folder certificates
//! ```

use core::future::ready;
use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diset_examples::{News, Ping, PingPong, Pong, certificate_error, printable, println, refuse_retired};
use diset_std::tls::{FileWatch, ServerTls, TlsFiles};
use diset_std::{Conn, Recordings, Service, ServiceHandle, shutdown_signal};

/// Answers each Ping with a Pong. Ends in order at Ctrl-C or SIGTERM, a second one ends it at once. `RUST_LOG=debug` shows more.
#[derive(Parser)]
#[command(
    after_help = "`cargo run --example make_certificates -- certificates` writes the files that this \
    and its clients need."
)]
struct Options {
    /// Where to listen; port 0 for a free one.
    #[arg(long, default_value = "[::]:9145")]
    listen: String,
    /// The folder with service.pem, service.key and ca.pem; and crl.pem, now or later, if clients are revoked.
    #[arg(long)]
    folder: PathBuf,
    /// Seconds between News; 0 for none.
    #[arg(long, default_value_t = 5)]
    news: u64,
    /// Write a log of each connection into this folder, for `timeline`. It holds the messages.
    #[arg(long)]
    record: Option<PathBuf>,
    /// A client of this name, as in its certificate, is told not to come back; may be given several times.
    #[arg(long)]
    retired: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Warnings, such as those of revocation lists that do not count, show unless RUST_LOG says otherwise.
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match serve(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ping_service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Box<dyn core::error::Error>> {
    // Before anything else: what asks this to end from now on is not missed.
    let stop = shutdown_signal();
    let file = |name| options.folder.join(name);
    let files =
        TlsFiles::new(file("service.pem"), file("service.key"), file("ca.pem")).revocations_if_there(file("crl.pem"));
    let tls = ServerTls::from_files(&files).map_err(certificate_error)?;
    let watch = tls.watch(files);
    let mut service = Service::new(PingPong);
    if let Some(folder) = &options.record {
        service = service.record_connections(Recordings::to(folder)?);
    }
    let retired = options.retired;
    let bound = service
        .on_connect(move |conn: Conn<PingPong>| {
            let subject = conn
                .credentials()
                .certificate()
                .map_or("nobody", |certificate| certificate.subject());
            println!(
                "{} is {}, identity {}, from {}",
                conn.trid(),
                printable(subject),
                conn.identity(),
                conn.peer_addr()
            );
            ready(refuse_retired(&conn, &retired))
        })
        .on(|conn, ping: Ping| async move {
            conn.send(&Pong { id: ping.id }).await?;
            Ok(())
        })
        .on_drop(
            |conn, dropped| async move { println!("{} has gone: {}", conn.trid(), printable(&dropped.to_string())) },
        )
        .bind(options.listen.as_str(), tls)
        .await?;
    let address = bound.local_addr().map_or(options.listen, |address| address.to_string());
    println!("Framework/PingPong listens on {address}; Ctrl-C ends it");
    tokio::spawn(take_changes(watch, bound.handle()));
    if options.news > 0 {
        tokio::spawn(tell(bound.handle(), Duration::from_secs(options.news)));
    }
    bound.run_until(stop).await;
    println!("drained and stopped");
    Ok(())
}

/// Takes what is new in the certificate files; the watch looks every 10 s.
async fn take_changes(mut watch: FileWatch, service: ServiceHandle<PingPong>) {
    while let Some(change) = watch.changed().await {
        let ended = service.recheck_credentials().await;
        println!("new: {change}; {ended} connections ended for it");
    }
}

/// Says something to everybody, at intervals.
async fn tell(service: ServiceHandle<PingPong>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let count = service.connections().len();
        service.broadcast(&News {
            text: format!("{count} connected"),
        });
    }
}
