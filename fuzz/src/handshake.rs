//! The packets of the handshake, and notices and credit, each by itself: the engine takes a body exactly when the
//! model reads it, makes the same of it, and is left as by what the model writes for it. Where the engine can be made
//! to write that packet, it writes this head and body; the length before them may be padded.
//!
//! A target for each: they share the reader of fields, so in one target a body that goes new ways there would be kept
//! for the first packet that it is found for, and not for the others.

mod waiting;

use core::time::Duration;

use diset_proto::{
    AdoptConfig, Arg, Cause, ClientConfig, Code, Direction, Identity, Limits, MessageOf, Misuse, Notice, Phase,
    Proposal, Resumption, RetryAfter, ServiceDef, ServiceName, Trid,
};

use self::waiting::{BOTH_WAYS, Has, adopting, fits, waiting};
use super::Bytes;
use super::call::Call;
use super::engine::{Count, Fuzzed, TOLD, frame};
use super::model::{AcceptanceSaid, DefinitionsSaid, LimitsSaid, NoticeSaid, ProposalSaid, ResumeSaid, credit, varint};
use super::peer::{ACCEPTANCE, PREAMBLE, Peer, memory, open};

/// PROTOCOL H-1, less the head.
const MAX_BODY: usize = 1023;

const PROPOSAL: u8 = 0x80;
const REFUSAL: u8 = 0x82;
const DEFINITIONS: u8 = 0x84;
const CREDIT: u8 = 0x85;
const GO_AWAY: u8 = 0x88;
const ERROR: u8 = 0x89;
const ACK: u8 = 0x8a;

fn limits() -> Limits {
    limits_of([1024, 2048, 8, 60_000])
}

fn limits_of([frame, bytes, messages, silence]: LimitsSaid) -> Limits {
    Limits::SERVER
        .with_max_frame(frame as u32)
        .with_credit(bytes as u32, messages as u32)
        .with_max_silence(Duration::from_millis(silence))
}

fn service(limits: Limits) -> Peer {
    let mut peer = Peer::new(None);
    peer.player.listen(Fuzzed::CATALOG, limits, Some(&TOLD));
    peer
}

/// The packet was refused as one that cannot be read.
fn assert_refused(peer: &Peer) {
    let Some(Cause::OurError(notice)) = peer.conn().cause() else {
        panic!("taken: {:?}", peer.conn());
    };
    assert!(
        matches!(notice.code(), Code::PacketMalformed | Code::UnknownField),
        "{notice}"
    );
    assert_eq!(peer.conn().phase(), Phase::Closing);
}

/// Two engines that were told the same are the same, and write the same.
fn assert_same(mut one: Peer, mut other: Peer) {
    assert_eq!(format!("{:?}", one.conn()), format!("{:?}", other.conn()));
    assert_eq!(one.take(), other.take());
}

/// Whether the last frame has this head and body, whatever its length takes (PROTOCOL F-2).
fn ends_with(written: &[u8], head: u8, body: &[u8]) -> bool {
    written.ends_with(&[&[head], body].concat())
}

/// What a service got of a proposal.
#[derive(Debug, PartialEq)]
pub(super) struct Proposed {
    shown: String,
    args: Vec<(String, u8, Vec<u8>)>,
}

impl Proposed {
    pub(super) fn new(proposal: &Proposal<'_>) -> Self {
        let args = proposal.args().iter().map(|(name, value)| {
            let (kind, bytes) = match value {
                Arg::Bool(value) => (0, vec![value.into()]),
                Arg::Int(value) => (1, value.to_le_bytes().to_vec()),
                Arg::Float(value) => (2, value.to_le_bytes().to_vec()),
                Arg::Text(value) => (3, value.as_bytes().to_vec()),
                Arg::Bytes(value) => (4, value.to_vec()),
                other => panic!("an argument of a new type: {other:?}"),
            };
            (name.to_owned(), kind, bytes)
        });
        Self {
            shown: format!("{proposal:?}"),
            args: args.collect(),
        }
    }
}

