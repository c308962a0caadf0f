//! One time through all addresses of a service, as RFC 8305 says: which is next, and the first that connects.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;

use tokio::net::TcpStream;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::dial::Shunned;
use super::failures::Failures;
use super::target::{Place, Resolver};

/// How long one address is waited for before the next one is tried as well (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Most addresses of a round.
const MAX_ADDRESSES: usize = 32;

/// One address, of the place of this number.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) place: usize,
    pub(super) address: SocketAddr,
}

/// In which order addresses are tried: those that are shunned last, the longest shunned first; then by place, and as
/// they are interleaved.
type Turn = (usize, usize, usize);

pub(super) struct Round {
    lookups: JoinSet<io::Result<Vec<SocketAddr>>>,
    /// Whose lookups those are that have not ended.
    looking: BTreeMap<Id, usize>,
    waiting: BTreeMap<Turn, Candidate>,
    /// All that have been found.
    known: Vec<Candidate>,
    /// The one that is connected.
    pub(super) current: Option<Candidate>,
    pub(super) failures: Failures,
    /// How many addresses of one name are taken.
    most: usize,
}

impl Round {
    /// Looks up all names, in at most `limit`.
    pub(super) fn new(places: &[Place], resolver: &Resolver, limit: Duration) -> Self {
        let mut round = Self {
            lookups: JoinSet::new(),
            looking: BTreeMap::new(),
            waiting: BTreeMap::new(),
            known: Vec::new(),
            current: None,
            failures: Failures::default(),
            most: MAX_ADDRESSES / places.len().max(1),
        };
        for (number, place) in places.iter().enumerate() {
            let looked_up = timeout(limit, place.look_up(resolver));
            let in_time = async move {
                looked_up
                    .await
                    .unwrap_or_else(|_| Err(late("the name was not resolved", limit)))
            };
            let handle = round.lookups.spawn(in_time);
            round.looking.insert(handle.id(), number);
        }
        round
    }

    pub(super) fn has_more(&self) -> bool {
        !self.waiting.is_empty() || !self.looking.is_empty()
    }

    /// The first address that connects; `None` when none did within `limit`.
    pub(super) async fn connect(&mut self, places: &[Place], shunned: &Shunned, limit: Duration) -> Option<TcpStream> {
        let until = Instant::now() + limit;
        // With little time all get their turn all the same.
        let stagger = STAGGER.min(limit / u32::try_from(MAX_ADDRESSES).unwrap_or(u32::MAX));
        let mut attempts = JoinSet::new();
        let mut running: BTreeMap<Turn, Candidate> = BTreeMap::new();
        // Names that take longer are not waited for.
        let mut due = Instant::now() + stagger;
        loop {
            if attempts.is_empty() && !self.has_more() {
                return None;
            }
            if attempts.is_empty() && self.is_first_known() {
                due = Instant::now();
            }
            tokio::select! {
                biased;
                Some(Ok((turn, connected))) = attempts.join_next() => {
                    let Some(candidate) = running.remove(&turn) else { continue };
                    match connected {
                        Ok(stream) => {
                            self.current = Some(candidate);
                            // Those that were slower are tried again when nothing comes of this one.
                            self.waiting.append(&mut running);
                            return Some(stream);
                        }
                        Err(error) => {
                            let error = with_hint(candidate.address, error);
                            self.failures.unreachable(candidate.address.to_string(), error);
                            due = Instant::now();
                        }
                    }
                }
                Some(looked_up) = self.lookups.join_next_with_id() => self.looked_up(looked_up, places, shunned),
                () = sleep_until(due), if !self.waiting.is_empty() => {
                    if let Some((turn, candidate)) = self.waiting.pop_first() {
                        running.insert(turn, candidate);
                        let connecting = TcpStream::connect(candidate.address);
                        attempts.spawn(async move { (turn, connecting.await) });
                        due = Instant::now() + stagger;
                    }
                }
                () = sleep_until(until) => {
                    self.give_up(running, places, limit);
                    return None;
                }
            }
        }
    }

