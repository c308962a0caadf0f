//! The page of flash with a station's credentials: what the host writes is what the firmware reads, and nothing else is.

use credentials::{Credentials, Error, Field, PAGE, TooLong};

const PINS: [[u8; 32]; 2] = [[5; 32], [6; 32]];

fn whole(certificate: &[u8]) -> Credentials<'_> {
    Credentials {
        identity: Some(b"station 00000017"),
        certificate: Some(certificate),
        key: Some(&[2; 32]),
        server_name: Some("gateway.test"),
        authority: Some(&[3; 400]),
        next_authority: Some(&[4; 401]),
        pins: Some(&PINS),
    }
}

fn page(credentials: &Credentials<'_>) -> ([u8; PAGE], usize) {
    let mut page = [0; PAGE];
    let used = credentials.write(&mut page).expect("it fits");
    (page, used)
}

#[test]
fn what_is_written_is_read() {
    let all = whole(&[1; 500]);
    assert_eq!(Credentials::read(&page(&all).0), Ok(all));
    let one = Credentials {
        identity: Some(&[9; 16]),
        ..Credentials::default()
    };
    let (written, used) = page(&one);
    let read = Credentials::read(&written).expect("it is in order");
    assert_eq!(read, one);
    assert_eq!(used, 8 + 2 + 3 + 16 + 4);
    // Shorter than the flash has it, as in a file.
    assert_eq!(Credentials::read(&written[..used]), Ok(one));
    assert_eq!(read.identity(), Ok(&[9; 16]));
    assert_eq!(read.certificate(), Err(Error::Missing(Field::Certificate)));
    assert_eq!(read.key(), Err(Error::Missing(Field::Key)));
    assert_eq!(read.server_name(), Err(Error::Missing(Field::ServerName)));
    assert_eq!(read.authorities(), Err(Error::Missing(Field::Authority)));
    assert_eq!(read.pins(), Err(Error::Missing(Field::Pins)));
}

#[test]
fn the_next_authority_may_be_missing() {
    let one = Credentials {
        next_authority: None,
        ..whole(&[1])
    };
    assert_eq!(one.authorities(), Ok([&[3; 400][..], &[3; 400]]));
    assert_eq!(whole(&[1]).authorities(), Ok([&[3; 400][..], &[4; 401]]));
}

#[test]
fn erased_flash_is_told_from_a_page_that_is_damaged() {
    assert_eq!(Credentials::read(&[0xFF; PAGE]), Err(Error::Empty));
    assert_eq!(Credentials::read(&[0; PAGE]), Err(Error::Empty));
    assert_eq!(Credentials::read(&[]), Err(Error::Empty));
    let said = Error::Empty.to_string();
    assert_eq!(said, "no credentials in flash: write them with `station_page`");
    let (mut written, _) = page(&whole(&[1; 500]));
    written[7] = 2;
    assert_eq!(Credentials::read(&written), Err(Error::Version(2)));
}

#[test]
fn every_changed_bit_and_every_shorter_page_is_found() {
    let (written, used) = page(&whole(&[1; 100]));
    for at in 0..used {
        for bit in 0..8 {
            let mut changed = written;
            changed[at] ^= 1 << bit;
            assert!(Credentials::read(&changed).is_err(), "bit {bit} of byte {at}");
        }
        assert!(Credentials::read(&written[..at]).is_err(), "{at} bytes");
    }
}

#[test]
fn fields_must_be_as_they_are_described() {
    let wrong: [(u8, &[u8]); 9] = [
        (1, &[1, 15, 0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]),
        (2, &[2, 0, 0]),
        (2, &[2, 9, 0, 1]),
        (2, &[2, 1]),
        (4, &[4, 1, 0, 0xFF]),
        (7, &[7, 3, 0, 1, 2, 3]),
        (8, &[8, 1, 0, 1]),
        (2, &[2, 1, 0, 1, 2, 1, 0, 1]),
        (5, &[6, 1, 0, 1, 5, 1, 0, 1]),
    ];
    for (kind, fields) in wrong {
        assert_eq!(
            Credentials::read(&sealed(fields)),
            Err(Error::Malformed(kind)),
            "{fields:?}"
        );
    }
}

/// A page with these bytes in place of fields, and the right check.
fn sealed(fields: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fields.len()).expect("short").to_le_bytes();
    let mut page = [b"diset\0\0\x01", &length[..], fields].concat();
    let mut check = u32::MAX;
    for byte in &page {
        check ^= u32::from(*byte);
        for _ in 0..8 {
            check = (check >> 1) ^ (0xEDB8_8320 * (check & 1));
        }
    }
    page.extend((!check).to_le_bytes());
    page
}

#[test]
fn what_does_not_fit_is_not_written() {
    let long = vec![1; PAGE];
    assert_eq!(whole(&long).write(&mut [0; PAGE]), Err(TooLong));
    let endless = vec![1; 70_000];
    assert_eq!(whole(&endless).write(&mut [0; PAGE]), Err(TooLong));
}

#[test]
fn the_key_is_not_printed() {
    let shown = format!("{:?}", whole(&[1; 10]));
    assert!(shown.contains("gateway.test") && !shown.contains("[2, 2"), "{shown}");
}