fn propose(body: &[u8]) -> (Peer, Option<Proposed>) {
    let mut peer = service(limits());
    peer.feed(&[&PREAMBLE, &*frame(PROPOSAL, body)].concat());
    let proposed = peer.seen.proposed.take();
    (peer, proposed)
}

/// A proposal with this body.
pub fn proposal(data: &[u8]) {
    let body = Bytes(data).take(MAX_BODY);
    let (mut peer, proposed) = propose(body);
    let Some(said) = ProposalSaid::read(body) else {
        return assert_refused(&peer);
    };
    let again = said.write();
    let (mut other, proposed_again) = propose(&again);
    assert_eq!(proposed, proposed_again);
    if let Some(proposed) = proposed {
        let args = said
            .args
            .iter()
            .map(|&(name, kind, value)| (name.to_owned(), kind, value.to_vec()));
        assert!(proposed.args.into_iter().eq(args));
        for peer in [&mut peer, &mut other] {
            peer.admit(5, |admission| admission);
        }
        let at_once = said
            .digest
            .is_none_or(|digest| digest == *Fuzzed::CATALOG.digest().as_bytes());
        assert_eq!(peer.conn().phase(), if at_once { Phase::Open } else { Phase::Asking });
    } else {
        let Some(Cause::WeRefused(notice)) = peer.conn().cause() else {
            panic!("not proposed: {:?}", peer.conn());
        };
        assert_eq!(
            (notice.code(), notice.text()),
            (Code::UnknownService, said.service),
            "PROTOCOL H-6"
        );
    }
    assert_same(peer, other);
    assert!(written(&said).is_none_or(|bytes| ends_with(&bytes, PROPOSAL, &again)));
}

/// What a client writes that says the same, when there can be one.
fn written(said: &ProposalSaid<'_>) -> Option<Vec<u8>> {
    let mut limits = limits_of(said.limits);
    if let Some(records) = said.records {
        limits = limits.with_records(records);
    }
    let args: Vec<_> = said
        .args
        .iter()
        .map(|&(name, kind, value)| (name, typed_arg(kind, value)))
        .collect();
    let identity = Identity::from_bytes(said.identity);
    let session = match &said.session {
        None => None,
        // Those of a session that goes on, on a disk, or one way, are made in golden.rs.
        Some(ResumeSaid {
            known: None,
            flags: BOTH_WAYS,
        }) => Some(memory()),
        Some(_) => return None,
    };
    if said.first.is_some() {
        return None;
    }
    let keeps_session = session.is_some();
    let mut peer = Peer::new(session);
    let player = &mut peer.player;
    match said.digest {
        None if keeps_session => return None,
        None => {
            let service = ServiceName::parse(said.service).unwrap();
            let config = AdoptConfig {
                service,
                identity,
                limits,
                args: &args,
            };
            player.adopt(&config).unwrap();
        }
        Some(digest) => {
            let catalog = Fuzzed::CATALOG;
            let same = digest == *catalog.digest().as_bytes() && said.service == catalog.service().as_str();
            same.then_some(())?;
            let config = ClientConfig {
                catalog,
                identity,
                limits,
                args: &args,
            };
            match player.connect(&config) {
                // This client could get in and not come back: it is not let in to begin with.
                Err(Misuse::ProposalTooLong(_)) if keeps_session => return None,
                made => made.unwrap(),
            }
        }
    }
    Some(peer.take())
}

fn typed_arg(kind: u8, value: &[u8]) -> Arg<'_> {
    match kind {
        0 => Arg::Bool(value == [1]),
        1 => Arg::Int(i64::from_le_bytes(value.try_into().unwrap())),
        2 => Arg::Float(f64::from_le_bytes(value.try_into().unwrap())),
        3 => Arg::Text(core::str::from_utf8(value).unwrap()),
        _ => Arg::Bytes(value),
    }
}

fn accept(adopts: bool, has: Has, body: &[u8]) -> (Peer, Option<Trid>) {
    let mut peer = waiting(adopts, has);
    peer.feed(&frame(ACCEPTANCE, body));
    let connected = peer.seen.connected;
    (peer, connected)
}

