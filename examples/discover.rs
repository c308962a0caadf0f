//! Looks at a service without knowing it: lists its messages, sends one, prints what comes. It is built without any
//! message; what it needs it learns when it connects. With `ping_service` in another terminal:
//!
//! ```sh
//! alias discover='cargo run -q --example discover -- localhost:9145/Framework/PingPong --folder certificates'
//! discover
//! discover send Ping '{"id": 7}'
//! discover watch
//! ```

use core::time::Duration;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use diset_examples::{certificate_error, printable};
use diset_std::diset_proto::{Direction, LearnedCatalog, LearnedMessage, Shape};
use diset_std::tls::{Authorities, Certificate, ClientTls, TlsError};
use diset_std::{
    AnyMessage, Client, ClientBuilder, ClientEvent, ClientState, Code, Ended, Events, Generic, Value, Verdict,
    shutdown_signal,
};

type Failed = Box<dyn core::error::Error>;

/// Lists the messages of a service, sends one, or prints what the service sends.
#[derive(Parser)]
#[command(
    after_help = "With --folder: NAME.pem, NAME.key and ca.pem in it. `cargo run --example \
    make_certificates -- certificates` writes those of ping_service. RUST_LOG=debug shows more."
)]
struct Options {
    /// The service, HOST:PORT/System/Name, or several HOST:PORT with commas. Its certificate must prove the host. With
    /// --unix only System/Name.
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
    /// The name that the certificate of the service must prove, when it is not the host.
    #[arg(long)]
    server_name: Option<String>,
    /// Connect without TLS: nothing is authenticated or encrypted.
    #[arg(long, conflicts_with_all = ["folder", "cert", "server_name"])]
    plain: bool,
    /// Connect to this Unix socket, without TLS.
    #[cfg(unix)]
    #[arg(long, conflicts_with_all = ["folder", "cert", "server_name", "plain"])]
    unix: Option<PathBuf>,
    /// A connect argument, for services that ask for some; may be given several times. true and false are truth
    /// values, numbers are numbers, all else is text, as is what stands in double quotes: 'room="7"'.
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = argument)]
    args: Vec<(String, Value)>,
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
        /// What it says, as JSON: {"id": 7} for attributes. One without attributes needs none.
        value: Option<String>,
        /// For how many milliseconds it prints what comes back.
        #[arg(long, default_value_t = 1000)]
        wait: u64,
    },
    /// Print what the service sends, until Ctrl-C or SIGTERM. Connects again when the connection is lost.
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
            eprintln!("discover: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

async fn discover(options: Options) -> Result<(), Failed> {
    let task = options.task.as_ref().unwrap_or(&Task::List);
    let stays = matches!(task, Task::Watch { .. });
    let (client, mut events) = connect(&options).await?;
    let catalog = client.catalog().ok_or("the service told no catalog")?;
    let mut seen = 0;
    match task {
        Task::List => list(&client, &catalog)?,
        Task::Send { message, value, wait } => {
            let message = message_of(&client, &catalog, message, value.as_deref())?;
            client.send_any(&message).await?;
            let answers = print(&client, &mut events, &mut seen, 0, stays);
            // What comes later is not waited for.
            tokio::time::timeout(Duration::from_millis(*wait), answers)
                .await
                .unwrap_or(Ok(()))?;
            if seen == 0 {
                eprintln!("sent; nothing came back within {wait} ms");
            }
        }
        Task::Watch { count } => {
            tokio::select! {
                printed = print(&client, &mut events, &mut seen, *count, stays) => printed?,
                () = shutdown_signal() => {}
            }
        }
    }
    client.close().await;
    Ok(())
}

/// A client that is connected, or why it cannot be.
async fn connect(options: &Options) -> Result<(Client<Generic>, Events<Generic>), Failed> {
    let mut builder = builder(options)?;
    for (name, value) in &options.args {
        builder = builder.arg(name, value.clone());
    }
    let (client, events) = builder.events(64)?;
    let has_tried = |state: &ClientState| !matches!(state, ClientState::Connecting);
    match client.watch().wait_for(has_tried).await {
        Ok(ClientState::Waiting { why, .. } | ClientState::Stopped(why)) | Err(why) => Err(failed(&why, options.plain)),
        Ok(_) => Ok((client, events)),
    }
}

fn builder(options: &Options) -> Result<ClientBuilder<Generic>, Failed> {
    #[cfg(unix)]
    if let Some(path) = &options.unix {
        return Ok(Client::generic_unix(&options.service, path));
    }
    let (address, name) = options
        .service
        .split_once('/')
        .ok_or("write the service as HOST:PORT/System/Name, such as localhost:9145/Framework/PingPong")?;
    let mut builder = Client::generic(name, address);
    if options.plain {
        return Ok(builder.plain_tcp());
    }
    let files =
        files(options).ok_or("say who you are: --folder FOLDER, or --cert, --key and --ca, or --plain without TLS")?;
    if let Some(name) = &options.server_name {
        builder = builder.server_name(name);
    }
    Ok(builder.tls(tls(&files).map_err(certificate_error)?))
}

fn tls([chain, key, authorities]: &[PathBuf; 3]) -> Result<ClientTls, TlsError> {
    let certificate = Certificate::from_pem_files(chain, key)?;
    ClientTls::new(certificate, Authorities::from_pem_file(authorities)?)
}

/// Why there is no connection, with what may help.
fn failed(why: &Ended, plain: bool) -> Failed {
    if plain && why.code() == Some(Code::NotDiset) {
        return format!("{why}; does it speak TLS? Then connect without --plain").into();
    }
    why.clone().into()
}

/// A connect argument as it is written on the command line.
fn argument(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let is_number = value.contains(|digit: char| digit.is_ascii_digit());
    let value = if let Ok(truth) = value.parse::<bool>() {
        Value::Bool(truth)
    } else if let Ok(whole) = value.parse::<i64>() {
        Value::Int(whole)
    } else if let (true, Ok(number)) = (is_number, value.parse::<f64>()) {
        // Not for the words `inf` and `nan`, which may be names.
        Value::Float(number)
    } else {
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        Value::Text(quoted.unwrap_or(value).to_owned())
    };
    Ok((name.to_owned(), value))
}

/// Reads the value straight from the text: nothing is rounded, and no attribute may stand there twice.
fn message_of(
    client: &Client<Generic>,
    catalog: &LearnedCatalog,
    name: &str,
    value: Option<&str>,
) -> Result<AnyMessage<Generic>, Failed> {
    let shape = catalog.message(name).map(|message| message.structure().shape());
    let nothing = if matches!(shape, Some(Shape::Structure(_))) {
        "{}"
    } else {
        "null"
    };
    let mut json = serde_json::Deserializer::from_str(value.unwrap_or(nothing));
    let message = client.value(name, &mut json)?;
    json.end().map_err(|error| format!("after the value: {error}"))?;
    Ok(message)
}

/// Chain, key and authorities.
fn files(options: &Options) -> Option<[PathBuf; 3]> {
    if let Some(folder) = &options.folder {
        let own = |ending: &str| folder.join(format!("{}.{ending}", options.name));
        return Some([own("pem"), own("key"), folder.join("ca.pem")]);
    }
    Some([options.cert.clone()?, options.key.clone()?, options.ca.clone()?])
}

fn list(client: &Client<Generic>, catalog: &LearnedCatalog) -> Result<(), Failed> {
    let verdicts = client.verdicts();
    if verdicts.len() != catalog.messages().len() {
        return Err(format!("the connection is gone again: {}", client.state()).into());
    }
    // Whoever reads this, such as `head`, may have gone.
    let mut out = diset_examples::out();
    writeln!(out, "{}  digest {:?}", catalog.service(), catalog.digest())?;
    for (message, (_, verdict)) in catalog.messages().iter().zip(verdicts) {
        writeln!(out, "{}", entry(message, verdict))?;
    }
    Ok(())
}

/// A definition on a line of its own. What is no message is asked, and cannot be sent.
fn entry(definition: &LearnedMessage, verdict: Verdict) -> String {
    let asked = definition.kind().has_answer();
    let way = match definition.direction() {
        Direction::FromClient if asked => "you ask",
        Direction::FromService if asked => "it asks",
        Direction::Both if asked => "both ask",
        Direction::FromClient => "you send",
        Direction::FromService => "it sends",
        Direction::Both => "both send",
    };
    let note = if verdict == Verdict::Same {
        ""
    } else {
        "  (forbidden to you)"
    };
    format!("  {way:<9}  {}{note}", printable(&definition.to_string()))
}

/// Prints what comes: so many messages, 0 for all; `seen` counts them. An end of the connection is an error, unless the
/// client `stays`.
async fn print(
    client: &Client<Generic>,
    events: &mut Events<Generic>,
    seen: &mut u64,
    count: u64,
    stays: bool,
) -> Result<(), Failed> {
    let mut was_lost = false;
    while let Some(event) = events.next().await {
        match event {
            ClientEvent::Message(message) => {
                // Whoever reads this may have gone, too.
                writeln!(diset_examples::out(), "{}", line(&message)?)?;
                *seen += 1;
                if *seen == count {
                    return Ok(());
                }
            }
            ClientEvent::Dropped(why) => {
                let why = format!("disconnected: {why}");
                if !stays {
                    return Err(why.into());
                }
                eprintln!("{}", printable(&why));
                was_lost = true;
            }
            ClientEvent::Connected(trid) if was_lost => eprintln!("connected again, {trid}"),
            _ => {}
        }
    }
    match client.state() {
        ClientState::Stopped(why) => Err(why.into()),
        _ => Ok(()),
    }
}

/// A message: its name, and what it says as JSON.
fn line(message: &AnyMessage<Generic>) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string(message)?;
    Ok(printable(&format!("{} {text}", message.name())))
}

