//! Tests of PEM text as people have it: each block is read, or an error says where it stands and what to do.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::tls::throwaway::{ThrowawayCa, lists_to_pem, pem, to_pem};
use crate::tls::{Authorities, Certificate, Revocations, TlsError};

type TestResult = Result<(), Box<dyn core::error::Error>>;

const BOM: &str = "\u{feff}";

/// Everything of one kind that a PEM text may hold, with how many are read from a text.
struct Subject {
    text: String,
    /// Another one of the kind.
    other: String,
    read: fn(&[u8]) -> Result<usize, TlsError>,
}

/// Certificates, authorities and lists. A key file holds one key; it is beside them in `keys_are_read_in_the_same_forms`.
fn subjects() -> Result<[Subject; 3], Box<dyn core::error::Error>> {
    let (ca, other) = (ThrowawayCa::new()?, ThrowawayCa::new()?);
    Ok([
        Subject {
            text: to_pem(&ca.client("alice")?).0,
            other: ca.pem(),
            read: |text| {
                static KEY: OnceLock<String> = OnceLock::new();
                let key = KEY.get_or_init(|| to_pem(&ThrowawayCa::new().expect("made").client("x").expect("made")).1);
                Ok(Certificate::from_pem(text, key.as_bytes())?.chain().len())
            },
        },
        Subject {
            text: ca.pem(),
            other: other.pem(),
            read: |text| Ok(Authorities::from_pem(text)?.certificates().len()),
        },
        Subject {
            text: lists_to_pem(&ca.revoke(&[])?),
            other: lists_to_pem(&other.revoke(&[])?),
            read: |text| Ok(Revocations::from_pem(text)?.lists().len()),
        },
    ])
}

/// Forms in which people have two blocks, all of them to be read.
fn sound_forms(one: &str, two: &str) -> Vec<(&'static str, Vec<u8>)> {
    let (ends, both) = (one.trim_end(), format!("{one}{two}"));
    let indented = |by: &str| both.lines().map(|line| format!("{by}{line}\n")).collect::<String>();
    let latin1 = [&b"M\xfcller \x96 his CA\n"[..], both.as_bytes()].concat();
    let mut forms: Vec<(&'static str, String)> = vec![
        ("plain", both.clone()),
        ("a mark at the start", format!("{BOM}{both}")),
        ("marks before both", format!("{BOM}{one}{BOM}{two}")),
        ("a mark behind a blank line", format!("{one}\n {BOM}{two}")),
        ("joined", format!("{ends}{two}")),
        ("joined with a space", format!("{ends} {two}")),
        ("joined with a mark", format!("{ends}{BOM}{two}")),
        ("indented", indented("    ")),
        ("indented by tabs", indented("\t")),
        ("indented by hard spaces", indented("\u{a0}\u{a0}")),
        ("CR LF", both.replace('\n', "\r\n")),
        ("CR", both.replace('\n', "\r")),
        (
            "line ends of all kinds",
            both.replacen('\n', "\r\n", 3).replacen('\n', "\r", 5),
        ),
        ("trailing blanks", both.replace('\n', " \t\n")),
        ("trailing hard spaces", both.replace('\n', "\u{a0}\n")),
        ("no line end at the end", both.trim_end().to_owned()),
        ("a zero at the end, as in C", format!("{both}\0")),
        (
            "text around",
            format!("subject=/CN=a\nissuer=/CN=b\n{one}-- and:\nNext: -\n{two}The end.\n"),
        ),
        ("behind a name", format!("ca: {one}more text {two}")),
        ("END behind the text", both.replace("\n-----END", "-----END")),
        ("blank lines within", both.replace('\n', "\n\n")),
        ("all in one line", both.replace('\n', " ")),
        ("headers", both.replace("-----\nM", "-----\nComment: by hand\n\nM")),
        (
            "others in comments",
            format!("# {}\n{both}", ends.replace('\n', "\n# ")),
        ),
        ("six hyphens", both.replace("-----BEGIN", "------BEGIN")),
        (
            "parameters between",
            format!("{one}-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n{two}"),
        ),
        (
            "of OpenSSL's older names",
            both.replace("N CERTIFICATE", "N X509 CERTIFICATE")
                .replace("D CERTIFICATE", "D X509 CERTIFICATE"),
        ),
    ];
    let mut forms: Vec<_> = forms.drain(..).map(|(name, text)| (name, text.into_bytes())).collect();
    forms.push(("a comment that is not UTF-8", latin1));
    forms
}

