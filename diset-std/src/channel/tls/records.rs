//! Records as they lie on the wire: where they end, and how many of them a connection may carry.

/// Kind, version and length.
pub(super) const HEADER: usize = 5;
/// The most bytes behind a header, as rustls accepts them.
pub(super) const MAX_PAYLOAD: usize = 16 * 1024 + 2048;
/// So many records are left at least when a peer is told to go away, however few it has: for what it and we still have to say.
const LAST: u64 = 8;

/// The length of the whole records at the front of `incoming`, the first `held` bytes of which are known to be some; and how many lie behind those.
///
/// Where a header shows that this is no TLS record, everything counts, so that rustls refuses it at once.
pub(super) fn whole_records(incoming: &[u8], held: usize) -> (usize, u64) {
    let (mut whole, mut count) = (held, 0);
    while let Some(&[kind, major, _, high, low]) = incoming[whole..].first_chunk::<HEADER>() {
        let payload = usize::from(u16::from_be_bytes([high, low]));
        let is_record = matches!(kind, 20..=24) && major == 3 && payload < MAX_PAYLOAD;
        if !is_record {
            return (incoming.len(), count);
        }
        match whole + HEADER + payload {
            end if end <= incoming.len() => (whole, count) = (end, count + 1),
            _ => break,
        }
    }
    (whole, count)
}

/// How many records have gone each way, and how many may: the peer says so when its TLS has no key update (PROTOCOL G-6).
#[derive(Default)]
pub(super) struct Records {
    sealed: u64,
    opened: u64,
    most: Option<u32>,
}

impl Records {
    pub(super) fn sealed(&mut self, count: u64) {
        self.sealed = self.sealed.saturating_add(count);
    }

    pub(super) fn opened(&mut self, count: u64) {
        self.opened = self.opened.saturating_add(count);
    }

    pub(super) fn limit(&mut self, most: u32) {
        self.most = Some(most);
    }

    /// How many bytes the peer can still take, in records of `fragment`. One is left for the end in order.
    pub(super) fn room(&self, fragment: usize) -> usize {
        let Some(most) = self.most else { return usize::MAX };
        let left = u64::from(most).saturating_sub(self.sealed.saturating_add(1));
        usize::try_from(left).unwrap_or(usize::MAX).saturating_mul(fragment)
    }

    /// Whether nine in ten have gone, either way.
    pub(super) fn is_near_limit(&self) -> bool {
        self.most.is_some_and(|most| {
            let most = u64::from(most);
            most.saturating_sub(self.sealed.max(self.opened)) <= LAST.max(most / 10)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many records one way make a peer go that carries `most`.
    fn told_at(most: u32) -> u64 {
        let mut records = Records::default();
        records.limit(most);
        while !records.is_near_limit() {
            records.sealed(1);
        }
        records.sealed
    }

    #[test]
    fn nine_in_ten_and_a_few_for_the_end() {
        assert_eq!(
            [told_at(1000), told_at(100), told_at(20), told_at(8)],
            [900, 90, 12, 0],
            "PROTOCOL G-6"
        );
        let mut records = Records::default();
        records.opened(1 << 40);
        assert!(!records.is_near_limit(), "it has stated none");
        assert_eq!(records.room(1000), usize::MAX);
        records.limit(u32::MAX);
        assert!(records.is_near_limit());
        assert_eq!(
            records.room(1),
            u32::MAX as usize - 1,
            "PROTOCOL G-6: each way by itself"
        );
    }

    #[test]
    fn no_more_is_sealed_than_was_stated() {
        let mut records = Records::default();
        records.limit(4);
        records.sealed(1);
        assert_eq!(records.room(1002), 2 * 1002, "PROTOCOL G-6: the last one tells the end");
        records.sealed(2);
        assert_eq!(records.room(1002), 0);
        records.limit(0);
        assert_eq!(records.room(1002), 0);
    }
}