#[cfg(all(test, unix))]
mod tests {
    use diset_std::{Conn, Rule, Schema, Service, define_service};
    use serde::{Deserialize, Serialize};
    use tokio::sync::mpsc;

    use super::*;

    #[derive(Debug, Serialize, Deserialize, Schema)]
    struct Beep;

    #[derive(Debug, Serialize, Deserialize, Schema)]
    struct Empty {}

    #[derive(Debug, Serialize, Deserialize, Schema)]
    struct Heard {
        text: String,
    }

    define_service! { Odd = "Test/Odd"; from_client: [Beep, Empty], from_service: [Heard] }

    #[test]
    fn what_is_no_message_is_listed_with_its_kind_and_its_answer() -> Result<(), Failed> {
        let listed = |description: &[u8]| LearnedMessage::decode(description).map(|each| entry(&each, Verdict::Same));
        assert_eq!(listed(b"\x01\x00\x01\0A\x07")?, "  you send   A(u8)");
        assert_eq!(
            listed(b"\x01\x01\x03\0Ask\x07\x0f")?,
            "  you ask    call Ask(u8) -> str"
        );
        assert_eq!(listed(b"\x02\x03\x01\0U\x11\x01")?, "  it asks    upload U -> bool");
        Ok(())
    }

    const HOSTILE: &str = "\u{9b}31m \u{202e} \u{85}";

