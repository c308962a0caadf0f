//! PEM text as people have it: every block that a person sees in it is read, or an error says where it stands and what to do. What the blocks mean is
//! decided in `material`.
//!
//! The lines are looked through here, because none of the usual readers counts what it leaves out: they skip a block that does not begin at a line's
//! first byte. Base64 is decoded by `rustls-pki-types`, for keys without branches on them.

mod foreign;

pub(super) use foreign::foreign;
use rustls::pki_types::pem::PemObject;

/// Longest text that is read, in bytes. Revocation lists of 100 MB exist.
pub(super) const MAX_TEXT: usize = 256 * 1024 * 1024;
/// Longest name of a kind that is shown, in bytes.
const MAX_SHOWN: usize = 48;
/// Longest name of a kind, in bytes.
const MAX_LABEL: usize = 256;
const DASHES: usize = 5;

/// A block whose BEGIN and END fit together.
pub(super) struct Block<'a> {
    /// Of its BEGIN, from 1.
    pub(super) line: usize,
    label: &'a [u8],
    body: Vec<(usize, &'a [u8])>,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    /// With what to do about it. Nothing of the text itself but the names of kinds: it may be of a key.
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(line: usize, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { line, reason }
    }
}

/// What a block says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Certificate,
    /// A certificate with OpenSSL's settings of what it is trusted for behind it.
    TrustedCertificate,
    List,
    /// Under the name by which it is decoded.
    Key(&'static str),
    EncryptedKey,
    OpenSshKey,
    Request,
    Pkcs7,
    /// Something else that has one of the wanted words in its name.
    RelatedTo(Sort),
    /// Parameters, public keys and whatever else may stand there.
    Other,
}

/// What somebody looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Certificates,
    Lists,
    Keys,
}

impl Block<'_> {
    pub(super) fn kind(&self) -> Kind {
        match self.label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" => Kind::Certificate,
            b"TRUSTED CERTIFICATE" => Kind::TrustedCertificate,
            b"X509 CRL" | b"CRL" => Kind::List,
            b"PRIVATE KEY" => Kind::Key("PRIVATE KEY"),
            b"RSA PRIVATE KEY" => Kind::Key("RSA PRIVATE KEY"),
            b"EC PRIVATE KEY" => Kind::Key("EC PRIVATE KEY"),
            b"ENCRYPTED PRIVATE KEY" => Kind::EncryptedKey,
            b"OPENSSH PRIVATE KEY" => Kind::OpenSshKey,
            b"CERTIFICATE REQUEST" | b"NEW CERTIFICATE REQUEST" => Kind::Request,
            b"PKCS7" | b"PKCS #7 SIGNED DATA" | b"CMS" => Kind::Pkcs7,
            b"ATTRIBUTE CERTIFICATE" => Kind::Other,
            label => related(label).map_or(Kind::Other, Kind::RelatedTo),
        }
    }

    /// What it says it is, for people.
    pub(super) fn shown(&self) -> String {
        match self.kind() {
            Kind::Certificate | Kind::TrustedCertificate => "a certificate".to_owned(),
            Kind::List => "a revocation list".to_owned(),
            Kind::Key(_) => "a private key".to_owned(),
            Kind::EncryptedKey => "a private key with a pass phrase".to_owned(),
            Kind::Request => "a certificate request".to_owned(),
            _ => format!("a block `{}`", show(self.label)),
        }
    }

    /// Whether the text of a key is encrypted, as its headers say (RFC 1421).
    pub(super) fn has_encrypted_text(&self) -> bool {
        let mut headers = self
            .body
            .iter()
            .map(|(_, line)| line)
            .filter(|line| line.contains(&b':'));
        headers.any(|line| find(line, b"ENCRYPTED").is_some())
    }

    /// Decodes the body; `label` is the name under which `T` is known.
    pub(super) fn decode<T: PemObject>(&self, label: &str) -> Result<T, Fault> {
        let mut text = format!("-----BEGIN {label}-----\n").into_bytes();
        let (mut letters, mut padding) = (0_usize, 0_usize);
        for &(number, line) in &self.body {
            // Headers stand before the text only.
            if letters == 0 && line.contains(&b':') {
                continue;
            }
            let mut rest = line;
            while let Some((&byte, tail)) = rest.split_first() {
                if let Some(tail) = skip_blank(rest) {
                    rest = tail;
                    continue;
                }
                match byte {
                    b'=' => padding += 1,
                    _ if !byte.is_ascii_alphanumeric() && byte != b'+' && byte != b'/' => {
                        return Err(Fault::new(number, no_base64(byte)));
                    }
                    _ if padding > 0 => {
                        return Err(Fault::new(
                            number,
                            "base64 goes on behind its end, which `=` marks: the block is damaged, write it anew",
                        ));
                    }
                    _ => {}
                }
                letters += 1;
                text.push(byte);
                rest = tail;
            }
        }
        if letters == 0 {
            return Err(Fault::new(
                self.line,
                "the block that begins here is empty: write it anew",
            ));
        }
        let damaged = || {
            Fault::new(
                self.line,
                "the base64 text of the block that begins here is cut short or damaged: write it anew",
            )
        };
        if !letters.is_multiple_of(4) {
            return Err(damaged());
        }
        text.extend_from_slice(format!("\n-----END {label}-----\n").as_bytes());
        T::from_pem_slice(&text).map_err(|_| damaged())
    }
}

