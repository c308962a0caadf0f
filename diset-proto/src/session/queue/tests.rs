//! A queue in a buffer against a list.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// What may be asked of a queue.
#[derive(Debug, Clone)]
enum Ask {
    Plain(u8),
    /// So many numbers behind the last one, of this length.
    Acked(u64, u8),
    /// The session begins anew.
    Anew,
    Pop,
    /// All above the one so many behind the first.
    Forget(u64),
    DropPlain,
    /// The plain ones behind the first so many.
    Keep(usize),
    /// The acked ones of the session that has the first one, up to so many behind that.
    Handled(u64),
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        3 => (0..5u8).prop_map(Ask::Plain),
        4 => (1..3u64, 0..5u8).prop_map(|(step, len)| Ask::Acked(step, len)),
        1 => Just(Ask::Anew),
        4 => Just(Ask::Pop),
        1 => (0..6u64).prop_map(Ask::Forget),
        1 => Just(Ask::DropPlain),
        1 => (0..6usize).prop_map(Ask::Keep),
        1 => (0..4u64).prop_map(Ask::Handled),
    ]
}

/// A message of this length whose bytes tell which one it is.
fn message(at: usize, len: u8, acked: Option<Acked>) -> (Meta, Vec<u8>) {
    let meta = Meta {
        number: (at % 128) as u8,
        cost: u32::from(len) + 2,
        acked,
        repeated: at.is_multiple_of(3),
    };
    (meta, vec![at as u8; len.into()])
}

fn holds_as_a_list(asks: &[Ask], mut queue: impl Queue) {
    let mut list: VecDeque<(Meta, Vec<u8>)> = VecDeque::new();
    let mut last = Acked {
        began: Trid::new(1),
        number: 0,
    };
    for (at, ask) in asks.iter().enumerate() {
        let pushed = match *ask {
            Ask::Plain(len) => Some(message(at, len, None)),
            Ask::Acked(step, len) => {
                last.number += step;
                Some(message(at, len, Some(last)))
            }
            Ask::Anew => {
                last = Acked {
                    began: Trid::new(last.began.number() + 1),
                    number: 0,
                };
                None
            }
            Ask::Pop => {
                queue.pop();
                list.pop_front();
                None
            }
            Ask::Forget(behind) => {
                let first = list.iter().find_map(|(meta, _)| meta.acked);
                let above = first.map_or(0, |first| first.number + behind);
                let stays = |meta: &Meta| meta.acked.is_none_or(|acked| acked.number <= above);
                queue.retain(|_, meta| stays(meta));
                list.retain(|(meta, _)| stays(meta));
                if last.number > above {
                    last.number = above;
                }
                None
            }
            Ask::DropPlain => {
                queue.retain(|_, meta| meta.acked.is_some());
                list.retain(|(meta, _)| meta.acked.is_some());
                None
            }
            Ask::Keep(first) => {
                let mut at = 0;
                queue.retain(|place, meta| {
                    assert_eq!(list[place].0, *meta);
                    place < first || meta.acked.is_some()
                });
                list.retain(|(meta, _)| {
                    at += 1;
                    at <= first || meta.acked.is_some()
                });
                None
            }
            Ask::Handled(behind) => {
                let first = list.iter().find_map(|(meta, _)| meta.acked);
                let gone = |meta: &Meta| {
                    let same = meta
                        .acked
                        .zip(first)
                        .filter(|(acked, first)| acked.began == first.began);
                    same.is_some_and(|(acked, first)| acked.number <= first.number + behind)
                };
                queue.retain(|_, meta| !gone(meta));
                list.retain(|(meta, _)| !gone(meta));
                None
            }
        };
        if let Some((meta, payload)) = pushed
            && queue.push(&meta, &payload)
        {
            list.push_back((meta, payload));
        }
        let plain = list.iter().filter(|(meta, _)| meta.acked.is_none()).count();
        assert_eq!(queue.waiting(), (list.len(), plain));
        let front = list.front().map(|(meta, payload)| (*meta, payload.as_slice()));
        assert_eq!(queue.front(), front);
    }
    // What is left comes out in order.
    while let Some((meta, payload)) = list.pop_front() {
        assert_eq!(queue.front(), Some((meta, payload.as_slice())));
        queue.pop();
    }
    assert!(queue.front().is_none() && queue.waiting() == (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_in_a_buffer_holds_as_a_list(asks in prop::collection::vec(ask(), 0..60)) {
        holds_as_a_list(&asks, FixedQueue::new([0; 160]));
    }

    #[cfg(feature = "alloc")]
    #[test]
    fn a_queue_on_the_heap_holds_as_a_list(asks in prop::collection::vec(ask(), 0..60)) {
        holds_as_a_list(&asks, HeapQueue::new(GrowBuf::new(1000)));
    }
}

#[test]
fn without_a_queue_nothing_waits() {
    let (meta, payload) = message(0, 1, None);
    assert!(!NoQueue.push(&meta, &payload) && NoQueue.front().is_none());
}
