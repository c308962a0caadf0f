//! Clients that wait for an acceptance.

use std::sync::LazyLock;

use diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_proto::{Admission, AdoptConfig, Connection, Event, GrowBuf, Identity, Instant, ServiceDef, Session, Trid};

use super::super::engine::{Count, Fuzzed, Words, frame};
use super::super::model::{AcceptanceSaid, AnswerSaid, ClaimSaid, SENDS, TAKES};
use super::super::peer::{ACCEPTANCE, PREAMBLE, Peer, ROOM};
use super::{ACK, limits, service};

/// The flags of [`memory`].
pub(super) const BOTH_WAYS: u8 = SENDS | TAKES;

pub(super) fn memory() -> Box<Session<HeapReplay, Volatile>> {
    Box::new(Session::new(HeapReplay::new(10, 100), Volatile))
}

/// What a client has of a session when it connects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    Nothing,
    Empty,
    /// [`returning`].
    One,
}

/// A session that has been on a connection: of three messages that were sent two are there and one is dealt with; of
/// three that came two are dealt with, and the third was not begun.
pub(super) fn returning() -> Box<Session<HeapReplay, Volatile>> {
    let mut client = Peer::client_in(Fuzzed::CATALOG, limits(), Some(memory()));
    client.take();
    let accepted = AcceptanceSaid {
        trid: 3,
        limits: [1024, 2048, 8, 60_000],
        verdicts: Vec::new(),
        session: Some(AnswerSaid {
            resumed: Err(1),
            flags: BOTH_WAYS,
        }),
        token: Some([3; 16]),
        digest: None,
        first: None,
    };
    client.feed(&[&PREAMBLE, &*frame(ACCEPTANCE, &accepted.write())].concat(), |_| ());
    for n in 0..3 {
        client.conn.send_acked(0, &Count { n }, Unsure::Report).unwrap();
    }
    client.take();
    client.feed(&frame(ACK, &[2, 1]), |_| ());
    let mut kept = Vec::new();
    for number in 1..=3 {
        let message = frame(0x40, &[1, 0, 0]);
        let mut input = message.as_slice();
        while let Some(frame) = client.rx.next(&mut input, 1024) {
            match client.conn.handle_frame(Instant::ZERO, frame) {
                Some(Event::Message(message)) if number < 3 => drop(client.conn.decode::<Words<'_>>(message)),
                Some(Event::Message(message)) => kept.push(client.conn.keep(message)),
                _ => {}
            }
        }
    }
    client.conn.take_session().unwrap()
}

/// N-5, for [`returning`].
pub(super) fn fits(claim: &ClaimSaid) -> bool {
    let taker = claim.taker.as_ref();
    taker.is_none_or(|taker| (1..=3).contains(&taker.received) && taker.processed >= 1)
        && claim.sender.is_none_or(|[settled, sent]| settled <= 2 && sent >= 2)
}

/// A client that waits for the acceptance; one that adopts the catalog has been told it.
pub(super) fn waiting(adopts: bool, has: Has) -> Peer {
    if !adopts {
        let session = match has {
            Has::Nothing => None,
            Has::Empty => Some(memory()),
            Has::One => Some(returning()),
        };
        let mut client = Peer::client_in(Fuzzed::CATALOG, limits(), session);
        client.take();
        client.feed(&PREAMBLE, |_| ());
        return client;
    }
    let mut client = adopting();
    client.take();
    client.feed(&TOLD, |_| ());
    client
}

pub(super) fn adopting() -> Peer {
    let config = AdoptConfig {
        service: Fuzzed::CATALOG.service(),
        identity: Identity::from_bytes([1; 16]),
        limits: limits(),
        args: &[],
    };
    let conn = Connection::adopting(Instant::ZERO, &config, GrowBuf::new(ROOM)).unwrap();
    Peer::new(conn.with_sessions(None))
}

/// What comes before the acceptance for a client that adopts the catalog.
static TOLD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let answer = service(limits()).admit(&adopting().take(), Admission::new(Trid::new(1)));
    let accepted = AcceptanceSaid {
        trid: 1,
        limits: [1024, 2048, 8, 60_000],
        verdicts: Vec::new(),
        session: None,
        token: None,
        digest: Some(*Fuzzed::CATALOG.digest().as_bytes()),
        first: None,
    };
    answer
        .strip_suffix(&*frame(ACCEPTANCE, &accepted.write()))
        .unwrap()
        .to_vec()
});
