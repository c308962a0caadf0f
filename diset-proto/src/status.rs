//! What one side tells the other when something ends: codes, a short text, when to come
//! back.

use core::fmt;
use core::time::Duration;

use crate::fmt::Quoted;
use crate::limits::MAX_TEXT;
use crate::time::Millis;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a connection was refused or ended, as it travels (PROTOCOL E-1).
        ///
        /// A number this version does not know is kept as [`Code::Other`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[non_exhaustive]
        // In memory as on the wire: the two functions below are no tables.
        #[repr(u16)]
        pub enum Code {
            $($(#[$doc])* $name = $number,)*
            /// A code of a later version.
            Other(u16) = u16::MAX,
        }

        impl Code {
            /// Every code of this version.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self {
                    $(Self::$name => $number,)*
                    Self::Other(number) => number,
                }
            }

            /// The code with this number.
            pub const fn from_number(number: u16) -> Self {
                match number {
                    $($number => Self::$name,)*
                    other => Self::Other(other),
                }
            }

            /// Its name in PROTOCOL E-1, such as for the label of a metric; `Other` for a code
            /// of a later version.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Other(_) => "Other",
                }
            }

            /// What it means, for people.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(_) => "a code of a later version",
                }
            }
        }
    };
}

codes! {
    /// The peer did not begin with the DISET preamble.
    NotDiset = 1, "the peer does not speak DISET";
    /// The peer speaks another major version.
    Version = 2, "the peer speaks another major version of DISET";
    /// A frame is longer than the limit stated for it.
    FrameTooLong = 10, "a frame was longer than the limit";
    /// The length of a frame is zero or takes more than four bytes.
    FrameMalformed = 11, "a frame's header was malformed";
    /// A frame of a kind that must be understood is not.
    UnknownKind = 12, "a frame of an unknown kind that must be understood";
    /// A frame came in a phase that has no place for it.
    Unexpected = 13, "a frame came when it was not expected";
    /// The fields of a control frame do not parse, or break a limit.
    PacketMalformed = 14, "a control frame was malformed";
    /// A field that must be understood is not.
    UnknownField = 15, "a field that must be understood is unknown";
    /// More was sent than credit had been granted for.
    CreditExceeded = 16, "more was sent than credit had been granted for";
    /// Nothing was heard for one and a half times the longest silence.
    Silent = 17, "nothing was heard for too long";
    /// The handshake took too long.
    HandshakeTimeout = 18, "the handshake took too long";
    /// What the two sides remember of the session does not fit together.
    StateConflict = 19, "what the two sides remember of the session does not fit together";
    /// The number names no message of the agreed table.
    UnknownMessage = 30, "the message is not defined";
    /// The message may travel only the other way.
    WrongDirection = 31, "the message may only be sent the other way";
    /// The receiver has no handler for the message.
    NoHandler = 32, "the receiver has no handler for the message";
    /// The message does not fit its definition.
    Invalid = 33, "the message does not fit its definition";
    /// The sender may not send this message.
    Forbidden = 34, "the message is forbidden to this sender";
    /// The handler failed.
    HandlerFailed = 35, "the handler of the message failed";
    /// An attribute is longer than the receiver can take.
    TooLong = 36, "an attribute is longer than the receiver can take";
    /// The caller did not want the answer any more. Of calls, which this version does not have yet.
    Cancelled = 37, "the caller did not want the answer any more";
    /// The deadline of a call has passed. Of calls, which this version does not have yet.
    DeadlineExceeded = 38, "the deadline of the call has passed";
    /// The service is not here.
    UnknownService = 50, "there is no such service here";
    /// The service does not want this client.
    NotAdmitted = 51, "the service does not admit this client";
    /// The service has no room for another connection now.
    Busy = 52, "the service has no room for another connection now";
    /// Admission took too long.
    AdmissionTimeout = 53, "the service took too long to decide";
    /// The application ended the connection.
    Disconnected = 70, "the application ended the connection";
    /// A newer connection of the same client took the place of this one.
    Displaced = 71, "a newer connection of the same client took over";
    /// The peer is about to stop.
    Shutdown = 72, "the peer is about to stop";
    /// The credentials of the connection are about to end, or are not acceptable any more.
    CredentialsEnd = 73, "the credentials end";
    /// The TLS stack may not write many more records.
    RecordLimit = 74, "the record limit of the TLS stack is near";
    /// The client has done its work.
    Done = 75, "the client has done its work";
    /// The peer itself failed.
    Internal = 90, "the peer failed";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.meaning(), self.number())
    }
}

/// A short text for people, at most [`MAX_TEXT`] bytes; longer text is cut at a character.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Text(heapless::String<MAX_TEXT>);

impl Text {
    /// As much of `text` as fits.
    pub fn new(text: &str) -> Self {
        let mut kept = Self::default();
        kept.push(text);
        kept
    }

    /// Appends as much of `text` as fits.
    pub(crate) fn push(&mut self, text: &str) {
        let room = MAX_TEXT.saturating_sub(self.0.len());
        let fitting = text.get(..text.floor_char_boundary(room)).unwrap_or_default();
        // It fits.
        let _ = self.0.push_str(fitting);
    }

    /// Appends a number. By hand: `core::fmt` is large on a chip.
    pub(crate) fn push_number(&mut self, number: u32) {
        let (mut digits, mut rest) = ([0u8; 10], number);
        let mut first = digits.len();
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            first = at;
            if rest == 0 {
                break;
            }
        }
        let shown = digits.get(first..).and_then(|digits| core::str::from_utf8(digits).ok());
        self.push(shown.unwrap_or_default());
    }

    /// The text as it came; `Display` escapes what could steer a terminal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it is, but with control characters, line separators, marks of writing direction and