/// An acceptance. The first byte says whether the client adopts the catalog, and what it has of a session; then its
/// body.
pub fn acceptance(data: &[u8]) {
    let mut bytes = Bytes(data);
    let choice = bytes.byte();
    let adopts = choice % 2 == 1;
    let has = match choice / 2 % 3 {
        1 if !adopts => Has::Empty,
        2 if !adopts => Has::One,
        _ => Has::Nothing,
    };
    let body = bytes.take(MAX_BODY);
    let digest = adopts.then(|| *Fuzzed::CATALOG.digest().as_bytes());
    let (peer, connected) = accept(adopts, has, body);
    let Some(said) = AcceptanceSaid::read(body, Fuzzed::CATALOG.messages().len(), digest) else {
        assert_eq!(connected, None);
        return assert_refused(&peer);
    };
    let again = said.write();
    let resumption = said
        .session
        .as_ref()
        .filter(|_| has != Has::Nothing)
        .map(|answer| &answer.resumed);
    if let Some(Ok(claim)) = resumption
        && !(has == Has::One && said.token.is_some() && fits(claim))
    {
        assert_eq!(connected, None);
        let cause = peer.conn().cause().and_then(Cause::code);
        assert_eq!(cause, Some(Code::StateConflict), "PROTOCOL N-5");
        return assert_same(peer, accept(adopts, has, &again).0);
    }
    assert_eq!(connected, Some(Trid::new(said.trid)));
    assert_eq!(
        peer.conn()
            .resumption()
            .map(|resumption| matches!(resumption, Resumption::Resumed { .. })),
        resumption.map(Result::is_ok)
    );
    assert_same(peer, accept(adopts, has, &again).0);
    if said.session.is_none()
        && said.token.is_none()
        && said.first.is_none()
        && said.limits[0] >= 1024
        && said.verdicts.iter().all(|(_, verdict)| *verdict == 3)
    {
        let mut client = if adopts {
            adopting()
        } else {
            Peer::client(Fuzzed::CATALOG, limits())
        };
        let forbidden = said.verdicts.iter().map(|(number, _)| *number).collect();
        let mut service = service(limits_of(said.limits));
        service.feed(&client.take());
        service.admit(said.trid, |admission| admission.with_forbidden(forbidden));
        assert!(ends_with(&service.take(), ACCEPTANCE, &again));
    }
}

/// The definitions of a client. First byte: the messages that are forbidden to it; then parts, two bytes of length each.
pub fn definitions(data: &[u8]) {
    let mut bytes = Bytes(data);
    let forbidden = bytes.byte() % 4;
    let messages = (0..2).filter(|number| forbidden >> number & 1 == 1).collect();
    let limits_said = [1024, 2048, 8, 60_000];
    let proposed = ProposalSaid {
        service: Fuzzed::CATALOG.service().as_str(),
        identity: [1; 16],
        digest: Some([9; 16]),
        limits: limits_said,
        records: None,
        session: None,
        args: Vec::new(),
        first: None,
    };
    let mut peer = service(limits());
    peer.feed(&[&PREAMBLE, &*frame(PROPOSAL, &proposed.write())].concat());
    peer.admit(5, |admission| admission.with_forbidden(messages));
    let mut said = DefinitionsSaid::default();
    while !bytes.0.is_empty() {
        assert_eq!(peer.conn().phase(), Phase::Asking);
        let count = usize::try_from(bytes.number()).unwrap().min(MAX_BODY);
        let part = bytes.take(count);
        peer.feed(&frame(DEFINITIONS, part));
        if said.add(part).is_none() {
            return assert_refused(&peer);
        }
        if said.is_complete() {
            assert_eq!(peer.conn().phase(), Phase::Open);
            let accepted = AcceptanceSaid {
                trid: 5,
                limits: limits_said,
                verdicts: verdicts(&said, forbidden),
                session: None,
                token: None,
                digest: None,
                first: None,
            };
            assert!(ends_with(&peer.take(), ACCEPTANCE, &accepted.write()));
            return;
        }
    }
}

