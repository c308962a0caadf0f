//! A service for `ping_client`: answers each Ping, and has News for everybody now and then. It takes certificates that change while it runs, and
//! ends the connections of clients that it would not let in any more.
//!
//! ```sh
//! cargo run --release --example make_certificates -- certificates
//! cargo run --release --example ping_service -- --folder certificates
//! ```

use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diset_examples::{News, Ping, PingPong, Pong, certificate_error, printable};
use diset_std::tls::{FileWatch, ServerTls, TlsFiles};
use diset_std::{Conn, Recordings, Service, ServiceHandle};

/// Answers each Ping with a Pong. Ends in order at Ctrl-C. `RUST_LOG=debug` shows more.
#[derive(Parser)]
#[command(
    after_help = "`cargo run --release --example make_certificates -- certificates` writes the files that this \
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
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::builder()
                .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
                .from_env_lossy(),
        )
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
    let file = |name| options.folder.join(name);
    let files =
        TlsFiles::new(file("service.pem"), file("service.key"), file("ca.pem")).revocations_if_there(file("crl.pem"));
    let tls = ServerTls::from_files(&files).map_err(certificate_error)?;
    let watch = tls.watch(files);
    let mut service = Service::new(PingPong);
    if let Some(folder) = &options.record {
        service = service.record_connections(Recordings::to(folder)?);
    }
    let bound = service
        .on_connect(|conn: Conn<PingPong>| async move {
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
            Ok(())
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
    bound
        .run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() })
        .await;
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