/// what is not shown at all escaped: it may come from a peer and go to a terminal or a log
/// (PROTOCOL E-2). Quotes are left alone; a log that tells its fields apart by them must quote the
/// whole.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| {
            if is_harmless(character) {
                fmt::Write::write_char(f, character)
            } else {
                write!(f, "{}", character.escape_unicode())
            }
        })
    }
}

/// Whether a terminal shows it and does nothing else. By hand and not by `escape_debug`, which
/// would escape the accents and vowel signs of many scripts, too.
fn is_harmless(character: char) -> bool {
    let hidden = matches!(
        character,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
            | '\u{115f}' | '\u{1160}' | '\u{180e}'
            // Zero width, writing direction, line and paragraph separators, invisible operators.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1345f}' | '\u{1bca0}'..='\u{1bca3}'
            // Of notes in music; tags and what else a plane of hidden characters has.
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    );
    !character.is_control() && !hidden
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Quoted(self.as_str()), f)
    }
}

/// Formats into a [`Text`], cutting what does not fit.
impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text);
        Ok(())
    }
}

/// When a client may come back: not before `min`, then at a moment drawn from `spread`,
/// so that many clients do not come back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RetryAfter {
    pub(crate) min_ms: u32,
    pub(crate) spread_ms: u32,
}

impl RetryAfter {
    /// Not before `min`, then within `spread`; both in whole milliseconds, at most 49 days.
    pub fn new(min: Duration, spread: Duration) -> Self {
        Self {
            min_ms: Millis::of(min).0,
            spread_ms: Millis::of(spread).0,
        }
    }

    /// The least time to wait.
    pub const fn min(&self) -> Duration {
        Duration::from_millis(self.min_ms as u64)
    }

    /// The span over which the return is spread.
    pub const fn spread(&self) -> Duration {
        Duration::from_millis(self.spread_ms as u64)
    }
}

/// A refusal, an error or a go-away as one side states it to the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Notice {
    pub(crate) code: Code,
    pub(crate) text: Text,
    pub(crate) retry: Option<RetryAfter>,
    pub(crate) message: Option<u8>,
    pub(crate) permanent: bool,
}

impl Notice {
    /// A notice with a code and nothing else.
    pub const fn new(code: Code) -> Self {
        Self {
            code,
            text: Text(heapless::String::new()),
            retry: None,
            message: None,
            permanent: false,
        }
    }

    /// With a text for people. It travels to the peer: put no secret in it.
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        self.text = Text::new(text);
        self
    }

    /// With the time to come back. A client that is refused without it comes back slowly
    /// (PROTOCOL R-4).
    #[must_use]
    pub const fn with_retry(mut self, retry: RetryAfter) -> Self {
        self.retry = Some(retry);
        self.permanent = false;
        self
    }

    /// Without a time, and as a refusal after which the client does not come back by itself: somebody must see to it
    /// there, and start it again. It says nothing in an error or a go-away (PROTOCOL R-4).
    #[must_use]
    pub const fn permanently(mut self) -> Self {
        self.retry = None;
        self.permanent = true;
        self
    }

    /// What happened.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// More about it, for people; may be empty.
    pub fn text(&self) -> &str {
        self.text.as_str()
    }

    /// When the client may come back, if it was told.
    pub const fn retry(&self) -> Option<RetryAfter> {
        self.retry
    }

    /// Whether a client that is refused so does not come back by itself.
    pub const fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// The number, in the client's table, of the message it is about.
    pub const fn message(&self) -> Option<u8> {
        self.message
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(number) = self.message {
            write!(f, ", message number {number}")?;
        }
        if !self.text().is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_match() {
        for &code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), code);
            assert_eq!(code.name(), format!("{code:?}"));
        }
        assert_eq!(Code::from_number(999), Code::Other(999));
        assert_eq!(Code::Other(999).number(), 999);
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = Text::new(&"ä".repeat(MAX_TEXT));
        assert_eq!(text.as_str(), "ä".repeat(MAX_TEXT / 2));
        assert_eq!(
            Text::new(&format!("x{}", "ä".repeat(MAX_TEXT))).as_str().len(),
            MAX_TEXT - 1
        );
    }

    #[test]
    fn a_text_from_a_peer_cannot_steer_a_terminal() {
        let shown = Notice::new(Code::Done).with_text("a\x1b[2J\nb\u{202e}ä").to_string();
        assert!(shown.ends_with(r"a\u{1b}[2J\u{a}b\u{202e}ä"), "PROTOCOL E-2: {shown}");
    }

    #[test]
    fn what_a_text_from_a_peer_hides_is_shown() {
        let hidden = [
            '\u{85}',
            '\u{ad}',
            '\u{61c}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{2028}',
            '\u{2029}',
            '\u{202d}',
            '\u{2060}',
            '\u{2066}',
            '\u{feff}',
            '\u{fffb}',
            '\u{e0001}',
            '\u{e007f}',
        ];
        for character in hidden {
            let shown = format!("{}", Text::new(&format!("a{character}b")));
            assert_eq!(shown, format!("a{}b", character.escape_unicode()), "PROTOCOL E-2");
        }
        for text in ["it's \"ü\"", "e\u{301}", "हिन्दी", "日本語", "ไม่มี"] {
            assert_eq!(Text::new(text).to_string(), text);
        }
    }

    #[test]
    fn a_notice_reads_well() {
        let mut notice = Notice::new(Code::Invalid).with_text("2 bytes left over");
        notice.message = Some(3);
        assert_eq!(
            notice.to_string(),
            "the message does not fit its definition (33), message number 3: 2 bytes left over"
        );
    }
}
