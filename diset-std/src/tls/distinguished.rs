//! A distinguished name as text, in the form of RFC 4514 and in DIRAC's, at most about four times as long as its DER. How long that may be, and what
//! a name means, is not decided here.

use core::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::{Any, Oid};
use x509_parser::x509::X509Name;

/// RFC 4514: the last part of the certificate's order first, everything that could be mistaken escaped, so that equal text means equal names.
pub(super) fn rfc4514(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (i, part) in parts.iter().rev().enumerate() {
        for (j, attribute) in part.iter().enumerate() {
            match (i, j) {
                (0, 0) => {}
                (_, 0) => text.push(','),
                _ => text.push('+'),
            }
            push_type(&mut text, attribute.attr_type());
            text.push('=');
            match attribute.as_str() {
                Ok(value) => push_escaped(&mut text, value),
                Err(_) => push_hex(&mut text, attribute.attr_value()),
            }
        }
    }
    text
}

/// `/C=ch/O=some/CN=name`, in the certificate's order, as OpenSSL's one-line form that DIRAC uses: bytes other than printable ASCII are written
/// `\xHH`, a slash in a value is not escaped.
pub(super) fn dirac(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for attribute in name.iter_attributes() {
        text.push('/');
        push_type(&mut text, attribute.attr_type());
        text.push('=');
        for &byte in attribute.as_slice() {
            match byte {
                b' '..=b'~' => text.push(char::from(byte)),
                _ => {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\x{byte:02X}");
                }
            }
        }
    }
    text
}

fn push_type(text: &mut String, oid: &Oid<'_>) {
    let dotted = oid.to_id_string();
    text.push_str(match dotted.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.46" => "dnQualifier",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        other => other,
    });
}

fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (i, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            ' ' if i == 0 || i == last => text.push_str("\\ "),
            '#' if i == 0 => text.push_str("\\#"),
            _ if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            _ => text.push(c),
        }
    }
}

/// The value as `#` and the hexadecimal of its DER, for types that are not plain text.
fn push_hex(text: &mut String, value: &Any<'_>) {
    let content = value.as_bytes();
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().position(|&byte| byte != 0).unwrap_or(length.len() - 1)..];
    let mut der = vec![u8::try_from(value.tag().0).unwrap_or(0x1f)];
    if content.len() >= 0x80 {
        der.push(0x80 | length.len().to_le_bytes()[0]);
    }
    der.extend_from_slice(length);
    der.extend_from_slice(content);
    text.push('#');
    for byte in der {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}
