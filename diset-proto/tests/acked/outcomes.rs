//! Outcomes that are not Ok: told once, repeated until they are known, never sent again; and what
//! nobody knows (PROTOCOL, N-6).

use diset_proto::store::Unsure;
use diset_proto::{Code, NewReason, Outcome, Resumption, ServiceDef};

use super::support::*;

/// The service refuses the first message; its ack and error are lost or not.
fn refused(lost: bool) -> (Box<State>, Option<Box<State>>) {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.send(1);
    service.handler = Handler::Fails;
    assert!(!pass(&mut client, &mut service).is_empty());
    let bytes = service.bytes();
    if !lost {
        assert_eq!(code(&client.take(&bytes)), Some(Code::HandlerFailed));
        assert_eq!(
            client.tx.take_outcome(),
            Some((1, Outcome::Failed(Code::HandlerFailed))),
            "PROTOCOL Q-5"
        );
    }
    assert_eq!(client.tx.take_outcome(), None);
    part(client, service)
}

#[test]
fn the_outcome_goes_before_the_error() {
    let (memory, mut kept) = refused(false);
    let (mut client, mut service, resumption) = meet(memory, &mut kept, 2);
    assert_eq!(resumption, Resumption::Resumed { replayed: 0 });
    assert_eq!(client.tx.take_outcome(), None, "told once");
    client.send(2);
    assert_eq!(
        values(&pass(&mut client, &mut service)),
        [2],
        "the failed one is not sent again"
    );
}

#[test]
fn an_outcome_is_repeated_until_it_is_known() {
    let (memory, mut kept) = refused(true);
    // Once more it is lost, with the acceptance.
    let (client, service, _) = knock(memory, &mut kept, 2, true);
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service, _) = meet(memory, &mut kept, 3);
    assert_eq!(
        client.tx.take_outcome(),
        Some((1, Outcome::Failed(Code::HandlerFailed))),
        "PROTOCOL Q-5"
    );
    assert_eq!(client.tx.take_outcome(), None);
    assert_eq!(client.conn().delivered().processed, 1);
    client.send(2);
    assert_eq!(values(&pass(&mut client, &mut service)), [2]);
    // Now the service knows that it is known.
    let (memory, mut kept) = part(client, service);
    let (mut client, _, _) = meet(memory, &mut kept, 4);
    assert_eq!(client.tx.take_outcome(), None);
}

#[test]
fn each_of_several_failures_is_told() {
    let mut kept = None;
    let mut memory = session(DESK);
    for number in 1..=3 {
        let (mut client, mut service, _) = meet(memory, &mut kept, number);
        client.send(number as u32);
        service.handler = Handler::Fails;
        assert!(!pass(&mut client, &mut service).is_empty());
        // The outcome is lost, and comes with the next acceptance.
        let (state, service) = part(client, service);
        (memory, kept) = (state, service);
    }
    let (mut client, _, _) = meet(memory, &mut kept, 4);
    let mut outcomes = Vec::new();
    while let Some(outcome) = client.tx.take_outcome() {
        outcomes.push(outcome);
    }
    let failed = Outcome::Failed(Code::HandlerFailed);
    assert_eq!(outcomes, [(1, failed), (2, failed), (3, failed)], "PROTOCOL Q-5");
}

#[test]
fn a_message_that_does_not_fit_fails_for_good() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.send(1);
    let mut bytes = client.bytes();
    // The only byte of its payload is an unfinished number.
    *bytes.last_mut().unwrap() = 0x80;
    assert!(matches!(service.take(&bytes)[..], [Seen::Invalid, ..]));
    let bytes = service.bytes();
    assert_eq!(code(&client.take(&bytes)), Some(Code::Invalid));
    assert_eq!(
        client.tx.take_outcome(),
        Some((1, Outcome::Failed(Code::Invalid))),
        "PROTOCOL Q-5, M-2"
    );
    let (memory, mut kept) = part(client, service);
    let (mut client, mut service, _) = meet(memory, &mut kept, 2);
    assert!(
        values(&pass(&mut client, &mut service)).is_empty(),
        "it is not sent again"
    );
}

#[test]
fn a_message_nobody_defines_fails_for_good() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.send(1);
    let mut bytes = client.bytes();
    let place = bytes.len() - 2;
    bytes[place] = 0x7f;
    assert_eq!(code(&service.take(&bytes)), Some(Code::UnknownMessage));
    let bytes = service.bytes();
    client.take(&bytes);
    assert_eq!(
        client.tx.take_outcome(),
        Some((1, Outcome::Failed(Code::UnknownMessage))),
        "PROTOCOL Q-5"
    );
}

#[test]
fn what_nobody_knows_is_told_or_comes_again_marked() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.try_send(1, Unsure::Report).unwrap();
    client.try_send(2, Unsure::Resend).unwrap();
    pass(&mut client, &mut service);
    let (mut memory, _) = part(client, service);
    memory
        .store(Meter::CATALOG, READING, &Reading { value: 3 }, Unsure::Report)
        .unwrap();
    // The service has forgotten it all.
    let (mut client, mut service, resumption) = meet(memory, &mut None, 2);
    assert_eq!(
        resumption,
        Resumption::New {
            why: NewReason::Forgotten
        }
    );
    assert_eq!(client.tx.take_outcome(), Some((1, Outcome::Unknown)), "PROTOCOL N-6");
    assert_eq!(client.tx.take_outcome(), None);
    let coming = pass(&mut client, &mut service);
    assert_eq!(values(&coming), [2, 3]);
    let marked = coming.iter().filter_map(|seen| match seen {
        Seen::Message { marked, .. } => Some(*marked),
        _ => None,
    });
    assert!(marked.eq([true, false]), "PROTOCOL N-6, Q-3");
    service.tick();
    pass(&mut service, &mut client);
    assert_eq!(client.conn().delivered().processed, 3);
}

#[test]
fn a_service_that_has_processed_nothing_of_a_session_claims_nothing() {
    let (mut client, mut service, _) = meet(session(DESK), &mut None, 1);
    client.send(1);
    service.handler = Handler::Waits;
    assert_eq!(values(&pass(&mut client, &mut service)), [1]);
    assert!(!service.state().begin(2), "nothing begins that has not come");
    service.state().settle(2, Outcome::Ok);
    assert_eq!(service.state().processed(), 0);
    assert!(service.returns().is_empty());
    assert!(!service.state().begin(1), "nor what is dealt with");
    service.state().settle(1, Outcome::Failed(Code::HandlerFailed));
    service.tick();
    pass(&mut service, &mut client);
    assert_eq!(client.tx.take_outcome(), None, "the first outcome counts");
}

#[test]
fn failures_have_no_end() {
    let (mut memory, mut kept) = (session(DESK), None);
    for number in 1..=9 {
        let (mut client, mut service, _) = meet(memory, &mut kept, number);
        client.send(number as u32);
        service.handler = Handler::Fails;
        assert!(!pass(&mut client, &mut service).is_empty());
        client.take(&service.bytes());
        let failed = Outcome::Failed(Code::HandlerFailed);
        assert_eq!(
            client.tx.take_outcome(),
            Some((number, failed)),
            "PROTOCOL Q-5: what is known is not kept"
        );
        (memory, kept) = part(client, service);
    }
}