/// PROTOCOL S-5.
fn verdicts(said: &DefinitionsSaid, forbidden: u8) -> Vec<(u8, u8)> {
    let mut verdicts = Vec::new();
    for (number, (first, name, key)) in (0..).zip(&said.entries) {
        let own = Fuzzed::CATALOG.messages().iter().position(|def| def.name() == name);
        let verdict = own.map_or(1, |own| {
            let def = &Fuzzed::CATALOG.messages()[own];
            // Of messages, whose kind is 0.
            let same = match def.direction() {
                Direction::FromClient => *first == 1,
                Direction::FromService => *first == 2,
                Direction::Both => *first == 3,
            };
            match (same && def.key().as_bytes() == key, forbidden >> own & 1) {
                (true, 0) => 0,
                (true, _) => 3,
                (false, _) => 2,
            }
        });
        if verdict != 0 {
            verdicts.push((number, verdict));
        }
    }
    verdicts
}

/// A refusal, an error, a go-away or credit, by the first byte; then the body.
pub fn notice(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = [REFUSAL, ERROR, GO_AWAY, CREDIT][usize::from(bytes.byte() % 4)];
    let body = bytes.take(MAX_BODY);
    if kind == CREDIT {
        return granted(body);
    }
    let (peer, notice) = noticed(kind, body);
    let Some(mut said) = NoticeSaid::read(body) else {
        return assert_refused(&peer);
    };
    let notice = notice.unwrap();
    let retry = said.retry.map(|(least, spread)| {
        let [least, spread] = [least, spread].map(|span| Duration::from_millis(span.into()));
        RetryAfter::new(least, spread)
    });
    assert_eq!(
        (notice.code().number(), notice.text(), notice.retry(), notice.message()),
        (said.code, said.text, retry, said.message)
    );
    assert_eq!(notice.is_permanent(), said.permanent);
    assert_same(peer, noticed(kind, &said.write()).0);
    if kind == ERROR && matches!(notice.code(), Code::NotDiset | Code::Version) {
        // P-2: who says so writes no frame.
        return;
    }

    let mut peer = open(Fuzzed::CATALOG, limits());
    match kind {
        REFUSAL => {
            said.deadline = None;
            peer = service(limits());
            let proposal = Peer::client(Fuzzed::CATALOG, limits()).take();
            peer.feed(&proposal);
            peer.play(&Call::Refuse(notice));
        }
        ERROR => {
            said.deadline = None;
            peer.play(&Call::Disconnect(notice));
        }
        _ => {
            let deadline = *said.deadline.get_or_insert(7);
            peer.play(&Call::GoAway(notice, Duration::from_millis(deadline.into())));
            // It may be over at once: then nothing would leave any more.
            peer.play(&Call::Earlier(Duration::from_millis(1)));
        }
    }
    assert!(ends_with(&peer.take(), kind, &said.write()));
}

fn noticed(kind: u8, body: &[u8]) -> (Peer, Option<Notice>) {
    let mut peer = if kind == REFUSAL {
        waiting(false, Has::Nothing)
    } else {
        open(Fuzzed::CATALOG, limits())
    };
    peer.feed(&frame(kind, body));
    let told = match peer.conn().cause() {
        Some(Cause::Refused(notice) | Cause::PeerError(notice)) => Some(notice.clone()),
        _ => None,
    };
    let notice = peer.seen.notice.take().or(told);
    (peer, notice)
}

/// Credit for a client that has sent three messages.
fn granted(body: &[u8]) {
    let mut peer = open(Fuzzed::CATALOG, limits());
    let mut sent = 0;
    for n in [1, 1 << 20, 1 << 40] {
        let mut payload = Vec::new();
        varint(n, &mut payload);
        peer.play(&Call::Send(<Count as MessageOf<Fuzzed>>::NUMBER, payload));
        // Without the length.
        let written = peer.take();
        assert!(!written.is_empty());
        sent += written.iter().skip_while(|byte| **byte > 0x7f).skip(1).count();
    }
    peer.feed(&frame(CREDIT, body));
    match credit(body) {
        Some((bytes, messages)) if bytes as usize <= sent && messages <= 3 => {
            assert_eq!(peer.conn().unconfirmed(), 3 - messages);
            assert_eq!(peer.conn().phase(), Phase::Open);
        }
        _ => assert_refused(&peer),
    }
}
