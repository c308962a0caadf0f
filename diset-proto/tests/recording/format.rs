//! The bytes of a log are those of docs/RECORDING.md.

use diset_proto::recording::{Entries, Entry, MAGIC};
use diset_proto::{ClientConfig, Connection, GrowBuf, Identity, Instant, Limits, ServiceDef};

use super::support::{Log, Meter};

#[test]
fn kinds_have_their_numbers() {
    let kinds = [
        (3, Entry::NoSession),
        (8, Entry::NoRoom),
        (9, Entry::Received),
        (10, Entry::Time),
        (11, Entry::Eof),
        (14, Entry::Telling),
        (18, Entry::Keep),
        (19, Entry::Started { number: 1 }),
        (26, Entry::Transmitted { count: 1 }),
        (27, Entry::TakeOutcome),
        (28, Entry::SkipOldest),
        (29, Entry::TakeSession),
    ];
    for (number, entry) in kinds {
        let body = postcard::to_extend(&entry, Vec::new()).unwrap();
        assert_eq!(body[0], number, "{entry:?}");
    }
}

#[test]
fn a_log_is_what_is_written_down() {
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([7; 16]),
        limits: Limits::CHIP,
        args: &[],
    };
    let now = Instant::from_millis(300);
    let mut client = Connection::client(now, &config, GrowBuf::new(2000)).unwrap();
    let log = Log::default();
    client.record(Box::new(log.clone())).unwrap();
    let mut proposal = client.transmit().to_vec();
    client.transmitted(proposal.len());
    client.handle_received(Instant::from_millis(364));

    let mut expected = MAGIC.to_vec();
    let mut check = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&MAGIC);
    let mut put = |body: &[u8]| {
        check = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&[&check.to_le_bytes(), body].concat());
        // Lengths from 128 on take two bytes, the low seven bits first.
        match body.len() {
            len @ 0..128 => expected.push(len as u8),
            len => expected.extend([len as u8 | 0x80, (len >> 7) as u8]),
        }
        expected.extend(body);
        expected.extend(check.to_le_bytes());
    };
    let len = proposal.len() as u8;
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&proposal);
    // No step, kind 0, a client, service, digest.
    let mut begin = vec![0, 0, 1, 10];
    begin.extend(b"Test/Meter");
    begin.extend(Meter::CATALOG.digest().as_bytes());
    // 512 bytes a frame, 1024 bytes, 16 messages, 60,000 ms, 30,000 ms, no records, deadline 30,300, output 2000.
    begin.extend([
        0x80, 0x04, 0x80, 0x08, 16, 0xe0, 0xd4, 0x03, 0xb0, 0xea, 0x01, 0, 0xdc, 0xec, 0x01,
    ]);
    begin.extend([0xd0, 0x0f, len]);
    begin.append(&mut proposal);
    put(&begin);
    let mut transmit = vec![0, 25, len];
    let mut rest = sum;
    while rest >= 0x80 {
        transmit.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    transmit.extend([rest as u8, 0, 0]);
    put(&transmit);
    put(&[0, 26, len]);
    // The first time: 364 ms later than none, zigzag.
    put(&[0xd8, 0x05, 9]);
    assert_eq!(log.bytes(), expected);
    assert_eq!(Entries::new(&expected).unwrap().count(), 4);
}