#[test]
fn every_block_that_a_person_sees_is_read() -> TestResult {
    for Subject { text, other, read } in subjects()? {
        for (form, text) in sound_forms(&text, &other) {
            assert_eq!(read(&text).map_err(|error| format!("{form}: {error}"))?, 2, "{form}");
        }
    }
    Ok(())
}

#[test]
fn keys_are_read_in_the_same_forms() -> TestResult {
    let (chain, key) = to_pem(&ThrowawayCa::new()?.client("alice")?);
    let curve = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    for (form, text) in sound_forms(&key, curve) {
        let read = Certificate::from_pem(chain.as_bytes(), &text).map_err(|error| format!("{form}: {error}"))?;
        assert!(
            read.is_same(&Certificate::from_pem(chain.as_bytes(), key.as_bytes())?),
            "{form}"
        );
    }
    // Of two keys the first is taken, and a locked one is passed over.
    let other = to_pem(&ThrowawayCa::new()?.client("bob")?).1;
    let locked = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    for text in [key.clone() + &other, locked.clone() + &key] {
        let read = Certificate::from_pem(chain.as_bytes(), text.as_bytes())?;
        assert!(read.is_same(&Certificate::from_pem(chain.as_bytes(), key.as_bytes())?));
    }
    for text in [
        locked,
        key.replace(
            "KEY-----\nM",
            "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nM",
        ),
    ] {
        let error = Certificate::from_pem(chain.as_bytes(), text.as_bytes()).expect_err("locked");
        assert!(matches!(error, TlsError::EncryptedKey { .. }), "{error}");
    }
    let ssh = key.replace("PRIVATE", "OPENSSH PRIVATE");
    let error = Certificate::from_pem(chain.as_bytes(), ssh.as_bytes())
        .expect_err("of SSH")
        .to_string();
    assert!(
        error.contains("line 1") && error.contains("ssh-keygen -p -m PKCS8"),
        "{error}"
    );
    Ok(())
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() -> TestResult {
    for Subject { text, other, read } in subjects()? {
        let (first_end, second) = (text.lines().count(), text.lines().count() + 1);
        let label = if text.contains("CRL") {
            "X509 CRL"
        } else {
            "CERTIFICATE"
        };
        let body = |text: &str| {
            text.lines()
                .filter(|line| !line.contains("--"))
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        let with = |text: String| text + &other;
        let in_second = |bad: &str| format!("{text}{bad}");
        for (text, line, words) in [
            // A block without its end, alone, before another, and behind one.
            (
                with(text.replace(&format!("-----END {label}-----\n"), "")),
                1,
                "no matching END line before the next one in line",
            ),
            (
                in_second(&other.replace(&format!("-----END {label}-----\n"), "")),
                second,
                "no matching END line before the end",
            ),
            (
                with(text.replace("-----END", "-----END OLD")),
                first_end,
                "or one of both names is wrong",
            ),
            (
                with(text.replace("-----END", "----END")),
                first_end,
                "malformed END line",
            ),
            (
                text.replace(&format!("-----END {label}-----\n"), "-----END "),
                first_end,
                "malformed END line",
            ),
            (
                with(text.replacen("-----BEGIN", "----BEGIN", 1)),
                1,
                "malformed BEGIN line",
            ),
            (
                in_second(&other.replacen("-----BEGIN ", "-----BEGIN", 1)),
                second,
                "malformed BEGIN line",
            ),
            (
                in_second(&other.replacen("-----BEGIN", "\u{2014}BEGIN", 1)),
                second,
                "malformed BEGIN line",
            ),
            (
                in_second(&other.replacen("-----BEGIN", "\u{2013}---- Begin", 1)),
                second,
                "malformed BEGIN line",
            ),
            (
                in_second(&other.replacen("BEGIN", "begin", 1)),
                second,
                "malformed BEGIN line",
            ),
            (in_second("-----BEGIN"), second, "malformed BEGIN line"),
            (in_second("-----BEGIN CERTIF\n"), second, "malformed BEGIN line"),
            (
                in_second(&body(&other)) + &format!("-----END {label}-----\n"),
                second + body(&other).lines().count(),
                "without its BEGIN line",
            ),
            // What stands in them.
            (
                with(text.replacen("\nM", "\nM*", 1)),
                2,
                "a character that base64 does not use",
            ),
            (
                with(text.replacen("\nM", "\nM=", 1)),
                2,
                "base64 goes on behind its end",
            ),
            (with(text.replacen("\nM", "\n", 1)), 1, "cut short or damaged"),
            (in_second(&other.replace('\n', "\\n")), second, "`printf '%b'`"),
            (
                in_second(&format!("> {}", other.replace('\n', "\n> "))),
                second + 1,
                "take these marks away",
            ),
            (in_second(&other.replace(&body(&other), "")), second, "is empty"),
            (
                in_second(&other.replace(label, &format!("OLD {label}"))),
                second,
                "is of no kind that is read here",
            ),
            (
                in_second(&other.replace(label, "PKCS7")),
                second,
                "openssl pkcs7 -print_certs -in FILE",
            ),
        ] {
            match read(text.as_bytes()) {
                Err(TlsError::BadPem { line: at, reason, .. }) => {
                    assert!(
                        at == line && reason.contains(words),
                        "line {line}, {words}: {at}, {reason}\n{text}"
                    );
                }
                other => panic!("{words}: {other:?}\n{text}"),
            }
        }
    }
    Ok(())
}

/// As `iconv` writes it.
fn utf16(text: &str, big: bool) -> Vec<u8> {
    let units = text.encode_utf16();
    units
        .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
        .collect()
}

#[test]
fn what_is_no_pem_is_named_with_the_command_that_converts_it() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a file.pem");
    let (text, list) = (ca.pem(), lists_to_pem(&ca.revoke(&[])?));
    let key = to_pem(&ca.client("alice")?).1;
    let der = |text: &str| {
        blocks(text.as_bytes())
            .remove(0)
            .map(|block| block.decode::<Der>("CERTIFICATE").expect("DER").0)
    };
    let (certificate, list_der, key_der) = (
        der(&text).map_err(|fault| fault.reason)?,
        der(&list.replace("X509 CRL", "CERTIFICATE")).map_err(|fault| fault.reason)?,
        der(&key.replace("PRIVATE KEY", "CERTIFICATE")).map_err(|fault| fault.reason)?,
    );
    let bundle = [
        &[0x30, 0x80][..],
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02\xa0\x80\0\0\0\0\0\0",
    ]
    .concat();
    let pkcs12 = b"\x30\x82\x00\x08\x02\x01\x03\x30\x82\x00\x00\x00".to_vec();
    for (bytes, words) in [
        (certificate.clone(), "openssl x509 -inform DER -in 'FILE' -out new.pem"),
        (list_der, "openssl crl -inform DER -in 'FILE' -out new.pem"),
        (bundle, "openssl pkcs7 -inform DER -print_certs -in 'FILE' -out new.pem"),
        (pkcs12.clone(), "openssl pkcs12 -nokeys -in 'FILE' -out new.pem"),
        (
            utf16(&format!("{BOM}{text}"), false),
            "iconv -f UTF-16 -t UTF-8 'FILE' > new.pem",
        ),
        (
            utf16(&format!("{BOM}{text}"), true),
            "iconv -f UTF-16 -t UTF-8 'FILE' > new.pem",
        ),
        (utf16(&text, false), "iconv -f UTF-16LE -t UTF-8 'FILE' > new.pem"),
        (utf16(&text, true), "iconv -f UTF-16BE -t UTF-8 'FILE' > new.pem"),
        ([text.as_bytes(), &utf16(&text, false)].concat(), "zero bytes from line"),
        (
            [text.as_bytes(), certificate.as_slice()].concat(),
            "zero bytes from line",
        ),
        (
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            "keytool -importkeystore -srckeystore 'FILE'",
        ),
    ] {
        std::fs::write(&path, &bytes)?;
        let words = words.replace("FILE", &path.display().to_string());
        for result in [
            Authorities::from_pem_file(&path).map(drop),
            Revocations::from_pem_file(&path).map(drop),
        ] {
            let error = result.expect_err("no PEM");
            assert!(matches!(error, TlsError::NotPem { .. }), "{error}");
            assert!(error.to_string().contains(&words), "{words}: {error}");
        }
    }
    for (bytes, words) in [
        (key_der, "openssl pkey -inform DER -in FILE"),
        (pkcs12, "openssl pkcs12 -nocerts -noenc -in FILE"),
    ] {
        let error = Certificate::from_pem(text.as_bytes(), &bytes)
            .expect_err("no PEM")
            .to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    // The digit 0 is the first byte of DER, too.
    assert_eq!(
        Authorities::from_pem(format!("0123\n{text}").as_bytes())?
            .certificates()
            .len(),
        1
    );
    Ok(())
}

/// Any bytes.
struct Der(Vec<u8>);

impl PemObject for Der {
    fn from_pem(_: rustls::pki_types::pem::SectionKind, der: Vec<u8>) -> Option<Self> {
        Some(Self(der))
    }
}

#[test]
fn certificates_with_trust_settings_are_read_unless_they_take_trust_away() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let plain = ca.authorities().certificates()[0].to_vec();
    let alias = b"\x30\x06\x0c\x04name";
    let for_anything = b"\x30\x08\x30\x06\x06\x04\x55\x1d\x25\x00";
    let for_both = b"\x30\x16\x30\x14\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02";
    let for_services = b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";
    let for_clients = b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02";
    let for_mail = b"\x30\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x04";
    let not_for_clients = b"\x30\x0c\xa0\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02";
    let read = |settings: &[u8]| {
        let der = [plain.as_slice(), settings].concat();
        let text = pem("TRUSTED CERTIFICATE", &der);
        Authorities::from_pem(text.as_bytes())
    };
    for settings in [&b""[..], alias, for_anything, for_both] {
        assert_eq!(read(settings)?.certificates(), ca.authorities().certificates());
    }
    // An authority counts for services and for clients.
    for settings in [&for_services[..], for_clients, for_mail, not_for_clients] {
        let error = read(settings).expect_err("not trusted").to_string();
        assert!(
            error.contains("line 1") && error.contains("told not to trust"),
            "{error}"
        );
    }
    // What takes trust away may stand where it cannot be read.
    for settings in [
        &not_for_clients[..not_for_clients.len() - 1],
        &[alias, &not_for_clients[..]].concat(),
        b"\x30\x05\x0c\x04name",
        b"\x30",
    ] {
        let error = read(settings).expect_err("damaged").to_string();
        assert!(error.contains("line 1") && error.contains("are damaged"), "{error}");
    }
    Ok(())
}

/// In time that grows with its length only; else this would not end.
#[test]
fn a_line_of_half_marks_is_looked_through() {
    let line = "- -BEGIN".repeat(10_000);
    assert!(blocks(line.as_bytes()).is_empty());
    let line = "-----BEGIN".repeat(10_000);
    assert!(!blocks(line.as_bytes()).is_empty());
}

#[test]
fn who_looks_in_vain_is_told_what_is_there() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let (chain, key) = to_pem(&ca.client("alice")?);
    let request = chain.replace("CERTIFICATE", "NEW CERTIFICATE REQUEST");
    let says = |error: Option<TlsError>, words: &str| {
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(words), "{words}: {text}");
    };
    says(
        Certificate::from_pem(format!("\n{request}").as_bytes(), key.as_bytes()).err(),
        "which holds a certificate request (line 2): it needs a `BEGIN CERTIFICATE`",
    );
    says(
        Certificate::from_pem(chain.as_bytes(), chain.as_bytes()).err(),
        "which holds a certificate (line 1)",
    );
    says(
        Authorities::from_pem(key.as_bytes()).err(),
        "which holds a private key (line 1)",
    );
    says(
        Revocations::from_pem(chain.repeat(5).as_bytes()).err(),
        "and 2 more blocks",
    );
    says(
        Authorities::from_pem(b"no PEM at all").err(),
        "given by the program: it needs",
    );
    Ok(())
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    #[cfg(unix)]
    {
        let error = Authorities::from_pem_file("/dev/zero").expect_err("no end");
        assert!(matches!(error, TlsError::TooLong { .. }), "{error}");
    }
}

