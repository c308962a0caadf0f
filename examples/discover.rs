//! Looks at a service without knowing it: lists its messages, sends one, prints what comes. It is built without any
//! message; what it needs it learns when it connects. With `ping_service` in another terminal:
//!
//! ```sh
//! alias discover='cargo run -q --release --example discover -- localhost:9145/Framework/PingPong --folder certificates'
//! discover
//! discover send Ping '{"id": 7}'
//! discover watch
//! ```

use core::time::Duration;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use diset_std::diset_proto::{Direction, LearnedCatalog};
use diset_std::tls::{Authorities, Certificate, ClientTls};
use diset_std::{AnyMessage, Client, ClientEvent, ClientState, Events, Generic, Verdict};

type Failed = Box<dyn core::error::Error>;

/// Lists the messages of a service, sends one, or prints what the service sends.
#[derive(Parser)]
#[command(
    after_help = "With --folder: NAME.pem, NAME.key and ca.pem in it. The files of ping_service are made by \
    make_certificates. RUST_LOG=debug shows more."
)]
struct Options {
    /// The service, HOST:PORT/System/Name. Its certificate must prove the host.
    service: String,
    /// The folder with NAME.pem, NAME.key and ca.pem.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The client whose certificate in the folder is used.
    #[arg(long, default_value = "alice")]
    name: String,
    /// The certificate chain of this client, in place of a folder.
    #[arg(long, requires_all = ["key", "ca"], conflicts_with = "folder")]
    cert: Option<PathBuf>,
    /// Its private key.
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// The authorities that the service must show.
    #[arg(long, requires = "cert")]
    ca: Option<PathBuf>,
    /// Connect without TLS: nothing is authenticated or encrypted.
    #[arg(long, conflicts_with_all = ["folder", "cert"])]
    plain: bool,
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// List the messages of the service (without a command, too).
    List,
    /// Send one message and print what comes.
    Send {
        /// The name of the message.
        message: String,
        /// Its attributes as JSON.
        #[arg(default_value = "null")]
        value: String,
        /// For how many milliseconds it prints what comes back.
        #[arg(long, default_value_t = 1000)]
        wait: u64,
    },
    /// Print what the service sends, until Ctrl-C. Connects again when the connection is lost.
    Watch {
        /// Stop after so many messages; 0 for never.
        #[arg(long, default_value_t = 0)]
        count: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match discover(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("discover: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn discover(options: Options) -> Result<(), Failed> {
    let task = options.task.as_ref().unwrap_or(&Task::List);
    let stays = matches!(task, Task::Watch { .. });
    let (client, mut events) = connect(&options).await?;
    let catalog = client.catalog().ok_or("the service told no catalog")?;
    match task {
        Task::List => list(&client, &catalog),
        Task::Send { message, value, wait } => {
            let value: serde_json::Value =
                serde_json::from_str(value).map_err(|error| format!("the value is not JSON: {error}"))?;
            // A message without attributes needs no value.
            let value = if value.is_null() { serde_json::json!({}) } else { value };
            client.send_any(&client.value(message, value)?).await?;
            let answers = print(&client, &mut events, 0, stays);
            // What comes later is not waited for.
            tokio::time::timeout(Duration::from_millis(*wait), answers)
                .await
                .unwrap_or(Ok(()))?;
        }
        Task::Watch { count } => {
            tokio::select! {
                printed = print(&client, &mut events, *count, stays) => printed?,
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    }
    client.close().await;
    Ok(())
}

/// A client that is connected, or why it cannot be.
async fn connect(options: &Options) -> Result<(Client<Generic>, Events<Generic>), Failed> {
    let (address, name) = options
        .service
        .split_once('/')
        .ok_or("write the service as HOST:PORT/System/Name, such as localhost:9145/Framework/PingPong")?;
    let builder = Client::generic(name, address);
    let builder = match files(options) {
        _ if options.plain => builder.plain_tcp(),
        Some([chain, key, ca]) => {
            let certificate = Certificate::from_pem_files(chain, key)?;
            builder.tls(ClientTls::new(certificate, Authorities::from_pem_file(ca)?)?)
        }
        None => {
            return Err("say who you are: --folder FOLDER, or --cert, --key and --ca, or --plain without TLS".into());
        }
    };
    let (client, events) = builder.events(64)?;
    let mut states = client.watch();
    loop {
        match &*states.borrow_and_update() {
            ClientState::Connecting => {}
            ClientState::Connected(_) => return Ok((client.clone(), events)),
            ClientState::Waiting { why, .. } | ClientState::Stopped(why) => return Err(why.clone().into()),
            _ => {}
        }
        states.changed().await?;
    }
}

/// Chain, key and authorities.
fn files(options: &Options) -> Option<[PathBuf; 3]> {
    if let Some(folder) = &options.folder {
        let own = |ending: &str| folder.join(format!("{}.{ending}", options.name));
        return Some([own("pem"), own("key"), folder.join("ca.pem")]);
    }
    Some([options.cert.clone()?, options.key.clone()?, options.ca.clone()?])
}

fn list(client: &Client<Generic>, catalog: &LearnedCatalog) {
    println!("{}  digest {:?}", catalog.service(), catalog.digest());
    for (message, (_, verdict)) in catalog.messages().iter().zip(client.learnt()) {
        let way = match message.direction() {
            Direction::FromClient => "you send",
            Direction::FromService => "it sends",
            Direction::Both => "both send",
        };
        let note = if verdict == Verdict::Same {
            ""
        } else {
            "  (forbidden to you)"
        };
        println!("  {way:<9}  {message}{note}");
    }
}

/// Prints what comes: so many messages, 0 for all. An end of the connection is an error, unless the client `stays`.
async fn print(client: &Client<Generic>, events: &mut Events<Generic>, count: u64, stays: bool) -> Result<(), Failed> {
    let mut seen = 0;
    while let Some(event) = events.next().await {
        match event {
            ClientEvent::Message(message) => {
                show(&message)?;
                seen += 1;
                if seen == count {
                    return Ok(());
                }
            }
            ClientEvent::Dropped(why) if stays => eprintln!("disconnected: {why}"),
            ClientEvent::Dropped(why) => return Err(format!("disconnected: {why}").into()),
            ClientEvent::Connected(trid) if seen > 0 => eprintln!("connected again, {trid}"),
            _ => {}
        }
    }
    match client.state() {
        ClientState::Stopped(why) => Err(why.into()),
        _ => Ok(()),
    }
}

/// One line for each message: its name, and its attributes as JSON.
fn show(message: &AnyMessage<Generic>) -> Result<(), Failed> {
    let text = serde_json::to_string(message)?;
    // Whoever reads this, such as `head`, may have gone.
    writeln!(std::io::stdout(), "{} {text}", message.name().escape_debug())?;
    Ok(())
}
