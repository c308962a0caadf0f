//! Who goes on with which session: tokens, lost acceptances, claims that cannot be, late attempts
//! (PROTOCOL N-4, N-5, N-9).

use diset_proto::{Code, NewReason, Resumption, Session};

use super::support::*;

const RESUMED: Resumption = Resumption::Resumed { replayed: 0 };
const CONFLICT: Resumption = Resumption::New {
    why: NewReason::StateConflict,
};
const FORGOTTEN: Resumption = Resumption::New {
    why: NewReason::Forgotten,
};
const FIRST: Resumption = Resumption::New { why: NewReason::First };

#[test]
fn an_acceptance_may_be_lost_again_and_again() {
    let (client, service, first) = meet(session(DESK), &mut None, 1);
    assert_eq!(first, FIRST);
    let (mut memory, mut kept) = part(client, service);
    for trid in 2..6 {
        let (client, service, resumption) = knock(memory, &mut kept, trid, true);
        assert_eq!(resumption, RESUMED, "PROTOCOL N-4");
        (memory, kept) = part(client, service);
    }
    let (_, _, resumption) = meet(memory, &mut kept, 6);
    assert_eq!(resumption, RESUMED);
}

#[test]
fn the_token_that_was_shown_is_valid_until_a_frame_follows() {
    let (client, service, _) = meet(session(DESK), &mut None, 1);
    let (memory, mut kept) = part(client, service);
    let copy = memory.clone();
    let (mut client, mut service, _) = meet(memory, &mut kept, 2);
    // A plain one: their counters stay the same, only the token tells them apart.
    client.tx.send(READING, &Reading { value: 1 }).unwrap();
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    let (memory, mut kept) = part(client, service);
    // PROTOCOL N-5: the copy shows an old token.
    let (_, _, resumption) = knock(copy, &mut kept, 3, true);
    assert_eq!(resumption, CONFLICT);
    let (_, _, resumption) = meet(memory, &mut kept, 4);
    assert_eq!(resumption, RESUMED, "the rightful session is left alone");
}

#[test]
fn a_copy_keeps_its_token_and_takes_nobodys_place() {
    let (client, service, _) = meet(session(DESK), &mut None, 1);
    let (memory, mut kept) = part(client, service);
    let copy = memory.clone();
    let (mut client, mut service, _) = meet(memory, &mut kept, 2);
    client.send(1);
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service, _) = knock(copy, &mut kept, 3, true);
    pass(&mut service, &mut client);
    assert_eq!(client.conn().resumption(), Some(CONFLICT));
    let (copy, other) = part(client, service);
    assert!(other.is_some(), "it had one of its own");
    let (_, _, resumption) = knock(copy, &mut kept, 4, true);
    assert_eq!(resumption, CONFLICT, "and has no token for that one");
    assert_eq!(meet(memory, &mut kept, 5).2, RESUMED);
}

#[test]
fn who_proves_nothing_needs_the_token() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.send(1);
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    let (memory, mut kept) = part(client, service);
    let (_, _, resumption) = knock(session(DESK), &mut kept, 2, false);
    assert_eq!(resumption, CONFLICT, "PROTOCOL N-4");
    let (client, service, resumption) = knock(memory, &mut kept, 3, false);
    assert_eq!(resumption, RESUMED);
    let (_, mut kept) = part(client, service);
    let (_, _, resumption) = knock(session(DESK), &mut kept, 4, true);
    assert_eq!(resumption, FIRST, "who does, may have lost its memory");
}

#[test]
fn a_late_attempt_takes_nothing() {
    // It proposes, gives up, and comes again, before anybody looks at the first proposal.
    let (mut early, mut stale) = (client(session(DESK)), service());
    assert!(matches!(pass(&mut early, &mut stale)[..], [Seen::Proposed]));
    let (memory, _) = part(early, service());
    let (client, service, resumption) = meet(memory, &mut None, 2);
    assert_eq!(resumption, FIRST);
    let (memory, mut kept) = part(client, service);
    assert_eq!(refusal(&stale, &kept, 1), Some(Code::Displaced), "PROTOCOL N-9");
    assert_eq!(meet(memory, &mut kept, 3).2, RESUMED);
}

#[test]
fn a_late_attempt_to_resume_takes_nothing() {
    let (one, other, _) = meet(session(DESK), &mut None, 1);
    let (memory, mut kept) = part(one, other);
    let (mut early, mut stale) = (client(memory), service());
    assert!(matches!(pass(&mut early, &mut stale)[..], [Seen::Proposed]));
    let (memory, _) = part(early, service());
    // The client has read the new token, the service does not know that yet.
    let (client, service, _) = meet(memory, &mut kept, 3);
    let (memory, mut kept) = part(client, service);
    assert_eq!(refusal(&stale, &kept, 2), Some(Code::Displaced), "PROTOCOL N-9");
    assert_eq!(meet(memory, &mut kept, 4).2, RESUMED);
}

