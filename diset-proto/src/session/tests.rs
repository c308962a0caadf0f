//! Sessions against each other, and against a peer that claims odd things: what the simulation has
//! found, in few lines.

use super::*;
use crate::store::FixedReplay;
use crate::wire::session::{Answer, Claim, Directions, NewReason, Resume, SenderClaim, TakerClaim};

/// Keeps nothing before it is told to.
#[derive(Debug, Clone)]
struct Late {
    store: FixedReplay<[u8; 512]>,
    kept: u64,
}

impl Replay for Late {
    fn reserve(&mut self, head: Stored<'_>, len: usize) -> Option<&mut [u8]> {
        self.store.reserve(head, len)
    }

    fn commit(&mut self) {
        self.store.commit();
    }

    fn after(&self, number: u64) -> Option<Stored<'_>> {
        self.store.after(number)
    }

    fn remove(&mut self, number: u64) {
        self.store.remove(number);
    }

    fn remove_through(&mut self, number: u64) {
        self.store.remove_through(number);
    }

    fn mark_repeated(&mut self, number: u64) {
        self.store.mark_repeated(number);
    }

    fn kept(&self) -> u64 {
        self.kept
    }

    fn len(&self) -> usize {
        self.store.len()
    }

    fn bytes(&self) -> usize {
        self.store.bytes()
    }
}

/// Says that it is durable, or not; and that it has kept everything, or nothing.
#[derive(Debug, Clone)]
struct Kept {
    durable: bool,
    lags: bool,
}

impl Inbox for Kept {
    fn kept(&self) -> (u64, u64) {
        if self.lags { (0, 0) } else { (u64::MAX, u64::MAX) }
    }

    fn is_durable(&self) -> bool {
        self.durable
    }
}

type Tested = Session<Late, Kept>;

const BOTH: Directions = Directions {
    sends: true,
    takes: true,
    durable: false,
};

const FIRST: Resume = Resume {
    known: None,
    directions: BOTH,
};

/// Of one that has received and processed as much.
fn claim(sender: [u64; 2], taken: u64) -> Claim {
    let [settled, sent] = sender;
    Claim {
        sender: Some(SenderClaim { settled, sent }),
        taker: Some(TakerClaim {
            received: taken,
            processed: taken,
            ..TakerClaim::default()
        }),
    }
}

fn session(durable: bool) -> Tested {
    let store = FixedReplay::new([0; 512]);
    let kept = u64::MAX;
    Session::new(Late { store, kept }, Kept { durable, lags: false })
}

fn open(durable: bool) -> Tested {
    let mut session = session(durable);
    session.begin_with(&FIRST, Trid::new(1), NewReason::First, Some(token(1)));
    session
}

const fn token(number: u8) -> Token {
    Token::from_bytes([number; 16])
}

fn store(session: &mut Tested, unsure: Unsure) -> u64 {
    session.store_by_key(Key::from_bytes([1; 16]), &7u32, unsure).unwrap()
}

fn message() -> Stored<'static> {
    Stored {
        number: 0,
        key: Key::from_bytes([1; 16]),
        unsure: Unsure::Report,
        repeated: false,
        payload: &[],
    }
}

/// PROTOCOL: what is not kept does not leave, and is not passed either.
#[test]
fn what_is_not_kept_waits_and_holds_plain_messages_back() {
    let mut session = open(false);
    session.replay_mut().kept = 0;
    store(&mut session, Unsure::Report);
    assert!(session.front().is_none() && session.is_waiting());
    session.replay_mut().kept = 1;
    assert!(session.front().is_some() && session.is_waiting());
}

fn restarted(session: &Tested) -> Tested {
    Session::restore(&session.record(), session.replay().clone(), session.inbox().clone()).unwrap()
}

fn returns(token: Token, claim: Claim) -> Resume {
    Resume {
        known: Some((token, claim)),
        directions: BOTH,
    }
}

/// PROTOCOL: what was received and not handled comes again after a kill, and is marked; what
/// is new is not.
#[test]
fn after_a_kill_what_the_peer_had_sent_is_marked() {
    let mut session = open(false);
    for _ in 0..3 {
        let _ = session.arrive(message());
    }
    session.settle(1, Outcome::Ok);
    let mut session = restarted(&session);
    let claim = claim([1, 3], 0);
    session
        .welcome(&returns(token(1), claim), Trid::new(2), true, token(2))
        .unwrap();
    let claimed = session.answer().and_then(|(answer, _)| answer.resumed.ok());
    let claimed = claimed.and_then(|claim| claim.taker).unwrap();
    assert_eq!(
        (claimed.received, claimed.processed),
        (1, 1),
        "the rest is not here any more"
    );
    let arrivals: Vec<_> = (0..3).map(|_| session.arrive(message())).collect();
    let expected = [(2, true), (3, true), (4, false)].map(|(number, repeated)| Arrival::New { number, repeated });
    assert_eq!(arrivals, expected);
}