    #[tokio::test]
    async fn a_service_gets_arguments_and_messages_without_attributes_and_cannot_draw() -> Result<(), Failed> {
        let path = std::env::temp_dir().join(format!("diset-discover-{}", std::process::id()));
        let (given, mut seen) = mpsc::unbounded_channel();
        let bound = Service::new(Odd)
            .allow_connect(Rule::everyone())
            .on_connect(move |conn: Conn<Odd>| {
                for (name, value) in conn.args().iter() {
                    given.send((name.to_owned(), value.clone())).ok();
                }
                async { Ok(()) }
            })
            .on(|conn: Conn<Odd>, _: Beep| async move {
                let text = HOSTILE.to_owned();
                conn.send(&Heard { text }).await?;
                Ok(())
            })
            .bind_unix(&path)
            .await?;
        let serving = tokio::spawn(bound.run());
        let mut command = vec!["discover", "Test/Odd", "--unix", path.to_str().ok_or("not UTF-8")?];
        for argument in ["a=true", "b=-7", "c=1e3", "d=nan", "e=\"7\"", "f="] {
            command.extend(["--arg", argument]);
        }
        let (client, mut events) = connect(&Options::try_parse_from(command)?).await?;
        for (name, value) in [
            ("a", Value::Bool(true)),
            ("b", Value::Int(-7)),
            ("c", Value::Float(1000.0)),
            ("d", Value::from("nan")),
            ("e", Value::from("7")),
            ("f", Value::from("")),
        ] {
            assert_eq!(seen.recv().await, Some((name.to_owned(), value)));
        }
        let catalog = client.catalog().ok_or("connected")?;
        let message = |name, value| message_of(&client, &catalog, name, value);
        message("Empty", None)?;
        message("Empty", Some("{}"))?;
        for (name, value) in [("Empty", "null"), ("Beep", "{}"), ("Beep", "null null")] {
            assert!(message(name, Some(value)).is_err(), "{name} {value}");
        }
        client.send_any(&message("Beep", None)?).await?;
        let answer = async {
            loop {
                match events.next().await {
                    Some(ClientEvent::Message(message)) => return line(&message),
                    Some(_) => {}
                    None => return Ok(String::new()),
                }
            }
        };
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await??;
        assert_eq!(answer, r#"Heard {"text":"\u009b31m \u202e \u0085"}"#);
        client.close().await;
        serving.abort();
        std::fs::remove_file(path).ok();
        Ok(())
    }
}