    /// Whether the next address is known for sure, whatever other names have.
    fn is_first_known(&self) -> bool {
        let Some((shunned, place, _)) = self.waiting.keys().next() else {
            return false;
        };
        self.looking.is_empty() || (*shunned == 0 && self.looking.values().all(|looking| looking > place))
    }

    fn looked_up(
        &mut self,
        ended: Result<(Id, io::Result<Vec<SocketAddr>>), JoinError>,
        places: &[Place],
        shunned: &Shunned,
    ) {
        let (id, result) = match ended {
            Ok(looked_up) => looked_up,
            Err(error) => (
                error.id(),
                Err(io::Error::other("the resolver of the program panicked")),
            ),
        };
        let Some((number, place)) = self
            .looking
            .remove(&id)
            .and_then(|number| Some((number, places.get(number)?)))
        else {
            return;
        };
        let addresses = match result {
            Ok(addresses) if addresses.is_empty() => Err(io::Error::other("the name has no address")),
            result => result,
        };
        match addresses {
            Ok(addresses) => {
                for (position, address) in interleaved(addresses).into_iter().take(self.most).enumerate() {
                    // Two names of one service may lead to the same place.
                    let known = |other: &Candidate| {
                        other.address == address
                            && places.get(other.place).is_some_and(|other| other.name == place.name)
                    };
                    if !self.known.iter().any(known) {
                        let candidate = Candidate { place: number, address };
                        self.known.push(candidate);
                        let turn = (shunned.rank(address), number, position);
                        self.waiting.insert(turn, candidate);
                    }
                }
            }
            Err(source) => self.failures.unreachable(place.written.clone(), source),
        }
    }

    /// The time is over: each that is left failed by that.
    fn give_up(&mut self, running: BTreeMap<Turn, Candidate>, places: &[Place], limit: Duration) {
        for candidate in running.into_values() {
            self.failures
                .unreachable(candidate.address.to_string(), late("no answer", limit));
        }
        for candidate in core::mem::take(&mut self.waiting).into_values() {
            let address = candidate.address.to_string();
            self.failures.unreachable(address, late("its turn did not come", limit));
        }
        self.lookups.abort_all();
        for number in core::mem::take(&mut self.looking).into_values() {
            let name = places.get(number).map(|place| place.written.clone());
            self.failures
                .unreachable(name.unwrap_or_default(), late("the name was not resolved", limit));
        }
    }
}

fn late(what: &str, limit: Duration) -> io::Error {
    let text = format!("{what} within {} ms", limit.as_millis());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// What the system said, and a hint where that is known not to help.
fn with_hint(address: SocketAddr, error: io::Error) -> io::Error {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            let text = format!(
                "{error}; such an address needs its network interface: [{}%eth0]",
                v6.ip()
            );
            io::Error::new(error.kind(), text)
        }
        _ => error,
    }
}

/// The families take turns, the first one begins (RFC 8305, section 4); each address once.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut known = Vec::new();
    for address in addresses {
        if !known.contains(&address) {
            known.push(address);
        }
    }
    let first = known.first().is_some_and(SocketAddr::is_ipv6);
    let (ours, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut ours, mut others) = (ours.into_iter(), others.into_iter());
    let mut all = Vec::new();
    loop {
        let pair = [ours.next(), others.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_each_address_comes_once() {
        for (given, expected) in [
            (
                vec!["[::1]:1", "[::2]:1", "[::1]:1", "[::3]:1", "1.1.1.1:1"],
                vec!["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"],
            ),
            (
                vec!["1.1.1.1:1", "1.1.1.2:1", "[::1]:1", "1.1.1.3:1"],
                vec!["1.1.1.1:1", "[::1]:1", "1.1.1.2:1", "1.1.1.3:1"],
            ),
            (vec![], vec![]),
        ] {
            assert_eq!(interleaved(addresses(&given)), addresses(&expected));
        }
    }
}
