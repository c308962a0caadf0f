//! What keeps messages in memory, held against a list.

use diset_proto::Key;
use diset_proto::store::{FixedReplay, HeapReplay, Replay, Stored, Unsure};

use super::Bytes;

const BUFFER: usize = 200;
const MOST: usize = 5;
const BYTES: usize = 60;
/// Before each payload in a buffer.
const HEAD: usize = 29;

/// A message as it must come back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    number: u64,
    key: [u8; 16],
    resend: bool,
    repeated: bool,
    payload: Vec<u8>,
}

impl Kept {
    fn of(stored: Stored<'_>) -> Self {
        Self {
            number: stored.number,
            key: *stored.key.as_bytes(),
            resend: stored.unsure == Unsure::Resend,
            repeated: stored.repeated,
            payload: stored.payload.to_vec(),
        }
    }

    fn head(&self) -> Stored<'_> {
        Stored {
            number: self.number,
            key: Key::from_bytes(self.key),
            unsure: if self.resend { Unsure::Resend } else { Unsure::Report },
            repeated: self.repeated,
            payload: &[],
        }
    }
}

/// A store, and the list of what must be in it.
struct Pair<R> {
    store: R,
    list: Vec<Kept>,
    /// Whether so much more fits.
    fits: fn(&[Kept], usize) -> bool,
}

impl<R: Replay> Pair<R> {
    /// Makes room; the message counts when it is committed.
    fn put(&mut self, kept: &Kept, commits: bool) {
        let fits = (self.fits)(&self.list, kept.payload.len());
        let place = self.store.reserve(kept.head(), kept.payload.len());
        assert_eq!(
            place.is_some(),
            fits,
            "{} bytes behind {:?}",
            kept.payload.len(),
            self.list
        );
        let Some(place) = place else { return };
        assert_eq!(place.len(), kept.payload.len());
        place.copy_from_slice(&kept.payload);
        if commits {
            self.store.commit();
            self.list.push(kept.clone());
        }
    }

    fn check(&self) {
        let (mut found, mut last) = (Vec::new(), 0);
        while let Some(stored) = self.store.after(last) {
            assert!(stored.number > last);
            last = stored.number;
            found.push(Kept::of(stored));
        }
        assert_eq!(found, self.list);
        assert_eq!(self.store.len(), self.list.len());
        assert_eq!(self.store.is_empty(), self.list.is_empty());
        let bytes: usize = self.list.iter().map(|kept| kept.payload.len()).sum();
        assert_eq!(self.store.bytes(), bytes);
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>) {
        let mut next = 1;
        while let Some(operation) = bytes.next() {
            let number = |list: &[Kept], choice: u8| match list.get(usize::from(choice) % (list.len() + 1)) {
                Some(kept) => kept.number,
                None => u64::from(choice),
            };
            match operation % 8 {
                kind @ 0..=2 => {
                    next += 1 + u64::from(operation >> 6);
                    let kept = Kept {
                        number: next,
                        key: [operation; 16],
                        resend: operation & 8 != 0,
                        repeated: operation & 16 != 0,
                        payload: vec![operation; usize::from(bytes.byte() % 80)],
                    };
                    self.put(&kept, kind > 0);
                }
                3 => {
                    let number = number(&self.list, bytes.byte());
                    self.store.remove(number);
                    self.list.retain(|kept| kept.number != number);
                }
                4 => {
                    let number = number(&self.list, bytes.byte());
                    self.store.remove_through(number);
                    self.list.retain(|kept| kept.number > number);
                }
                5 => {
                    let number = number(&self.list, bytes.byte());
                    self.store.mark_repeated(number);
                    for kept in self.list.iter_mut().filter(|kept| kept.number == number) {
                        kept.repeated = true;
                    }
                }
                6 => {
                    let number = number(&self.list, bytes.byte());
                    let found = self.store.after(number).map(Kept::of);
                    assert_eq!(found.as_ref(), self.list.iter().find(|kept| kept.number > number));
                }
                // Nothing was reserved, or it was and shall not count.
                _ => self.store.remove(0),
            }
            self.check();
        }
    }
}

fn in_buffer(list: &[Kept], more: usize) -> bool {
    let taken: usize = list.iter().map(|kept| HEAD + kept.payload.len()).sum();
    taken + HEAD + more <= BUFFER
}

fn on_heap(list: &[Kept], more: usize) -> bool {
    let taken: usize = list.iter().map(|kept| kept.payload.len()).sum();
    list.len() < MOST && taken + more <= BYTES
}

/// The first byte chooses the store; then operations.
pub fn store(data: &[u8]) {
    let mut bytes = Bytes(data);
    let list = Vec::new();
    match bytes.byte() % 3 {
        0 => Pair {
            store: FixedReplay::new([0; BUFFER]),
            list,
            fits: in_buffer,
        }
        .operate(&mut bytes),
        1 => Pair {
            store: FixedReplay::new(diset_proto::GrowBuf::new(BUFFER)),
            list,
            fits: in_buffer,
        }
        .operate(&mut bytes),
        _ => Pair {
            store: HeapReplay::new(MOST, BYTES),
            list,
            fits: on_heap,
        }
        .operate(&mut bytes),
    }
}