/// PROTOCOL Q-5: what left on an earlier connection may have been dealt with.
#[test]
fn what_left_before_is_unknown_when_the_peer_takes_it_no_more() {
    let mut session = open(false);
    let (left, stayed) = (store(&mut session, Unsure::Report), store(&mut session, Unsure::Report));
    session.transmitted(left);
    let claim = claim([0, 0], 0);
    session
        .welcome(&returns(token(1), claim), Trid::new(2), true, token(2))
        .unwrap();
    let refused = || Refused(Outcome::NotAgreed(Verdict::Forbidden));
    assert!(session.refuse(left, refused()) && session.refuse(stayed, refused()));
    assert_eq!(session.take_outcome(), Some((left, Outcome::Unknown)));
    assert_eq!(
        session.take_outcome(),
        Some((stayed, Outcome::NotAgreed(Verdict::Forbidden)))
    );
}

/// PROTOCOL, N-6: what a durable peer had is stored no more; when it loses the session all
/// the same, nobody knows what became of it. What was dropped has its outcome already.
#[test]
fn what_a_durable_peer_loses_is_unknown() {
    let mut session = session(false);
    let durable = Resume {
        known: None,
        directions: Directions { durable: true, ..BOTH },
    };
    session.begin_with(&durable, Trid::new(1), NewReason::First, Some(token(1)));
    let numbers: Vec<u64> = (0..4).map(|_| store(&mut session, Unsure::Resend)).collect();
    session.transmitted(numbers[0]);
    assert_eq!(session.skip_oldest(), Some(numbers[1]));
    session.transmitted(numbers[2]);
    let ack = Ack {
        received: 3,
        ..Ack::default()
    };
    session.acked(&ack).unwrap();
    session.begin_with(&FIRST, Trid::new(2), NewReason::First, Some(token(2)));
    let mut session = restarted(&session);
    let outcomes: Vec<_> = core::iter::from_fn(|| session.take_outcome()).collect();
    assert_eq!(outcomes, [(numbers[0], Outcome::Unknown)]);
    let front = session
        .front()
        .map(|(stored, skipped)| (stored.number, skipped, stored.repeated));
    assert_eq!(
        front,
        Some((numbers[2], 1, true)),
        "it was kept, as one before it has an outcome"
    );
}

/// PROTOCOL Q-5: many that are to be reported, between others that are sent again: none gets past its
/// outcome.
#[test]
fn what_is_unknown_is_told_before_the_peer_gets_past_it() {
    let mut session = open(false);
    for number in 1..=16 {
        let unsure = if number % 2 == 1 {
            Unsure::Report
        } else {
            Unsure::Resend
        };
        let stored = store(&mut session, unsure);
        session.transmitted(stored);
        assert_eq!(session.sending.sent, number);
    }
    session.begin_with(&FIRST, Trid::new(2), NewReason::First, Some(token(2)));
    let mut told = Vec::new();
    while session.delivered().processed < 16 {
        told.extend(core::iter::from_fn(|| session.take_outcome()));
        let mut skips = 0;
        while let Some((number, skipped)) = session.front().map(|(stored, skipped)| (stored.number, skipped)) {
            session.transmitted(number);
            skips += skipped + 1;
        }
        let ack = Ack {
            received: skips,
            processed: skips,
            ..Ack::default()
        };
        session.acked(&ack).unwrap();
    }
    let odd = (0..8).map(|half| (2 * half + 1, Outcome::Unknown));
    assert_eq!(told, odd.collect::<Vec<_>>());
}

/// PROTOCOL N-5: a client that was in conflict counts another session, and must not go on with the
/// rightful one, though it had its token once.
#[test]
fn a_client_that_was_in_conflict_goes_on_with_nothing() {
    let mut client = session(false);
    let answer = |resumed| Answer {
        resumed,
        directions: BOTH,
    };
    client
        .answered(Some(&answer(Err(NewReason::First))), Some(token(1)), Trid::new(1))
        .unwrap();
    let conflict = answer(Err(NewReason::StateConflict));
    client.answered(Some(&conflict), None, Trid::new(2)).unwrap();
    let request = client.request().unwrap();
    assert_eq!(
        open(false).welcome(&request, Trid::new(3), true, token(3)),
        Err(Unwelcome::Passing(NewReason::StateConflict))
    );
    client
        .answered(Some(&answer(Err(NewReason::Forgotten))), Some(token(4)), Trid::new(3))
        .unwrap();
    assert_eq!(client.request().unwrap().known.map(|(token, _)| token), Some(token(4)));
}

