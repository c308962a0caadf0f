//! How a line opens and ends, in order and otherwise.

use diset_proto::{Misuse, SerialLine};

use super::support::{Seen, feed, nonce, open, wrap};

const NOISE: &[u8] = b"\x81\x02noise that is long enough\x00";

fn data(bytes: &[u8]) -> Seen {
    Seen::Data(bytes.to_vec())
}

/// PROTOCOL W-4
#[test]
fn request_and_answer_may_be_lost_and_repeated() {
    let (mut client, mut service) = (SerialLine::client(), SerialLine::service());
    client.open(nonce(7)).unwrap();
    let _lost = wrap(&mut client, b"");
    client.open(nonce(7)).unwrap();
    assert_eq!(feed(&mut service, &wrap(&mut client, b"")), [Seen::Opened]);
    let _lost = wrap(&mut service, b"");
    client.open(nonce(7)).unwrap();
    assert_eq!(
        feed(&mut service, &wrap(&mut client, b"")),
        [],
        "PROTOCOL W-4: answered only"
    );
    let ready = wrap(&mut service, b"hello");
    client.open(nonce(7)).unwrap();
    assert_eq!(feed(&mut client, &ready), [Seen::Opened, data(b"hello")]);
    assert!(client.is_output_empty(), "the repeated Reset is not needed any more");
    // Once open, repeating is nothing.
    client.open(nonce(7)).unwrap();
    assert!(client.is_output_empty());
    assert_eq!(feed(&mut client, &ready[..ready.len() / 2]), []);
}

/// PROTOCOL W-4: as a repeated Reset that was under way while the line opened, and the service has sent something.
#[test]
fn a_late_repetition_changes_nothing() {
    let (mut client, mut service) = (SerialLine::client(), SerialLine::service());
    client.open(nonce(7)).unwrap();
    let reset = wrap(&mut client, b"");
    feed(&mut service, &reset);
    feed(&mut client, &wrap(&mut service, b"one"));
    assert_eq!(feed(&mut service, &reset), []);
    assert_eq!(feed(&mut client, &wrap(&mut service, b"two")), [data(b"two")]);
    assert_eq!(feed(&mut service, &wrap(&mut client, b"three")), [data(b"three")]);
    // After the first data it is a client that has begun anew.
    assert_eq!(feed(&mut service, &reset), [Seen::Broken, Seen::Opened]);
}

/// PROTOCOL W-4
#[test]
fn a_new_opening_ends_the_old_one() {
    let [mut client, mut service] = open();
    let stale = wrap(&mut service, b"from the old one");
    client.open(nonce(8)).unwrap();
    assert_eq!(
        feed(&mut client, &stale),
        [],
        "PROTOCOL W-5: a client that waits for Ready"
    );
    let reset = wrap(&mut client, b"not yet");
    assert_eq!(feed(&mut service, &reset), [Seen::Broken, Seen::Opened]);
    assert_eq!(
        feed(&mut client, &wrap(&mut service, b"new")),
        [Seen::Opened, data(b"new")]
    );
    assert_eq!(feed(&mut service, &wrap(&mut client, b"new")), [data(b"new")]);
}

/// PROTOCOL W-4: the answer to an older Reset.
#[test]
fn a_stale_answer_opens_nothing() {
    let (mut client, mut service) = (SerialLine::client(), SerialLine::service());
    client.open(nonce(7)).unwrap();
    feed(&mut service, &wrap(&mut client, b""));
    let stale = wrap(&mut service, b"stale");
    client.open(nonce(8)).unwrap();
    assert_eq!(feed(&mut client, &stale), []);
    assert!(!client.is_open());
    assert_eq!(service.open(nonce(9)), Err(Misuse::WrongPhase));
}

