//! Prints the log of a connection as a timeline, and replays it in the engine. `ping_service` and `ping_client` write
//! logs with `--record FOLDER`.
//!
//! ```sh
//! cargo run --example ping_service -- --folder certificates --record logs
//! cargo run --example ping_client -- --folder certificates --count 3     # in another terminal
//! cargo run --example timeline -- logs/*.disetlog
//! ```

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diset_examples::{PingPong, printable, println};
use diset_proto::recording::{Begin, Entries, Entry, Logged, Said, frame_name, is_message};
use diset_proto::replay::{Replay, ReplayError};
use diset_proto::{Code, Deframer, GrowBuf};

/// Prints logs of connections: a line for each frame and each call, with seconds since the beginning; `<-` came, `->`
/// left, `::` is a call. Then says whether the engine does the same again, bit for bit. Ends with an error when it does
/// not, or a log is damaged.
#[derive(Parser)]
#[command(
    after_help = "A log holds the bodies of messages. They are not printed without --bodies. What left is \
    known, and names of messages are, when the service is one of these examples, or the client took its catalog."
)]
struct Options {
    /// The logs.
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// Print the bodies of frames, and the payloads of messages that were sent, in hexadecimal.
    #[arg(long)]
    bodies: bool,
    /// Print also what only keeps the engine going: bytes that came, time, transmissions.
    #[arg(long)]
    all: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut code = ExitCode::SUCCESS;
    for path in &options.logs {
        if options.logs.len() > 1 {
            println!("{}", printable(&path.to_string_lossy()));
        }
        let told = std::fs::read(path)
            .map_err(|error| error.to_string())
            .and_then(|log| print(&log, &options, &mut diset_examples::out()));
        if let Err(error) = told {
            eprintln!("timeline: {}: {}", path.display(), printable(&error));
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Prints one log.
fn print(log: &[u8], options: &Options, to: &mut dyn Write) -> Result<(), String> {
    match Replay::of::<PingPong>(log) {
        Ok(replay) => print_replay(replay, log, options, to),
        Err(ReplayError::OtherCatalog(digest)) => {
            let mut printer = Printer::new(options, to);
            for logged in Entries::new(log).map_err(|error| error.to_string())? {
                printer.entry(&logged.map_err(|error| error.to_string())?, &|_| None)?;
            }
            printer.line(None, "", &format!("not replayed: there is no catalog {digest:?} here"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Prints what is replayed.
fn print_replay(mut replay: Replay<'_>, log: &[u8], options: &Options, to: &mut dyn Write) -> Result<(), String> {
    let mut printer = Printer::new(options, to);
    if let Some(Ok(begin)) = Entries::new(log).map_err(|error| error.to_string())?.next() {
        printer.entry(&begin, &|_| None)?;
    }
    let mut sent = Deframer::new(GrowBuf::new(1 << 28));
    let mut shown = false;
    loop {
        let (logged, left) = match replay.step() {
            Ok(Some(step)) => (step.logged.clone(), step.left.to_vec()),
            Ok(None) => break,
            Err(error) => return Err(format!("replay: {error}")),
        };
        let name = |number| match number {
            Number::Wire(wire) => replay.name_on_wire(wire).map(str::to_owned),
            Number::Own(own) => replay.name_of(own).map(str::to_owned),
        };
        printer.entry(&logged, &name)?;
        let mut left = left.as_slice();
        while let Some(frame) = sent.next(&mut left, u32::MAX) {
            if let Some((head, body)) = frame.parts() {
                printer.frame(logged.time, "->", head, body, &name)?;
            }
        }
        if let Some(catalog) = replay.learned().filter(|_| !shown) {
            shown = true;
            for definition in catalog.messages() {
                printer.line(None, "", &format!("  learned: {definition}"))?;
            }
        }
    }
    let done = replay.done();
    let end = done
        .cause
        .as_ref()
        .map_or_else(|| "the log ends before the connection".into(), ToString::to_string);
    printer.line(None, "", &end)?;
    let (entries, bytes) = (done.entries, done.bytes);
    printer.line(
        None,
        "",
        &format!("replayed: {entries} entries, output of {bytes} bytes identical"),
    )
}

/// The number of a message.
enum Number {
    /// On the wire.
    Wire(u8),
    /// In the catalog of the side that was recorded.
    Own(u8),
}

/// The names of messages, as far as they are known.
type Names<'n> = &'n dyn Fn(Number) -> Option<String>;

struct Printer<'p> {
    options: &'p Options,
    to: &'p mut dyn Write,
    /// When the first entry with a time was.
    start: Option<u64>,
}

impl<'p> Printer<'p> {
    fn new(options: &'p Options, to: &'p mut dyn Write) -> Self {
        Self {
            options,
            to,
            start: None,
        }
    }

    fn line(&mut self, time: Option<u64>, arrow: &str, what: &str) -> Result<(), String> {
        let what = printable(what);
        let written = match time {
            Some(time) => {
                // What was before the first time has none.
                let start = *self.start.insert(self.start.filter(|&start| start > 0).unwrap_or(time));
                let since = time.saturating_sub(start);
                writeln!(self.to, "{:>6}.{:03} {arrow} {what}", since / 1000, since % 1000)
            }
            None => writeln!(self.to, "{what}"),
        };
        written.map_err(|error| error.to_string())
    }

    fn frame(&mut self, time: u64, arrow: &str, head: u8, body: &[u8], names: Names<'_>) -> Result<(), String> {
        let mut what = frame_name(head).to_owned();
        let mut body = body;
        if let Some((&wire, payload)) = body.split_first().filter(|_| is_message(head)) {
            what = match names(Number::Wire(wire)) {
                Some(name) => format!("{what} {name} ({wire})"),
                None => format!("{what} {wire}"),
            };
            body = payload;
        }
        self.line(Some(time), arrow, &format!("{what}, {}", self.bytes(body)))
    }

    /// How many, and which if they are to be shown.
    fn bytes(&self, bytes: &[u8]) -> String {
        let count = match bytes.len() {
            1 => "1 byte".to_owned(),
            count => format!("{count} bytes"),
        };
        if !self.options.bodies || bytes.is_empty() {
            return count;
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{count}: {hex}")
    }

    fn entry(&mut self, logged: &Logged<'_>, names: Names<'_>) -> Result<(), String> {
        let time = logged.time;
        match &logged.entry {
            Entry::Frame { head, body } | Entry::Offered { head, body } => self.frame(time, "<-", *head, body.0, names),
            Entry::Received | Entry::Time | Entry::Transmit(_) | Entry::Transmitted { .. } | Entry::Kept { .. }
                if !self.options.all =>
            {
                Ok(())
            }
            entry => {
                let what = self.call(entry, names);
                self.line(Some(time), "::", &what)
            }
        }
    }

    fn sending(&self, how: &str, number: u8, payload: Option<&[u8]>, names: Names<'_>) -> String {
        let name = names(Number::Own(number)).unwrap_or_else(|| format!("message {number}"));
        let payload = payload.map_or_else(|| "which cannot be encoded".to_owned(), |payload| self.bytes(payload));
        format!("{how} {name}, {payload}")
    }

    fn call(&self, entry: &Entry<'_>, names: Names<'_>) -> String {
        match entry {
            Entry::Begin(begin) => beginning(begin),
            Entry::Send { number, payload } => self.sending("send", *number, payload.map(|bytes| bytes.0), names),
            Entry::SendAcked { number, payload, .. } => {
                self.sending("send acked", *number, payload.map(|bytes| bytes.0), names)
            }
            Entry::Decoded {
                wire, acked, invalid, ..
            } => {
                let valid = if invalid.is_some() { "invalid" } else { "decoded" };
                format!("{valid}: {}", named(*wire, *acked, names))
            }
            Entry::Invalid { wire, acked, .. } => format!("invalid: {}", named(*wire, *acked, names)),
            Entry::Fail { wire, acked, why } => {
                format!("failed: {}: {}", named(*wire, *acked, names), said(why))
            }
            Entry::Release { messages, acked: 0, .. } => format!("dealt with: {messages}"),
            Entry::Release { messages, acked, .. } => {
                format!("dealt with: {messages}, up to number {acked} of the session")
            }
            Entry::Stored { number, payload, .. } => format!("  stored: {number}, {}", self.bytes(payload.0)),
            entry => life(entry),
        }
    }
}

fn beginning(begin: &Begin<'_>) -> String {
    let side = match begin.role {
        0 => "service",
        1 => "client",
        _ => "client without a catalog",
    };
    format!("a {side} of {}", begin.service)
}

/// What is not about one message.
fn life(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Session(state) => format!("session: {} sent, {} received", state.sent(), state.received()),
        Entry::NoSession => "no session".into(),
        Entry::Malformed { what, .. } => format!("what came is no frame ({what})"),
        Entry::NoRoom => "there was no room for it".into(),
        Entry::Eof => "the transport has ended".into(),
        Entry::Accept { trid, .. } => format!("accept, transport id {trid}"),
        Entry::Refuse(why) => format!("refuse: {}", said(why)),
        Entry::Telling => "tells its catalog".into(),
        Entry::Keep => "the message waits".into(),
        Entry::Started { number } => format!("handler begins: number {number} of the session"),
        Entry::GoAway { why, deadline } => format!("go away within {deadline} ms: {}", said(why)),
        Entry::Disconnect(why) => format!("disconnect: {}", said(why)),
        Entry::TakeOutcome => "take an outcome".into(),
        Entry::SkipOldest => "skip the oldest".into(),
        Entry::TakeSession => "take the session".into(),
        Entry::NextKey { seconds, .. } => format!("next key, for {seconds} s"),
        entry => format!("{entry:?}"),
    }
}

fn said(why: &Said<'_>) -> String {
    let code = Code::from_number(why.code);
    if why.text.is_empty() {
        code.to_string()
    } else {
        format!("{code}: {}", why.text)
    }
}

fn named(wire: u8, acked: u64, names: Names<'_>) -> String {
    let name = names(Number::Wire(wire)).unwrap_or_else(|| format!("message {wire}"));
    match acked {
        0 => name,
        acked => format!("{name}, number {acked} of the session"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use diset_proto::recording::Record;
    use diset_proto::{
        AdoptConfig, ClientConfig, Connection, Identity, Instant, Limits, Notice, ServiceDef, ServiceName,
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Record for Log {
        fn write(&mut self, bytes: &[u8]) {
            self.0.lock().expect("a log").extend_from_slice(bytes);
        }
    }

    /// The log of a client that nobody answers.
    fn log() -> Vec<u8> {
        let config = ClientConfig {
            catalog: PingPong::CATALOG,
            identity: Identity::from_bytes([0x77; 16]),
            limits: Limits::SERVER,
            args: &[],
        };
        let now = Instant::from_millis(5000);
        let mut client = Connection::client(now, &config, GrowBuf::new(10_000)).expect("a client");
        let log = Log::default();
        client.record(Box::new(log.clone())).expect("a new connection");
        let count = client.transmit().len();
        client.transmitted(count);
        drop(client.handle_time(Instant::from_millis(6000)));
        client.disconnect(Notice::new(Code::Done));
        drop(client.handle_time(Instant::from_millis(7500)));
        log.0.lock().expect("a log").clone()
    }

    fn printed(log: &[u8], arguments: &[&str]) -> Result<String, String> {
        let arguments = ["timeline", "log"].iter().chain(arguments);
        let options = Options::parse_from(arguments);
        let mut out = Vec::new();
        print(log, &options, &mut out)?;
        String::from_utf8(out).map_err(|error| error.to_string())
    }

    #[test]
    fn a_log_is_printed_and_replayed() {
        let shown = printed(&log(), &[]).expect("a whole log");
        assert!(shown.contains("-> proposal, "), "{shown}");
        assert!(!shown.contains("7777"), "{shown}");
        assert!(shown.contains("     0.000 :: disconnect: "), "{shown}");
        assert!(shown.ends_with("identical\n"), "{shown}");
        let shown = printed(&log(), &["--bodies", "--all"]).expect("a whole log");
        assert!(
            shown.contains("7777") && shown.contains("     1.500 :: Time"),
            "{shown}"
        );
    }

    /// The log of a client that learns a catalog with a call: the second example catalog of PROTOCOL.md.
    fn learning() -> Vec<u8> {
        let config = AdoptConfig {
            service: ServiceName::parse("Framework/Adder").expect("a name"),
            identity: Identity::from_bytes([0x77; 16]),
            limits: Limits::SERVER,
            args: &[],
        };
        let mut client = Connection::adopting(Instant::ZERO, &config, GrowBuf::new(10_000)).expect("a client");
        let log = Log::default();
        client.record(Box::new(log.clone())).expect("a new connection");
        let answer: [&[u8]; 4] = [
            b"\xd1SET\x01\x2e\x8b\x01\x01\x03\0Sum\x16\x02\0\x01\0a\x05\x01\0b\x05\x16\x01\0\x03\0sum\x05",
            b"\x03\0\x04\0Note\x16\x01\0\x04\0text\x0f",
            b"\x24\x81\x81\x01\x01\x82\x0c\x80\x80\x04\x80\x80\x20\x80\x80\x01\xe0\xd4\x03",
            b"\x87\x10\x44\x5d\x12\xaf\x94\xdc\x0f\x15\x47\x20\x33\x43\x86\x2d\xbd\xaf",
        ];
        let (answer, mut deframer) = (answer.concat(), Deframer::new(GrowBuf::new(2000)));
        let mut input = answer.as_slice();
        while let Some(frame) = deframer.next(&mut input, client.max_frame()) {
            drop(client.handle_frame(Instant::ZERO, frame));
        }
        log.0.lock().expect("a log").clone()
    }

    #[test]
    fn what_a_client_learned_is_printed_with_its_kind() {
        let shown = printed(&learning(), &[]).expect("a whole log");
        let expected = "  learned: call Sum { a: i64, b: i64 } -> { sum: i64 }\n  learned: Note { text: str }\n";
        assert_eq!(shown.matches(expected).count(), 1, "{shown}");
        assert_eq!(shown.matches("learned").count(), 2, "{shown}");
    }

    #[test]
    fn a_damaged_log_is_an_error() {
        let mut log = log();
        let last = log.len() - 1;
        log[last] ^= 1;
        assert!(printed(&log, &[]).is_err_and(|error| error.ends_with("is damaged")));
    }
}
