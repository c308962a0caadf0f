//! Messages do not show in `Debug`: not in stores, not on their way in or out, not while they wait.

use core::fmt::Debug;

use diset_proto::sim::Pair;
use diset_proto::store::{FixedReplay, HeapReplay, Replay, Stored, Unsure, Volatile};
use diset_proto::{Deframer, GrowBuf, Key, MessageOf, Schema, Session, define_service};
use serde::{Deserialize, Serialize};

use super::support::{NOTE, NOW, by_hand, message};

#[derive(Serialize, Deserialize, Schema)]
struct Word {
    text: heapless::String<16>,
}

define_service! { Words = "Test/Words"; both: [Word] }

const NUMBER: u8 = <Word as MessageOf<Words>>::NUMBER;
const SECRET: &[u8] = b"secret";

fn hides(value: &dyn Debug) {
    let shown = format!("{value:?}");
    assert!(!shown.contains("secret"), "{shown}");
    assert!(!shown.contains("115, 101, 99, 114, 101, 116"), "{shown}");
}

#[test]
fn a_store_hides_what_it_keeps() {
    fn fill<R: Replay>(mut store: R) -> R {
        let key = Key::from_bytes([1; 16]);
        let head = Stored {
            number: 1,
            key,
            unsure: Unsure::Report,
            repeated: false,
            payload: &[],
        };
        // The second one is written, and not committed.
        for number in [1, 2] {
            let place = store.reserve(Stored { number, ..head }, SECRET.len()).unwrap();
            place.copy_from_slice(SECRET);
            if number == 1 {
                store.commit();
            }
        }
        hides(&store.after(0).unwrap());
        store
    }
    hides(&fill(FixedReplay::new([0; 128])));
    hides(&fill(FixedReplay::new(GrowBuf::new(128))));
    hides(&fill(HeapReplay::new(4, 128)));
    hides(&Session::new(fill(FixedReplay::new([0; 128])), Volatile));
}

#[test]
fn a_connection_hides_what_it_sends_and_takes() {
    let mut pair = Pair::of::<Words, Words>().start();
    pair.settle();
    let text = heapless::String::try_from("secret").unwrap();
    pair.client.conn.send(NUMBER, &Word { text }).unwrap();
    hides(&*pair.client.conn);
    let sent = pair.client.conn.transmit().to_vec();
    assert!(sent.windows(SECRET.len()).any(|part| part == SECRET));
}

#[test]
fn a_deframer_hides_the_frame_that_comes_in_pieces() {
    let mut rx = Deframer::new([0; 64]);
    let mut growing = Deframer::new(GrowBuf::new(64));
    // A preamble, and the beginning of a frame of 20 bytes.
    let preamble = Pair::of::<Words, Words>().start().client.conn.transmit()[..5].to_vec();
    let bytes = [&preamble[..], &[20, 0x10, 0], SECRET].concat();
    assert!(rx.next(&mut &bytes[..], 64).is_none());
    assert!(growing.next(&mut &bytes[..], 64).is_none());
    hides(&rx);
    hides(&growing);
}

#[test]
fn a_message_that_waits_is_hidden() {
    use diset_proto::{Event, Kept, MessageRef};
    fn hold(message: MessageRef<'_>) -> Kept {
        hides(&message);
        message.into()
    }
    // By hand: the halves show no message at all.
    let (mut conn, mut rx) = by_hand();
    let bytes = message(NOTE, &[&[6], SECRET].concat());
    let frame = rx.next(&mut bytes.as_slice(), 64).unwrap();
    hides(&frame);
    let Some(Event::Message(message)) = conn.handle_frame(NOW, frame) else {
        panic!("a message");
    };
    let kept = hold(message);
    assert_eq!(kept.message().name(), "Note");
    hides(&kept);
}
