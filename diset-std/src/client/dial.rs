//! How a client gets a socket and a channel: happy eyeballs (RFC 8305) over all addresses of its service, and which of
//! them is next when a handshake has failed. Where they are is in [`target`](super::target).
//!
//! A *round* goes once through all addresses. Names are looked up anew for each round, all at once. Connecting to the
//! next address begins after 250 ms, or at once when one has failed; the first that connects is taken. When nothing
//! comes of that connection, because TLS fails or nobody speaks, the round goes on with the addresses that are left. A
//! round is over when a connection has opened, when a service has said no, or when no address is left: then the client
//! waits as its policy says, and the next round begins.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;

use diset_proto::{Cause, Code};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until, timeout};

use super::failures::unreachable;
use super::round::Round;
use super::state::Ended;
use super::target::{Place, Target};
use crate::channel::{self, Channel};
use crate::socket::Socket;

/// How many addresses are remembered because nothing came of a connection to them, and for how long.
const MAX_SHUNNED: usize = 64;
const SHUNNED_FOR: Duration = Duration::from_secs(600);
/// Dials for one client, for its life.
pub(super) struct Dialer {
    target: Target,
    round: Option<Round>,
    shunned: Shunned,
}

impl Dialer {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            round: None,
            shunned: Shunned::default(),
        }
    }

    /// Connects the transport to an address that is left of the round, in at most `limit` for all of them together;
    /// TLS begins when the channel is first used.
    pub(super) async fn dial(&mut self, limit: Duration) -> Result<(Socket, Box<dyn Channel>), Ended> {
        match &self.target {
            #[cfg(unix)]
            Target::Unix { path } => {
                let dialled = timeout(limit, UnixStream::connect(path)).await;
                let socket = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let plugged = socket.map(Socket::Unix).and_then(|socket| {
                    let channel = channel::plain(socket.credentials()?);
                    Ok((socket, channel))
                });
                plugged.map_err(|source| unreachable(self.target.name(), source))
            }
            Target::Tcp {
                places, tls, resolver, ..
            } => {
                let round = self.round.get_or_insert_with(|| Round::new(places, resolver, limit));
                let Some(stream) = round.connect(places, &self.shunned, limit).await else {
                    return Err(round.failures.verdict(self.target.name()));
                };
                let failed = |source| unreachable(self.here(), source);
                let socket = Socket::tcp(stream).map_err(failed)?;
                let channel = match tls {
                    None => channel::plain(socket.credentials().map_err(failed)?),
                    Some(tls) => {
                        let name = self.place().and_then(|place| place.name.clone());
                        let name = name.ok_or_else(|| failed(io::Error::other("there is no name to be proven")))?;
                        channel::client(tls, name).map_err(|error| Ended::Tls {
                            address: self.here(),
                            reason: error.to_string(),
                        })?
                    }
                };
                Ok((socket, channel))
            }
        }
    }

    /// The name of the address that is connected to.
    fn place(&self) -> Option<&Place> {
        let candidate = self.round.as_ref()?.current?;
        match &self.target {
            Target::Tcp { places, .. } => places.get(candidate.place),
            #[cfg(unix)]
            Target::Unix { .. } => None,
        }
    }

    /// Who is connected to, for people.
    pub(super) fn here(&self) -> String {
        let current = self.round.as_ref().and_then(|round| round.current);
        match (self.place(), current) {
            (Some(place), Some(candidate)) if place.written != candidate.address.to_string() => {
                format!("{} ({})", place.written, candidate.address)
            }
            (Some(place), _) => place.written.clone(),
            _ => self.target.name(),
        }
    }

    /// How long the peer may take to prove itself before another address is tried in its place; `None` when none is
    /// left: then it has all the time of a handshake.
    pub(super) fn patience(&self, limit: Duration) -> Option<Duration> {
        let round = self.round.as_ref()?;
        round.has_more().then(|| limit / 3)
    }

    /// The peer took the connection and did not prove itself within that time.
    pub(super) fn mute(&self, patience: Duration) -> Ended {
        let text = format!(
            "it takes connections and does not answer within {} ms",
            patience.as_millis()
        );
        unreachable(self.here(), io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// An attempt has ended: how the round did, and what that is to the reconnect policy. `None`: it goes on, dial again.
    pub(super) fn conclude(&mut self, ended: &Ended, opened: bool) -> Option<(Ended, Cause)> {
        let as_it_is = || (ended.clone(), ended.cause());
        let Some(round) = &mut self.round else {
            return Some(as_it_is());
        };
        if let Some(candidate) = round.current.take() {
            if opened {
                self.shunned.forgive(candidate.address);
                self.round = None;
                return Some(as_it_is());
            }
            if !matches!(ended, Ended::Settings(_) | Ended::Closed) {
                self.shunned.add(candidate.address);
            }
            if is_final(ended) {
                self.round = None;
                return Some(as_it_is());
            }
            round.failures.add(candidate.address.to_string(), ended.clone());
            if round.has_more() {
                let (address, reason) = (candidate.address.to_string(), ended.to_string());
                tracing::info!(address, reason, "tries another address");
                return None;
            }
        }
        let round = self.round.take()?;
        let verdict = round.failures.verdict(self.target.name());
        let cause = match verdict.cause() {
            // One that may only be away for the moment is worth another attempt soon.
            cause if cause.needs_mending() && !round.failures.need_mending() => Cause::Lost,
            cause => cause,
        };
        Some((verdict, cause))
    }
}

/// Whether no other address is tried: the service has said no, which is an answer.
fn is_final(ended: &Ended) -> bool {
    match ended {
        Ended::Dropped(dropped) => match dropped.cause() {
            // Somebody else says no in these words.
            Cause::Refused(no) | Cause::PeerError(no) | Cause::WentAway(no) => {
                !matches!(no.code(), Code::NotDiset | Code::Version | Code::UnknownService)
            }
            _ => false,
        },
        Ended::Settings(_) | Ended::Closed => true,
        Ended::Unreachable { .. } | Ended::Tls { .. } => false,
    }
}

/// How long a peer that took the connection may take to prove itself, when there is another address.
pub(super) struct Patience {
    span: Option<Duration>,
    until: Instant,
    proven: Arc<AtomicBool>,
    has_run_out: bool,
}

impl Patience {
    pub(super) fn new(span: Option<Duration>, proven: Arc<AtomicBool>) -> Self {
        Self {
            span,
            until: Instant::now() + span.unwrap_or_default(),
            proven,
            has_run_out: false,
        }
    }

    /// Ready once, if the peer has not proven itself by then.
    pub(super) async fn runs_out(&mut self) {
        if self.span.is_some() && !self.has_run_out {
            sleep_until(self.until).await;
            if !self.proven.load(Ordering::Relaxed) {
                self.has_run_out = true;
                return;
            }
        }
        core::future::pending::<()>().await;
    }

    /// How long it was, if it has run out.
    pub(super) fn ended(&self) -> Option<Duration> {
        self.span.filter(|_| self.has_run_out)
    }
}

/// Addresses that took a connection of which nothing came, the latest last.
#[derive(Default)]
pub(super) struct Shunned(Vec<(SocketAddr, Instant)>);

impl Shunned {
    fn add(&mut self, address: SocketAddr) {
        self.forgive(address);
        if self.0.len() == MAX_SHUNNED {
            self.0.remove(0);
        }
        self.0.push((address, Instant::now()));
    }

    fn forgive(&mut self, address: SocketAddr) {
        self.0.retain(|(other, _)| *other != address);
    }

    /// 0 for those that are not shunned.
    pub(super) fn rank(&self, address: SocketAddr) -> usize {
        let is_it = |(other, since): &(SocketAddr, Instant)| *other == address && since.elapsed() < SHUNNED_FOR;
        self.0.iter().position(is_it).map_or(0, |position| position + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_shunned_has_a_bound_and_an_end() {
        let mut shunned = Shunned::default();
        let all: Vec<SocketAddr> = (0..70).map(|port| ([127, 0, 0, 1], port).into()).collect();
        for address in &all {
            shunned.add(*address);
        }
        assert_eq!((shunned.0.len(), shunned.rank(all[0])), (MAX_SHUNNED, 0));
        assert_eq!((shunned.rank(all[6]), shunned.rank(all[69])), (1, MAX_SHUNNED));
        shunned.add(all[6]);
        assert!(shunned.rank(all[6]) > shunned.rank(all[69]), "it failed again");
        shunned.forgive(all[69]);
        assert_eq!(shunned.rank(all[69]), 0);
        tokio::time::advance(SHUNNED_FOR).await;
        assert_eq!(shunned.rank(all[6]), 0);
    }
}
