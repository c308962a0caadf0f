//! Logs of connections, whatever they say.

use std::sync::{Arc, Mutex, PoisonError};

use diset_proto::recording::{MAGIC, Record};
use diset_proto::replay::Replay;
use diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_proto::{
    Admission, ClientConfig, Connection, Deframer, Event, GrowBuf, Identity, Instant, Limits, NewReason, ServiceDef,
    Session, Token, Trid,
};

use super::engine::{Count, Fuzzed, Words};

/// A log is replayed: the input is bodies of entries, each behind its length in two bytes, the high one first. Their
/// checks are made here.
pub fn replay(data: &[u8]) {
    let mut log = MAGIC.to_vec();
    let mut check = crc(&MAGIC);
    let mut rest = data;
    while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
        let (body, after) = after.split_at(usize::from(u16::from_be_bytes([high, low])).min(after.len()));
        rest = after;
        check = crc(&[&check.to_le_bytes(), body].concat());
        match body.len() {
            len @ 0..128 => log.push(len as u8),
            len @ 128..16_384 => log.extend([len as u8 | 0x80, (len >> 7) as u8]),
            len => log.extend([len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8]),
        }
        log.extend_from_slice(body);
        log.extend(check.to_le_bytes());
    }
    let once = Replay::of::<Fuzzed>(&log).and_then(Replay::run);
    let again = Replay::of::<Fuzzed>(&log).and_then(Replay::run);
    assert_eq!(once, again);
}

/// CRC-32, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Bodies of entries, as the target takes them.
#[derive(Clone, Default)]
struct Bodies(Arc<Mutex<Vec<u8>>>);

impl Bodies {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Record for Bodies {
    fn write(&mut self, bytes: &[u8]) {
        if bytes == MAGIC {
            return;
        }
        let prefix = 1 + bytes.iter().take_while(|byte| **byte >= 0x80).count();
        let body = &bytes[prefix..bytes.len() - 4];
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend((body.len() as u16).to_be_bytes());
        all.extend_from_slice(body);
    }
}

/// Inputs for the target: a client and a service that exchange acked messages, and part.
#[allow(dead_code, reason = "for the test that writes the seeds")]
pub fn recorded() -> [Vec<u8>; 2] {
    let mut now = Instant::from_millis(1000);
    let output = || GrowBuf::new(4000);
    let session = || Some(Box::new(Session::new(HeapReplay::new(8, 500), Volatile)));
    let config = ClientConfig {
        catalog: Fuzzed::CATALOG,
        identity: Identity::from_bytes([3; 16]),
        limits: Limits::CHIP,
        args: &[],
    };
    let mut client = Connection::client_in_session(now, &config, output(), session()).expect("a client");
    let service = Connection::service(now, Fuzzed::CATALOG, Limits::SERVER, output());
    let mut service = service.expect("a service").with_sessions(None);
    let logs = [Bodies::default(), Bodies::default()];
    client.record(Box::new(logs[0].clone())).expect("a new connection");
    service.record(Box::new(logs[1].clone())).expect("a new connection");
    let mut rx = [Deframer::new(GrowBuf::new(2000)), Deframer::new(GrowBuf::new(2000))];
    for round in 0..6 {
        let _ = client.send_acked(0, &Count { n: round }, Unsure::Resend);
        let words = Words { text: "w", more: None };
        let _ = service.send_acked(1, &words, Unsure::Report);
        let bytes = client.transmit().to_vec();
        client.transmitted(bytes.len());
        let mut input = bytes.as_slice();
        while let Some(frame) = rx[1].next(&mut input, 1024) {
            match service.handle_frame(now, frame) {
                Some(Event::Proposed(_)) => {
                    let request = service.resume_request().expect("a session").clone();
                    let (trid, mut kept) = (Trid::new(1), session());
                    if let Some(kept) = &mut kept {
                        kept.begin_with(&request, trid, NewReason::First, Some(Token::from_bytes([4; 16])));
                    }
                    drop(service.accept_in_session(now, Admission::new(trid), kept));
                }
                Some(Event::Message(message)) => drop(service.decode::<Count>(message)),
                _ => {}
            }
        }
        let bytes = service.transmit().to_vec();
        service.transmitted(bytes.len());
        let mut input = bytes.as_slice();
        while let Some(frame) = rx[0].next(&mut input, 1024) {
            if let Some(Event::Message(message)) = client.handle_frame(now, frame) {
                drop(client.decode::<Words<'_>>(message));
            }
        }
        now = Instant::from_millis(now.as_millis() + 25);
        let _ = (client.handle_time(now), service.handle_time(now));
    }
    drop(client.handle_eof());
    drop(service.take_session());
    logs.map(|log| log.take())
}
