//! Stores in memory keep what they are given, in order.

use super::*;

fn put(store: &mut impl Replay, number: u64, payload: &[u8]) -> bool {
    let head = Stored {
        number,
        key: Key([number as u8; 16]),
        unsure: if number.is_multiple_of(2) {
            Unsure::Resend
        } else {
            Unsure::Report
        },
        repeated: false,
        payload: &[],
    };
    let Some(place) = store.reserve(head, payload.len()) else {
        return false;
    };
    place.copy_from_slice(payload);
    store.commit();
    true
}

fn all(store: &impl Replay) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut last = 0;
    while let Some(stored) = store.after(last) {
        assert_eq!(stored.key, Key([stored.number as u8; 16]));
        assert_eq!(stored.unsure == Unsure::Resend, stored.number % 2 == 0);
        last = stored.number;
        found.push((last, stored.payload.to_vec()));
    }
    assert_eq!(found.len(), store.len());
    assert_eq!(
        found.iter().map(|(_, payload)| payload.len()).sum::<usize>(),
        store.bytes()
    );
    found
}

/// The same, whatever the store is made of.
fn keeps_messages_in_order(store: &mut impl Replay) {
    for number in 1..=5 {
        assert!(put(store, number, &[number as u8; 3]));
    }
    store.remove(3);
    store.remove(9);
    store.mark_repeated(4);
    assert!(
        store
            .after(3)
            .is_some_and(|stored| stored.number == 4 && stored.repeated)
    );
    assert!(store.after(4).is_some_and(|stored| !stored.repeated));
    assert_eq!(
        all(store).iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        [1, 2, 4, 5]
    );
    store.remove_through(2);
    assert!(put(store, 7, b"seven"));
    assert_eq!(all(store), [(4, vec![4; 3]), (5, vec![5; 3]), (7, b"seven".to_vec())]);
    // What was reserved and not written does not count.
    let head = store.after(6).map(|stored| Stored {
        payload: &[],
        number: 8,
        ..stored
    });
    let _ = head.map(|head| (head.number, head.key)).map(|(number, key)| {
        store
            .reserve(
                Stored {
                    number,
                    key,
                    unsure: Unsure::Report,
                    repeated: false,
                    payload: &[],
                },
                3,
            )
            .is_some()
    });
    assert_eq!(all(store).len(), 3);
    store.remove_through(100);
    assert!(store.is_empty() && store.bytes() == 0);
}

#[test]
fn a_buffer_keeps_messages_in_order() {
    keeps_messages_in_order(&mut FixedReplay::new([0; 300]));
}

#[cfg(feature = "alloc")]
#[test]
fn a_heap_keeps_messages_in_order() {
    keeps_messages_in_order(&mut HeapReplay::new(10, 100));
    keeps_messages_in_order(&mut FixedReplay::new(crate::GrowBuf::new(1000)));
}

#[test]
fn a_buffer_is_used_again_and_again_and_has_an_end() {
    let mut store = FixedReplay::new([0; 100]);
    for number in 1..100 {
        assert!(put(&mut store, number, &[1; 10]));
        assert!(put(&mut store, number + 1000, &[2; 10]));
        assert!(!put(&mut store, number + 2000, &[3; 10]), "three do not fit");
        store.remove(number);
        store.remove_through(number + 1000);
    }
    assert!(put(&mut store, 5000, &[7; 100 - HEAD]));
    assert_eq!(store.len(), 1);
}

#[cfg(feature = "alloc")]
#[test]
fn a_heap_has_two_bounds() {
    let mut store = HeapReplay::new(2, 10);
    assert!(put(&mut store, 1, &[1; 10]));
    assert!(!put(&mut store, 2, &[1; 1]), "bytes");
    assert!(put(&mut store, 3, &[]));
    assert!(!put(&mut store, 4, &[]), "messages");
}
