//! Definitions that a peer described, and messages of them.

use diset_proto::{LearnedCatalog, LearnedMessage, ServiceName};

use super::Bytes;
use super::value::compare;

/// A message `A`, both ways, of the type with this canonical form.
fn described(ty: &[u8]) -> Option<LearnedMessage> {
    LearnedMessage::decode(&[&[3, 0, 1, 0, b'A'], ty].concat()).ok()
}

/// Any bytes as the descriptions of a service and as a type: what is taken writes the same bytes.
pub fn catalog(data: &[u8]) {
    let service = ServiceName::parse("Fuzz/Service").expect("a name");
    if let Ok(catalog) = LearnedCatalog::decode(service, data) {
        let mut written = Vec::new();
        for message in catalog.messages() {
            let description = message.to_description();
            assert_eq!(LearnedMessage::decode(&description).as_ref(), Ok(&**message));
            assert_eq!(catalog.message(message.name()), Some(message));
            written.extend(description);
        }
        assert_eq!(written, data);
    }
    // A message of this type; or the type asks, and the answer stands behind it.
    for kind in 0..6 {
        let description = [&[3, kind, 1, 0, b'A'], data].concat();
        if let Ok(message) = LearnedMessage::decode(&description) {
            assert!(kind < 5, "PROTOCOL S-7: no kind of entry has this number");
            assert_eq!(message.to_description(), description);
            assert_eq!(message.answer().is_some(), kind > 0);
            assert!(message.to_string().chars().all(is_printable));
        }
    }
}

/// Whether `Debug` shows it as it is, but for quotes and the backslash.
fn is_printable(character: char) -> bool {
    matches!(character, '"' | '\'' | '\\') || character.escape_debug().len() == 1
}

/// A type and a payload: all who read it say the same, and what is shown of it is taken back. Then the payload as the text of a value. First byte: the
/// length of the type; with 255 the next two bytes are.
pub fn values(data: &[u8]) {
    let mut bytes = Bytes(data);
    let length = match bytes.byte() {
        u8::MAX => bytes.number(),
        length => length.into(),
    };
    let Some(message) = described(bytes.take(length as usize)) else {
        return;
    };
    let payload = bytes.0;
    let checked = compare(message.structure(), payload);
    assert_eq!(message.read(payload).err(), checked.err());
    if checked.is_ok() {
        there_and_back(&message, payload);
    }
    let mut text = serde_json::Deserializer::from_slice(payload);
    match message.encode(&mut text) {
        Ok(encoded) => {
            assert_eq!(compare(message.structure(), &encoded), Ok(()));
            there_and_back(&message, &encoded);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn there_and_back(message: &LearnedMessage, payload: &[u8]) {
    let show = |payload| serde_json::to_string(&message.read(payload).expect("checked")).expect("shown");
    let text = show(payload);
    // The budget of PROTOCOL M-6: at most 5 bytes for each 1 of it, and 9 for each byte.
    let most = 5 * (16_384 + 64 * payload.len()) + 9 * payload.len();
    assert!(text.len() <= most, "{} of {most} bytes: {message}", text.len());
    match message.encode(&mut serde_json::Deserializer::from_str(&text)) {
        Ok(back) if back == payload => {}
        // The bits of a NaN are not shown, so two keys may look the same.
        Ok(back) if text.contains("NaN") => assert_eq!(show(&back), text),
        Err(_) if text.contains("NaN") => {}
        other => panic!("{message}: {text}: {other:?}"),
    }
}
