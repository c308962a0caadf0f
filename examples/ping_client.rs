//! A client of `ping_service`: sends a Ping now and then and prints what happens. Stop the service and start it again
//! to see it come back. It ends with an error when it is refused for good.
//!
//! ```sh
//! cargo run --example make_certificates -- certificates
//! cargo run --example ping_service -- --folder certificates      # in another terminal
//! cargo run --example ping_client -- --folder certificates
//! ```

use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diset_examples::{News, Ping, PingPong, Pong, certificate_error, printable, println};
use diset_std::tls::{ClientTls, TlsFiles};
use diset_std::{Client, ClientEvent, ClientState, Events, Recordings, shutdown_signal};

/// Sends Pings and prints what comes. Ends in order at Ctrl-C or SIGTERM. `RUST_LOG=debug` shows more.
#[derive(Parser)]
#[command(
    after_help = "`cargo run --example make_certificates -- certificates` writes the files that this \
    and ping_service need."
)]
struct Options {
    /// The service, host:port, or several with commas. Its certificate must prove the host.
    #[arg(default_value = "localhost:9145")]
    service: String,
    /// The folder with NAME.pem, NAME.key and ca.pem.
    #[arg(long)]
    folder: PathBuf,
    /// The client whose certificate is used.
    #[arg(long, default_value = "alice")]
    name: String,
    /// Milliseconds between Pings.
    #[arg(long, default_value_t = 1000)]
    interval: u64,
    /// Stop after so many Pings; 0 for never.
    #[arg(long, default_value_t = 0)]
    count: i64,
    /// Write a log of each connection into this folder, for `timeline`. It holds the messages.
    #[arg(long)]
    record: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match ask(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ping_client: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

async fn ask(options: Options) -> Result<(), Box<dyn core::error::Error>> {
    let mut stop = shutdown_signal();
    let file = |ending: &str| options.folder.join(format!("{}.{ending}", options.name));
    let files = TlsFiles::new(file("pem"), file("key"), options.folder.join("ca.pem"));
    let tls = ClientTls::from_files(&files).map_err(certificate_error)?;
    // A renewed certificate is used from the next connection on.
    tokio::spawn(tls.watch(files).run());
    let mut builder = Client::builder(PingPong, &options.service).tls(tls);
    if let Some(folder) = &options.record {
        builder = builder.record_connections(Recordings::to(folder)?);
    }
    let (client, events) = builder
        .on_state(|_, state| match state {
            // Why it has stopped is said by main.
            ClientState::Stopped(_) => {}
            state => println!("{}", printable(&state.to_string())),
        })
        .events(64)?;
    let printing = tokio::spawn(print(events));
    let mut ticks = tokio::time::interval(Duration::from_millis(options.interval.max(1)));
    let mut stopped = core::pin::pin!(client.stopped());
    let mut id = 0;
    while options.count == 0 || id < options.count {
        tokio::select! {
            _ = ticks.tick() => {}
            // Somebody has to see to it: another attempt would be refused, too.
            why = &mut stopped => return Err(why.into()),
            () = &mut stop => break,
        }
        // While the service is away a plain message is not kept: it fails at once.
        if client.send(&Ping { id }).await.is_ok() {
            id += 1;
        }
    }
    client.close().await;
    printing.await?;
    println!("closed");
    Ok(())
}

async fn print(mut events: Events<PingPong>) {
    while let Some(event) = events.next().await {
        // Connections and drops are said by on_state already.
        let ClientEvent::Message(message) = event else { continue };
        if let Ok(pong) = message.decode::<Pong>() {
            println!("Pong {}", pong.id);
        } else if let Ok(news) = message.decode::<News>() {
            println!("News: {}", printable(&news.text));
        }
    }
}
