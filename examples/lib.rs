//! Each file beside this one is a program that shows one thing:
//!
//! - `pingpong`: a service and a client over mutual TLS in one program, and what happens between them.
//! - `make_certificates`: files with throw-away certificates for the next two.
//! - `ping_service`, `ping_client`: the same in two terminals, or on two machines.
//! - `discover`: lists the messages of a service that it was not built for, sends one, prints what comes.
//! - `timeline`: prints the log of a connection, and replays it.
//! - `outbox`: an agent reports numbered readings with acked messages while its service is killed and started again, and
//!   proves that each arrived once.
//! - `agent_service`: listens to stations, and tells them what to do. Its stations are the firmware in `firmware/`,
//!   `agent_host`, which is one without a chip, and whoever else speaks their messages.
//! - `station_page`: writes the page of flash with the credentials of a station.
//! - `gateway`: carries the serial line of a device to a service.
//! - `custom_io`: the engine driven by hand, with threads over a socket pair and over a noisy serial line. It has
//!   messages of its own.
//!
//! Here are the messages the others speak, and what they share.

use core::fmt;
use core::fmt::Write as _;
use std::io::{self, Write};

use diset_std::tls::TlsError;
use diset_std::{Conn, Refusal, Schema, ServiceDef, define_service};
use serde::{Deserialize, Serialize};

/// The standard output, for whom it is a pipe as for other programs: when nobody reads it any more (`| head`), the program
/// ends, without a word and as if SIGPIPE had ended it.
#[derive(Debug)]
pub struct Out(io::Stdout);

/// The standard output.
pub fn out() -> Out {
    Out(io::stdout())
}

impl Out {
    fn or_end<T>(done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            std::process::exit(128 + 13);
        }
        done
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::or_end(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::or_end(self.0.flush())
    }

    // In one piece, or lines of two threads would mix.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Self::or_end(self.0.write_all(bytes))
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        Self::or_end(self.0.write_fmt(text))
    }
}

/// As that of the standard library, to [`out`].
#[macro_export]
macro_rules! println {
    ($($text:tt)*) => {
        if let Err(error) = ::std::io::Write::write_fmt(&mut $crate::out(), format_args!("{}\n", format_args!($($text)*))) {
            panic!("cannot print: {error}");
        }
    };
}

/// The client asks …
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Ping {
    /// Comes back in the answer.
    pub id: i64,
}

/// … and the service answers.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Pong {
    /// That of the Ping.
    pub id: i64,
}

/// Nobody asked for it: the service says it when it likes.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct News {
    /// What is new.
    pub text: String,
}

/// Defined, but the services here have no handler for it.
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Shout {
    /// What is shouted.
    pub text: String,
}

define_service! {
    /// Answers each [`Ping`] with a [`Pong`], and has [`News`] at times.
    pub PingPong = "Framework/PingPong";
    from_client: [Ping, Shout],
    from_service: [Pong, News],
}

/// Refuses a client whose certificate has one of these common names: it is not to come back.
///
/// # Errors
/// The refusal.
pub fn refuse_retired<S: ServiceDef>(conn: &Conn<S>, retired: &[String]) -> Result<(), Refusal> {
    let certificate = conn.credentials().certificate();
    let subject = certificate.map_or("", |certificate| certificate.subject());
    let is_named = |name: &String| subject.split(',').any(|part| part.strip_prefix("CN=") == Some(name));
    if retired.iter().any(is_named) {
        return Err(Refusal::not_admitted("it is retired").permanently());
    }
    Ok(())
}

/// Text of a peer as it may go to a terminal. What is not printable there, such as control characters and those that
/// turn the direction of writing, becomes `\uXXXX` (two of them above U+FFFF): JSON stays the same JSON.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        // The standard library knows what is printable. Quotes and backslashes it escapes for another reason.
        if matches!(character, '"' | '\'' | '\\') || character.escape_debug().len() == 1 {
            shown.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a String does not fail.
            let _ = write!(shown, "\\u{unit:04x}");
        }
    }
    shown
}

/// An error of certificate files, with where those of the examples come from.
pub fn certificate_error(error: TlsError) -> String {
    let hint = match error {
        TlsError::Unreadable { .. } => "; `cargo run --example make_certificates -- FOLDER` writes files for a try",
        _ => "",
    };
    format!("{error}{hint}")
}

/// For programs without options: at any argument it says what the program shows, and the program ends.
pub fn no_options(about: &str) {
    let Some(first) = std::env::args_os().nth(1) else {
        return;
    };
    let first = first.to_string_lossy();
    let asked = first == "-h" || first == "--help";
    if asked {
        println!("{about} Takes no options.");
    } else {
        eprintln!("there are no options, so no `{}`. {about}", printable(&first));
    }
    std::process::exit(if asked { 0 } else { 2 });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "a part of the test below, in a process of its own"]
    fn prints_from_threads() {
        std::thread::scope(|scope| {
            for name in ["one", "two", "three"] {
                scope.spawn(move || (0..2000).for_each(|number| println!("{name} says {number} of {}", 2000)));
            }
        });
    }

    #[test]
    fn lines_of_several_threads_stay_whole() -> Result<(), Box<dyn core::error::Error>> {
        let ended = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "tests::prints_from_threads", "--ignored", "--nocapture"])
            .output()?;
        let said = String::from_utf8(ended.stdout)?;
        let whole = |line: &&str| line.contains(" says ") && line.ends_with(" of 2000") && line.split(' ').count() == 5;
        let count = said.lines().filter(whole).count();
        assert_eq!(count, 6000);
        Ok(())
    }

    #[test]
    #[ignore = "a part of the test below, in a process of its own"]
    fn prints_for_ever() {
        loop {
            println!("a line");
        }
    }

    #[test]
    fn who_prints_for_nobody_ends_quietly() -> Result<(), Box<dyn core::error::Error>> {
        let mut child = std::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "tests::prints_for_ever", "--ignored", "--nocapture"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let mut pipe = child.stdout.take().ok_or("a pipe")?;
        io::Read::read_exact(&mut pipe, &mut [0; 100])?;
        drop(pipe);
        let ended = child.wait_with_output()?;
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
        assert_eq!(ended.status.code(), Some(141));
        Ok(())
    }

    #[test]
    fn nothing_of_a_peer_moves_the_cursor_and_json_stays_the_same() -> Result<(), serde_json::Error> {
        let hostile = "\u{1b}[2J \u{7f} \u{85} \u{9b}31m \u{200b} \u{202e} \u{2028} \u{feff} \u{e0001} \\ \" ' \n";
        let json = serde_json::to_string(hostile)?;
        let shown = printable(&json);
        assert!(
            shown.chars().all(|character| (' '..='~').contains(&character)),
            "{shown}"
        );
        assert_eq!(serde_json::from_str::<String>(&shown)?, hostile);
        assert_eq!(printable("Übung 漢字 \"a\" 'b' 🙂"), "Übung 漢字 \"a\" 'b' 🙂");
        Ok(())
    }
}
