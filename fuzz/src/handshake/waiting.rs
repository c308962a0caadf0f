//! Clients that wait for an acceptance.

use std::sync::LazyLock;

use diset_proto::store::Unsure;
use diset_proto::{AdoptConfig, Identity, ServiceDef};

use super::super::call::Call;
use super::super::engine::{Fuzzed, frame};
use super::super::model::{AcceptanceSaid, AnswerSaid, ClaimSaid, SENDS, TAKES};
use super::super::peer::{ACCEPTANCE, Heap, PREAMBLE, Peer, memory};
use super::super::player::Slot;
use super::{ACK, limits, service};

/// The flags of [`memory`].
pub(super) const BOTH_WAYS: u8 = SENDS | TAKES;

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
pub(super) fn returning() -> Slot<Heap> {
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
    client.feed(&[&PREAMBLE, &*frame(ACCEPTANCE, &accepted.write())].concat());
    for n in 0..3 {
        client.play(&Call::SendAcked(0, vec![n], Unsure::Report));
    }
    client.take();
    client.feed(&frame(ACK, &[2, 1]));
    // The second handler waits, and the third message behind it: it does not begin when the second is done.
    client.seen.handles = 1;
    for _ in 1..=3 {
        client.feed(&frame(0x40, &[1, 0, 0]));
    }
    let player = &mut client.player;
    player.done(Ok(()));
    player.rx.turn(player.now, &mut player.tx);
    player.tx.take_session()
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
            Has::One => returning(),
        };
        let mut client = Peer::client_in(Fuzzed::CATALOG, limits(), session);
        client.take();
        client.feed(&PREAMBLE);
        return client;
    }
    let mut client = adopting();
    client.take();
    client.feed(&TOLD);
    client
}

pub(super) fn adopting() -> Peer {
    let config = AdoptConfig {
        service: Fuzzed::CATALOG.service(),
        identity: Identity::from_bytes([1; 16]),
        limits: limits(),
        args: &[],
    };
    let mut client = Peer::new(None);
    client.player.adopt(&config).unwrap();
    client
}

/// What comes before the acceptance for a client that adopts the catalog.
static TOLD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut service = service(limits());
    service.feed(&adopting().take());
    service.admit(1, |admission| admission);
    let accepted = AcceptanceSaid {
        trid: 1,
        limits: [1024, 2048, 8, 60_000],
        verdicts: Vec::new(),
        session: None,
        token: None,
        digest: Some(*Fuzzed::CATALOG.digest().as_bytes()),
        first: None,
    };
    service
        .take()
        .strip_suffix(&*frame(ACCEPTANCE, &accepted.write()))
        .unwrap()
        .to_vec()
});