fn no_base64(byte: u8) -> &'static str {
    match byte {
        b'\\' => {
            "a backslash in the text of a block: where the two characters `\\n` stand, there must be line ends (`printf '%b'` makes them)"
        }
        b'-' | b'_' => {
            "`-` or `_` in the text of a block: either the END line is malformed, or this is the base64 of URLs; write the block anew"
        }
        b'"' | b'\'' | b',' => {
            "a quote or comma in the text of a block: take it out of the quotes of the format that it stands in"
        }
        b'>' | b'#' => {
            "`>` or `#` within a block: take these marks away from its lines, or comment all of them, the BEGIN line too"
        }
        _ => "a character that base64 does not use: the block is damaged, write it anew",
    }
}

/// All blocks of a text, and what is wrong with others; as many of both together as there are BEGIN lines, or more.
pub(super) fn blocks(text: &[u8]) -> Vec<Result<Block<'_>, Fault>> {
    let mut found = Vec::new();
    let mut open = Open::No;
    for (number, line) in lines(text) {
        if matches!(open, Open::No) && is_comment(line) {
            continue;
        }
        let mut rest = line;
        while let Some(mark) = next_mark(rest) {
            if let Open::Block(block) = &mut open {
                block.body.push((number, mark.before));
            }
            rest = mark.after;
            let was = core::mem::replace(&mut open, Open::No);
            match (mark.is_begin, was) {
                (true, was) => {
                    if let Open::Block(block) = was {
                        found.push(Err(block.without_end(Some(number))));
                    }
                    open = if mark.is_sound {
                        Open::Block(Block {
                            line: number,
                            label: mark.label,
                            body: Vec::new(),
                        })
                    } else {
                        found.push(Err(Fault::new(number, MALFORMED_BEGIN)));
                        Open::Malformed
                    };
                }
                (false, Open::Block(block)) if !mark.is_sound => {
                    let reason = format!(
                        "malformed END line of the block that begins in line {}: it has five hyphens, END, a space, the kind in capitals, five hyphens",
                        block.line
                    );
                    found.push(Err(Fault::new(number, reason)));
                }
                (false, Open::Block(block)) if block.label == mark.label => found.push(Ok(block)),
                (false, Open::Block(block)) => {
                    let reason = format!(
                        "END of `{}` here, but the block that begins in line {} is `{}`: lines between are missing, or one of both names is wrong",
                        show(mark.label),
                        block.line,
                        show(block.label),
                    );
                    found.push(Err(Fault::new(number, reason)));
                }
                (false, Open::Malformed) => {}
                (false, Open::No) => {
                    let reason = "an END line without its BEGIN line: the block's beginning is missing, write it anew";
                    found.push(Err(Fault::new(number, reason)));
                }
            }
        }
        if let Open::Block(block) = &mut open {
            block.body.push((number, rest));
        }
    }
    if let Open::Block(block) = open {
        found.push(Err(block.without_end(None)));
    }
    found
}

const MALFORMED_BEGIN: &str = "a malformed BEGIN line: it has five hyphens, BEGIN, a space, the kind in capitals, five hyphens, such as \
                               `-----BEGIN CERTIFICATE-----`";

/// What the lines so far have begun.
enum Open<'a> {
    No,
    Block(Block<'a>),
    /// It was told already.
    Malformed,
}

impl Block<'_> {
    fn without_end(&self, next: Option<usize>) -> Fault {
        let before = next.map_or_else(
            || "the end of the text".to_owned(),
            |line| format!("the next one in line {line}"),
        );
        Fault::new(
            self.line,
            format!(
                "the block that begins here has no matching END line before {before}: it was cut short, write it anew"
            ),
        )
    }
}

/// A BEGIN or END, wherever it stands in a line.
struct Mark<'a> {
    before: &'a [u8],
    is_begin: bool,
    label: &'a [u8],
    /// It has its hyphens, spaces and capitals.
    is_sound: bool,
    after: &'a [u8],
}

