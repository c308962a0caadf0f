//! Files that are not PEM at all: what they are, and the command that makes PEM of them.

use x509_parser::prelude::{FromDer, X509Certificate, X509CertificationRequest};
use x509_parser::revocation_list::CertificateRevocationList;

use super::{Sort, lines};

/// What a file is that is not PEM text at all, with what makes PEM of it; `None` when it may be PEM. `file` is how the command names it.
pub(in crate::tls) fn foreign(text: &[u8], sort: Sort, file: &str) -> Option<String> {
    let utf16 = |name: &str| format!("{name} text: convert it with `iconv -f {name} -t UTF-8 {file} > new.pem`");
    match text {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(utf16("UTF-32")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(utf16("UTF-16")),
        [0xfe, 0xed, 0xfe, 0xed, ..] => {
            return Some(format!(
                "a Java key store: convert it with `keytool -importkeystore -srckeystore {file} -destkeystore new.p12 -deststoretype PKCS12`, \
                 then take what is needed out of new.p12 with `openssl pkcs12`"
            ));
        }
        _ => {}
    }
    if let Some(content) = der_content(text) {
        return Some(der_words(text, content, sort, file));
    }
    // A text may have been written with the zero that ends it in C.
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text = text.get(..end).unwrap_or_default();
    let zero = text.iter().position(|&byte| byte == 0)?;
    let line = lines(text.get(..zero).unwrap_or_default()).count().max(1);
    Some(match text {
        [0, b, ..] if *b != 0 => utf16("UTF-16BE"),
        [b, 0, ..] if *b != 0 => utf16("UTF-16LE"),
        _ => format!(
            "not all text: there are zero bytes from line {line} on, as when UTF-16 (what PowerShell's `>>` writes) or DER was appended to it; \
             write it anew"
        ),
    })
}

/// What the outermost SEQUENCE holds, when this is one and not text that begins with the digit 0, which is the same byte.
fn der_content(text: &[u8]) -> Option<&[u8]> {
    let [0x30, length, rest @ ..] = text else {
        return None;
    };
    match length {
        // Long or open length.
        0x80..=0x84 => rest.get(usize::from(length & 0x7f)..),
        short => (rest.len() == usize::from(*short)).then_some(rest),
    }
}

/// What a file in DER is. Its first elements tell the kinds apart.
fn der_words(text: &[u8], content: &[u8], sort: Sort, file: &str) -> String {
    const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    let keys = sort == Sort::Keys;
    let (what, command) = if content.starts_with(SIGNED_DATA) {
        (
            "a PKCS#7 bundle in DER",
            format!("pkcs7 -inform DER -print_certs -in {file}"),
        )
    } else if content.starts_with(b"\x02\x01\x03\x30") {
        let part = if keys { "-nocerts -noenc" } else { "-nokeys" };
        ("PKCS#12", format!("pkcs12 {part} -in {file}"))
    } else if X509Certificate::from_der(text).is_ok() {
        ("a certificate in DER", format!("x509 -inform DER -in {file}"))
    } else if CertificateRevocationList::from_der(text).is_ok() {
        ("a revocation list in DER", format!("crl -inform DER -in {file}"))
    } else if X509CertificationRequest::from_der(text).is_ok() {
        return "a certificate request in DER: send it to your authority, and give what comes back".to_owned();
    } else {
        let command = match sort {
            Sort::Certificates => "x509",
            Sort::Lists => "crl",
            Sort::Keys => "pkey",
        };
        ("DER", format!("{command} -inform DER -in {file}"))
    };
    format!("{what}, not PEM: convert it with `openssl {command} -out new.pem`")
}