/// PROTOCOL W-5
#[test]
fn what_cannot_be_a_packet_is_ignored() {
    let [mut client, mut service] = open();
    assert_eq!(feed(&mut service, b"\0\0\x7f\xff\0\x01\x02\x03\x04\x05\x06\0\0"), []);
    // An echo: what this side said itself.
    let own = wrap(&mut service, b"said by the service");
    assert_eq!(feed(&mut service, &own), []);
    assert_eq!(feed(&mut client, &own), [data(b"said by the service")]);
    // An End of another nonce.
    let [mut other, mut peer] = [SerialLine::client(), SerialLine::service()];
    other.open(nonce(99)).unwrap();
    feed(&mut peer, &wrap(&mut other, b""));
    other.close();
    assert_eq!(feed(&mut service, &wrap(&mut other, b"")), []);
    assert!(service.is_open() && client.is_open());
    // Noise before, and while nothing is open.
    let mut closed = SerialLine::service();
    assert_eq!(feed(&mut closed, NOISE), []);
    client.open(nonce(3)).unwrap();
    let mut noisy = NOISE[..5].to_vec();
    noisy.extend(wrap(&mut client, b""));
    assert_eq!(
        feed(&mut closed, &noisy),
        [Seen::Opened],
        "PROTOCOL W-1: a packet begins with 00"
    );
}

/// PROTOCOL W-6, W-7
#[test]
fn damage_breaks_and_the_other_side_is_told() {
    let [mut client, mut service] = open();
    assert_eq!(feed(&mut service, NOISE), [Seen::Broken]);
    assert_eq!(
        feed(&mut service, &wrap(&mut client, b"on its way")),
        [],
        "PROTOCOL W-6"
    );
    assert_eq!(feed(&mut client, &wrap(&mut service, b"too late")), [Seen::Ended]);
    assert!(!client.is_open() && !service.is_open());
    assert_eq!(wrap(&mut client, b"nobody hears"), [0u8; 0]);
    assert_eq!(
        feed(&mut service, NOISE),
        [],
        "said once, and noise alone is not answered"
    );
    assert!(service.is_output_empty());
    // Only a new Reset opens again.
    client.open(nonce(5)).unwrap();
    assert_eq!(feed(&mut service, &wrap(&mut client, b"")), [Seen::Opened]);
    assert_eq!(feed(&mut client, &wrap(&mut service, b"")), [Seen::Opened]);
}

/// PROTOCOL W-7
#[test]
fn an_end_says_whether_everything_came() {
    let [mut client, mut service] = open();
    let mut bytes = wrap(&mut client, b"last words");
    client.close();
    bytes.extend(wrap(&mut client, b""));
    assert_eq!(feed(&mut service, &bytes), [data(b"last words"), Seen::Ended]);
    assert!(service.is_output_empty(), "an End is not answered");

    let [mut client, mut service] = open();
    let _lost = wrap(&mut client, b"last words");
    client.close();
    assert_eq!(feed(&mut service, &wrap(&mut client, b"")), [Seen::Broken]);
}

/// PROTOCOL W-7: whoever restarts ends what the other side takes for open.
#[test]
fn a_restart_is_told() {
    let [mut client, mut service] = open();
    feed(&mut service, &wrap(&mut client, b"something"));
    let mut restarted = SerialLine::service();
    assert_eq!(feed(&mut client, &wrap(&mut restarted, b"")), [Seen::Broken]);
    let mut restarted = SerialLine::client();
    assert_eq!(feed(&mut service, &wrap(&mut restarted, b"")), [Seen::Broken]);

    // The first End is lost: what still comes is answered with another.
    let [mut client, _] = open();
    let mut restarted = SerialLine::service();
    let _lost = wrap(&mut restarted, b"");
    assert_eq!(feed(&mut restarted, &wrap(&mut client, b"hello?")), []);
    assert_eq!(feed(&mut client, &wrap(&mut restarted, b"")), [Seen::Broken]);

    // PROTOCOL W-7: the End that told of a break is lost.
    let [mut client, mut service] = open();
    assert_eq!(feed(&mut service, NOISE), [Seen::Broken]);
    let _lost = wrap(&mut service, b"");
    assert_eq!(feed(&mut service, &wrap(&mut client, b"hello?")), []);
    assert_eq!(feed(&mut client, &wrap(&mut service, b"")), [Seen::Ended]);
}
