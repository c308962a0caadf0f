//! A client of `ping_service`: sends a Ping now and then and prints what happens. Stop the service and start it again
//! to see it come back.
//!
//! ```sh
//! cargo run --release --example ping_client -- --folder certificates
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use diset_examples::{Ping, PingPong};
use diset_std::tls::{Authorities, Certificate, ClientTls};
use diset_std::{Client, ClientEvent, Events};

/// Sends Pings and prints what comes. Ends in order at Ctrl-C. `RUST_LOG=debug` shows more.
#[derive(Parser)]
struct Options {
    /// The service, host:port. Its certificate must prove the host.
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
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    match ask(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ping_client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let file = |ending: &str| options.folder.join(format!("{}.{ending}", options.name));
    let certificate = Certificate::from_pem_files(file("pem"), file("key"))?;
    let tls = ClientTls::new(certificate, Authorities::from_pem_file(options.folder.join("ca.pem"))?)?;
    let (client, events) = Client::builder(PingPong, &options.service)
        .tls(tls)
        .on_state(|_, state| println!("{state}"))
        .events(64)?;
    let printing = tokio::spawn(print(events));
    let mut ticks = tokio::time::interval(Duration::from_millis(options.interval.max(1)));
    let mut id = 0;
    while options.count == 0 || id < options.count {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        // While the service is away a plain message is not kept: it fails at once.
        if client.send(&Ping { id }).await.is_ok() {
            id += 1;
        }
    }
    client.close().await;
    printing.await?;
    Ok(())
}

async fn print(mut events: Events<PingPong>) {
    while let Some(event) = events.next().await {
        match event {
            ClientEvent::Message(message) => match message.decode::<diset_examples::Pong>() {
                Ok(pong) => println!("Pong {}", pong.id),
                Err(_) => println!("{message:?}"),
            },
            ClientEvent::Dropped(dropped) => println!("disconnected: {dropped}"),
            // Said by on_state already.
            _ => {}
        }
    }
}