/// Pieces of which a text is put together at random.
fn piece() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        Just("CERTIFICATE"),
        Just("X509 CRL"),
        Just("PRIVATE KEY"),
        Just("TRUSTED CERTIFICATE")
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("\r"), Just(""), Just(" "), Just("\n\n")];
    let before = prop_oneof![Just(""), Just(BOM), Just("  "), Just("\t"), Just("\u{a0}"), Just("x: ")];
    let (begin, close) = (
        prop_oneof![5 => Just("-----BEGIN "), 1 => Just("----BEGIN "), 1 => Just("\u{2014}\u{2014}BEGIN ")],
        prop_oneof![5 => Just("-----END "), 1 => Just("----END ")],
    );
    let dashes = prop_oneof![5 => Just("-----"), 1 => Just("---")];
    prop_oneof![
        4 => (before.clone(), begin, label.clone(), dashes.clone(), end.clone()).prop_map(|(a, b, c, d, e)| format!("{a}{b}{c}{d}{e}")),
        4 => (before, close, label, dashes, end.clone()).prop_map(|(a, b, c, d, e)| format!("{a}{b}{c}{d}{e}")),
        3 => ("[A-Za-z0-9+/]{4,64}={0,2}", end.clone()).prop_map(|(a, b)| format!("{a}{b}")),
        1 => ("[ -~]{0,20}", end).prop_map(|(a, b)| format!("{a}{b}")),
    ]
}