/// The first mark in a line. What only resembles one counts when it names something that is kept in such blocks, or was cut short.
fn next_mark(line: &[u8]) -> Option<Mark<'_>> {
    // Nearly all lines are base64.
    if !line.iter().any(|&byte| byte == b'-' || byte >= 0x80) {
        return None;
    }
    let starts = line
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, b'B' | b'b' | b'E' | b'e'));
    for (at, _) in starts {
        let (head, tail) = line.split_at(at);
        let (is_begin, length) = match tail {
            [b, e, g, i, n, ..] if [*b, *e, *g, *i, *n].eq_ignore_ascii_case(b"BEGIN") => (true, 5),
            [e, n, d, ..] if [*e, *n, *d].eq_ignore_ascii_case(b"END") => (false, 3),
            _ => continue,
        };
        let (word, tail) = tail.split_at(length);
        let hyphens = head.iter().rev().take_while(|&&byte| byte == b'-').count();
        let dashes = dash_start(head);
        if dashes == head.len() {
            continue;
        }
        let stop = label_end(tail);
        let (label, behind) = tail.split_at(stop);
        let run = behind.iter().take_while(|&&byte| byte == b'-').count();
        let name = label.strip_prefix(b" ").unwrap_or_default();
        let begins_well = hyphens >= DASHES && matches!(word, b"BEGIN" | b"END");
        let is_sound = begins_well && run >= DASHES && !name.is_empty() && trim(name).len() == name.len();
        let is_cut = begins_well && behind.is_empty() && (label.is_empty() || label.starts_with(b" "));
        if !is_sound && !is_cut && related(label).is_none() {
            continue;
        }
        // In a run of hyphens between two marks each has its five.
        let joined = next_is_word(behind.get(run..).unwrap_or_default());
        let used = if joined { run.min(DASHES) } else { run };
        return Some(Mark {
            before: if is_sound {
                head.get(..head.len() - hyphens).unwrap_or_default()
            } else {
                head.get(..dashes).unwrap_or_default()
            },
            is_begin,
            label: name,
            is_sound,
            after: behind.get(used..).unwrap_or_default(),
        });
    }
    None
}

/// Where the dashes at the end of this begin, spaces between and behind them included: at its end when there are too few.
fn dash_start(head: &[u8]) -> usize {
    let (mut rest, mut start, mut count) = (head, head.len(), 0);
    loop {
        if let Some(before) = rest.strip_suffix(b"-") {
            (rest, count) = (before, count + 1);
            start = rest.len();
        } else if let Some(before) = WIDE_DASHES.iter().find_map(|dash| rest.strip_suffix(dash.as_bytes())) {
            (rest, count) = (before, count + 2);
            start = rest.len();
        } else if let Some(before) = rest.strip_suffix(b" ") {
            rest = before;
        } else {
            return if count >= 2 { start } else { head.len() };
        }
    }
}

/// What editors make of hyphens.
const WIDE_DASHES: [&str; 8] = [
    "\u{2010}", "\u{2011}", "\u{2012}", "\u{2013}", "\u{2014}", "\u{2015}", "\u{2212}", "\u{ff0d}",
];

/// Where the name of a kind ends: before two hyphens, or a dash of another sort, and in time.
fn label_end(tail: &[u8]) -> usize {
    let tail = tail.get(..MAX_LABEL).unwrap_or(tail);
    (0..tail.len())
        .find(|&at| {
            let rest = tail.get(at..).unwrap_or_default();
            rest.starts_with(b"--") || WIDE_DASHES.iter().any(|dash| rest.starts_with(dash.as_bytes()))
        })
        .unwrap_or(tail.len())
}

fn next_is_word(rest: &[u8]) -> bool {
    rest.starts_with(b"BEGIN") || rest.starts_with(b"END")
}

/// What is kept under such a name, going by its words.
fn related(label: &[u8]) -> Option<Sort> {
    let label = label.to_ascii_uppercase();
    let has = |word: &[u8]| find(&label, word).is_some();
    if has(b"CRL") || has(b"REVOCATION") {
        Some(Sort::Lists)
    } else if has(b"CERTIFICATE") {
        Some(Sort::Certificates)
    } else if has(b"PRIVATE") {
        Some(Sort::Keys)
    } else {
        None
    }
}

fn is_comment(line: &[u8]) -> bool {
    let line = trim(line);
    line.starts_with(b"#") || line.starts_with(b";") || line.starts_with(b"//")
}

/// Lines with their numbers; they end with LF, CR LF or CR.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = Some(text);
    (1..).map_while(move |number| {
        let text = rest.filter(|text| !text.is_empty())?;
        let end = text
            .iter()
            .position(|&byte| byte == b'\n' || byte == b'\r')
            .unwrap_or(text.len());
        let (line, behind) = text.split_at(end);
        rest = behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..));
        Some((number, line))
    })
}

/// What is behind an invisible character at the beginning: white space, a byte order mark, a space of another sort.
fn skip_blank(text: &[u8]) -> Option<&[u8]> {
    const WIDE: [&str; 4] = ["\u{feff}", "\u{a0}", "\u{200b}", "\u{2060}"];
    match text.split_first()? {
        (0..=b' ', rest) => Some(rest),
        _ => WIDE.iter().find_map(|blank| text.strip_prefix(blank.as_bytes())),
    }
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = skip_blank(text) {
        text = rest;
    }
    text.trim_ascii_end()
}

/// Printable, and not too long.
fn show(label: &[u8]) -> String {
    let cut = label.get(..MAX_SHOWN).unwrap_or(label);
    String::from_utf8_lossy(cut).escape_debug().collect()
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(all(test, feature = "throwaway", any(feature = "aws-lc-rs", feature = "ring")))]
mod tests;