/// PROTOCOL Q-5: messages of an inbox may fail one after the other; each outcome is there until the
/// peer knows it.
#[test]
fn no_message_begins_when_its_failure_could_not_be_remembered() {
    let mut session = open(true);
    for _ in 0..6 {
        let _ = session.arrive(message());
    }
    for number in 1..=4 {
        assert!(session.begin(number));
        session.settle(number, Outcome::Failed(Code::HandlerFailed));
    }
    assert!(!session.begin(5) && session.processed() == 4);
    let claim = claim([4, 6], 0);
    session
        .welcome(&returns(token(1), claim), Trid::new(2), true, token(2))
        .unwrap();
    assert!(session.begin(5));
}

/// PROTOCOL: a handler that goes on behind its connection may fail, and then the message
/// behind it, too. None comes whose outcome would be forgotten: it would be handled once more.
#[test]
fn no_message_comes_whose_failure_could_not_be_remembered() {
    let mut session = open(false);
    session.inbox_mut().lags = true;
    let claim = claim([0, 6], 0);
    let next = |session: &mut Tested, number: u8| {
        session.detach();
        let request = returns(token(number), claim.clone());
        session
            .welcome(&request, Trid::new(2), true, token(number + 1))
            .unwrap();
        session.answer().unwrap();
        session.confirm_handshake();
    };
    for number in 1..=4 {
        let repeated = false;
        assert_eq!(session.arrive(message()), Arrival::New { number, repeated });
        assert!(session.begin(number));
        next(&mut session, u8::try_from(number).unwrap());
        assert!((0..number).all(|_| session.arrive(message()) == Arrival::Duplicate));
        if number < 4 {
            session.settle(number, Outcome::Failed(Code::HandlerFailed));
        }
    }
    assert_eq!(session.arrive(message()), Arrival::NoRoom, "4 may fail");
    session.settle(4, Outcome::Failed(Code::HandlerFailed));
    assert_eq!(session.processed(), 4);
    session.inbox_mut().lags = false;
    next(&mut session, 5);
    assert!(matches!(session.arrive(message()), Arrival::New { number: 5, .. }) && session.begin(5));
}

fn shows(session: &mut Tested, shown: u8, trid: u64, made: u8) -> Result<(), Unwelcome> {
    session.welcome(
        &returns(token(shown), claim([0, 0], 0)),
        Trid::new(trid),
        true,
        token(made),
    )
}

/// PROTOCOL N-4: two proposals that were sent with one token may arrive, and their acceptances, too,
/// in any order: whichever the client has read is valid.
#[test]
fn whichever_acceptance_was_read_its_token_is_valid() {
    for read in [1, 2, 3] {
        let mut session = open(false);
        shows(&mut session, 1, 2, 2).unwrap();
        shows(&mut session, 1, 3, 3).unwrap();
        shows(&mut session, read, 4, 4).unwrap();
        session.confirm_handshake();
        for stale in [1, 2, 3] {
            let conflict = Unwelcome::Passing(NewReason::StateConflict);
            assert_eq!(shows(&mut session, stale, 5, 5), Err(conflict));
        }
        shows(&mut session, 4, 6, 6).unwrap();
    }
}

/// PROTOCOL N-4: a first proposal that comes late replaces the session that the client has; it is not
/// locked out.
#[test]
fn a_first_proposal_that_comes_late_does_not_lock_its_client_out() {
    let mut session = open(false);
    session.welcome(&FIRST, Trid::new(2), true, token(2)).unwrap();
    let why = NewReason::Forgotten;
    // Again when the acceptance is lost.
    for made in [9, 3] {
        shows(&mut session, 1, 3, made).unwrap();
        assert_eq!(session.resumption(), Some(Resumption::New { why }));
    }
    session.confirm_handshake();
    shows(&mut session, 3, 4, 4).unwrap();
    assert_eq!(session.resumption(), Some(Resumption::Resumed { replayed: 0 }));
}

/// PROTOCOL N-4: the acceptance that says that a session was forgotten may be lost, too.
#[test]
fn a_lost_word_that_a_session_was_forgotten_is_said_again() {
    let mut session = session(false);
    let request = returns(token(7), claim([0, 0], 0));
    session.begin_with(&request, Trid::new(1), NewReason::Forgotten, Some(token(1)));
    let why = NewReason::Forgotten;
    shows(&mut session, 7, 2, 2).unwrap();
    assert_eq!(session.resumption(), Some(Resumption::New { why }));
    session.confirm_handshake();
    let conflict = Unwelcome::Passing(NewReason::StateConflict);
    assert_eq!(shows(&mut session, 7, 3, 3), Err(conflict));
}

/// PROTOCOL Q-5: what is sent again after a session began anew has left, and is not dropped as if it had
/// not.
#[test]
fn what_left_in_the_session_before_is_not_skipped() {
    let mut session = open(false);
    let (left, stayed) = (store(&mut session, Unsure::Resend), store(&mut session, Unsure::Resend));
    session.transmitted(left);
    session.begin_with(&FIRST, Trid::new(2), NewReason::First, Some(token(2)));
    assert_eq!(session.skip_oldest(), Some(stayed));
    assert_eq!(session.skip_oldest(), None);
}