/// What a person sees: dashes and BEGIN, with the name of something.
fn seen(text: &str) -> usize {
    let dashed = |text: &str| text.trim_end_matches(' ').ends_with("--") || text.ends_with('\u{2014}');
    let lines = text.split(['\r', '\n']).filter(|line| {
        !["#", ";", "//"]
            .iter()
            .any(|mark| trim(line.as_bytes()).starts_with(mark.as_bytes()))
    });
    lines
        .flat_map(|line| line.match_indices("BEGIN ").filter(move |(at, _)| dashed(&line[..*at])))
        .count()
}

proptest! {
    // A failure prints the text.
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_block_is_lost_without_a_word(pieces in proptest::collection::vec(piece(), 0..24)) {
        let text = pieces.concat();
        let found = blocks(text.as_bytes());
        prop_assert!(found.len() >= seen(&text), "{} of {} in {text:?}", found.len(), seen(&text));
        let is_all_read = found.iter().all(Result::is_ok);
        prop_assert!(!is_all_read || found.len() == seen(&text), "{} of {} in {text:?}", found.len(), seen(&text));
    }

    #[test]
    fn any_bytes_are_looked_through(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        for block in blocks(&text).iter().flatten() {
            let _ = block.decode::<Der>("CERTIFICATE");
        }
        let _ = foreign(&text, Sort::Keys, "FILE");
    }
}