#[test]
fn an_acceptance_that_begins_anew_may_be_lost() {
    let (client, service, _) = meet(session(DESK), &mut None, 1);
    let (memory, _) = part(client, service);
    // The service has forgotten it; the client does not hear so, and comes with the old token.
    let mut kept = None;
    let (client, service, resumption) = knock(memory, &mut kept, 2, false);
    assert_eq!(resumption, FORGOTTEN);
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service, resumption) = knock(memory, &mut kept, 3, false);
    assert_eq!(resumption, FORGOTTEN, "PROTOCOL N-4");
    pass(&mut service, &mut client);
    client.send(1);
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    let (memory, mut kept) = part(client, service);
    assert_eq!(knock(memory, &mut kept, 4, false).2, RESUMED);
}

/// A client and a service that have dealt with two messages each way.
fn acquainted() -> (End, End) {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    for value in 1..=2 {
        client.send(value);
        service.send(value);
        assert_eq!(values(&pass(&mut client, &mut service)), [value]);
        assert_eq!(values(&pass(&mut service, &mut client)), [value]);
        client.tick();
        pass(&mut client, &mut service);
    }
    assert_eq!(client.conn().delivered().processed, 2);
    assert_eq!(service.conn().delivered().processed, 2);
    (client, service)
}

#[test]
fn a_client_that_was_set_back_conflicts() {
    let (client, service) = acquainted();
    let (memory, mut kept) = part(client, service);
    let backup = memory.clone();
    let (mut client, service, _) = meet(memory, &mut kept, 2);
    client.send(3);
    let (_, mut kept) = part(client, service);
    let (mut client, mut other, resumption) = meet(backup.clone(), &mut kept, 3);
    assert_eq!(resumption, RESUMED, "nothing of the third has come");
    client.send(3);
    assert_eq!(values(&pass(&mut client, &mut other)), [3]);
    let (memory, mut kept) = part(client, other);
    assert_eq!(knock(backup, &mut kept, 4, true).2, CONFLICT, "PROTOCOL N-5");
    let (_, _, resumption) = meet(memory, &mut kept, 5);
    assert_eq!(resumption, RESUMED);
}

#[test]
fn a_service_that_was_set_back_is_told_of_it() {
    let (client, service) = acquainted();
    let (memory, mut kept) = part(client, service);
    let (client, service, _) = meet(memory, &mut kept, 2);
    let (memory, mut kept) = part(client, service);
    let backup = kept.clone();
    let (mut client, mut service, _) = meet(memory, &mut kept, 3);
    client.send(3);
    assert_eq!(values(&pass(&mut client, &mut service)), [3]);
    service.tick();
    pass(&mut service, &mut client);
    assert_eq!(client.conn().delivered().processed, 3);
    // The client shows a newer token than the service knows.
    let (memory, _) = part(client, service);
    assert_eq!(knock(memory, &mut backup.clone(), 4, true).2, CONFLICT);
}

/// The client as it was, but for some of what it keeps of itself.
fn forged(memory: &State, changes: &[(&str, u64)]) -> Box<State> {
    let mut record = serde_json::to_value(memory.record()).unwrap();
    for (name, value) in changes {
        assert!(record[name].is_u64(), "{name}");
        record[name] = (*value).into();
    }
    let record = serde_json::from_value(record).unwrap();
    Box::new(Session::restore(&record, memory.replay().clone(), DESK).unwrap())
}

#[test]
fn a_claim_must_fit() {
    let (client, service) = acquainted();
    let (memory, mut kept) = part(client, service);
    for (claim, changes) in [
        (
            "it has sent less than was received",
            &[("settled", 1), ("freed", 1), ("reached", 1), ("next", 2)][..],
        ),
        (
            "it knows outcomes of what was not dealt with",
            &[("settled", 3), ("freed", 3), ("reached", 3), ("next", 4)],
        ),
        ("it has dealt with less than is known", &[("processed", 1)]),
        ("it has what was never sent", &[("received", 3), ("processed", 3)]),
    ] {
        let (_, _, resumption) = knock(forged(&memory, changes), &mut kept, 2, true);
        assert_eq!(resumption, CONFLICT, "PROTOCOL N-5: {claim}");
    }
    assert_eq!(meet(forged(&memory, &[]), &mut kept, 3).2, RESUMED);
}

#[test]
fn the_claim_of_a_service_must_fit() {
    for (claim, changes) in [
        (
            "it knows outcomes of what was not dealt with",
            &[("settled", 3), ("freed", 3), ("reached", 3), ("next", 4)][..],
        ),
        ("it has what was never sent", &[("received", 3), ("processed", 3)]),
    ] {
        let (client, service) = acquainted();
        let (memory, kept) = part(client, service);
        let mut kept = Some(forged(&kept.unwrap(), changes));
        // It takes the client's claim, but makes one that cannot be.
        let (mut client, mut service, resumption) = knock(memory, &mut kept, 2, true);
        if resumption != CONFLICT {
            let seen = pass(&mut service, &mut client);
            assert_eq!(code(&seen), Some(Code::StateConflict), "PROTOCOL N-5: {claim}");
        }
    }
}
