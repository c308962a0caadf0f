//! The tables of PROTOCOL N-4 and N-5, each row played, and held against what stands there.

use diset_proto::{Cause, Code, Outcome, Phase, Resumption, SendError, Session, Trid};

use super::support::*;

/// The cells of the table under this head.
fn table(head: &str) -> Vec<Vec<String>> {
    let lines = include_str!("../../../PROTOCOL.md").lines();
    let rows = lines.skip_while(|line| *line != head).skip(2);
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let rows: Vec<Vec<String>> = rows.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "PROTOCOL.md has no table under {head}");
    rows
}

// ── what a service answers ──────────────────────────────────────────────────────────

const ZEROS: [u8; 16] = [0; 16];

/// A service that waits, with a session whose beginning was read and whose token is 1.
fn read() -> Side {
    let mut side = Side::begun(true);
    side.feed(&frame(KEEP_ALIVE, &[]));
    side.again()
}

/// The same of one that was not read, and begun by a client that showed nothing, or this.
fn unread(shown: Option<&[u8; 16]>) -> Side {
    let mut side = Side::service(None);
    side.feed(&proposal(Some(&shown.map_or_else(|| FIRST.to_vec(), shows))));
    side.take();
    assert!(side.conn.resumption().is_some());
    side.again()
}

/// What a client says that shows this token and knows of nothing.
fn shows(token: &[u8; 16]) -> Vec<u8> {
    returning(token, &claim([0; 4], &[]))
}

fn unproven(mut side: Side) -> Side {
    side.proven = false;
    side
}

/// What this service answers to that, and what becomes of the session that it had.
fn answers(mut side: Side, session: Option<&[u8]>) -> (String, &'static str, Side) {
    let before = side.kept.as_ref().map(|kept| (kept.record(), kept.began()));
    side.feed(&proposal(session));
    let answer = side.take();
    let gives_token = answer.windows(2).any(|bytes| bytes == [0x05, 16]);
    let said = match (side.conn.cause(), side.conn.resumption()) {
        (Some(Cause::WeRefused(notice)), None) => {
            assert!(notice.retry().is_some() && !notice.is_permanent());
            format!("Refusal `{:?}`, retry", notice.code())
        }
        (None, Some(Resumption::New { why })) => format!("New {why:?}"),
        (None, Some(Resumption::Resumed { .. })) => "Resumed".to_owned(),
        (None, None) => "no field".to_owned(),
        other => panic!("{other:?}"),
    };
    let new = side.conn.session().map(Session::began);
    let becomes = match (&before, &side.kept) {
        (Some((record, _)), Some(kept)) => {
            assert!(kept.record() == *record && !gives_token, "it is as it was");
            if said == "no field" {
                let none = Err(SendError::NoSession);
                assert_eq!(side.send_unsure(1, diset_proto::store::Unsure::Report), none);
                "stays; nothing acked on this link"
            } else {
                "stays"
            }
        }
        (None, None) if !gives_token => "ends with the link",
        (None, None) => "begins",
        (Some((_, began)), None) if new == Some(*began) => "goes on",
        (Some(_), None) => {
            assert_eq!(new, Some(Trid::new(side.trid)));
            "begins anew"
        }
        (None, Some(_)) => panic!("out of nothing"),
    };
    (said, becomes, side)
}

/// Services and proposals of each row, and whether the client shows nothing of a session.
fn plays(row: usize) -> Vec<(Side, Option<Vec<u8>>)> {
    let first = || Some(FIRST.to_vec());
    let shown = |token: &[u8; 16]| Some(shows(token));
    match row {
        0 => {
            let mut side = read();
            side.trid = 4;
            side.feed(&proposal(Some(&shows(&token(1)))));
            side.take();
            let mut side = side.again();
            side.trid = 2;
            vec![(side, shown(&token(5)))]
        }
        1 => vec![(read(), None)],
        2 => [first(), shown(&token(9))].map(|said| (full(), said)).into(),
        3 => vec![(Side::service(None), first()), (unproven(Side::service(None)), first())],
        4 => [token(9), ZEROS]
            .map(|token| (Side::service(None), shown(&token)))
            .into(),
        5 => vec![
            (read(), first()),
            (unread(None), first()),
            (unread(Some(&token(9))), first()),
        ],
        6 => {
            // Not only once: each acceptance may be lost.
            let mut side = unproven(unread(None));
            let mut all = vec![(unproven(unread(None)), first())];
            for _ in 0..3 {
                side.feed(&proposal(Some(FIRST)));
                side.take();
                side = unproven(side.again());
            }
            all.push((side, first()));
            all
        }
        7 => vec![
            (unproven(read()), first()),
            (unproven(unread(Some(&token(9)))), first()),
        ],
        8 => {
            let begun_anew = || {
                let mut side = read();
                side.feed(&proposal(Some(FIRST)));
                side.take();
                side.again()
            };
            vec![
                (unread(Some(&token(9))), shown(&token(9))),
                (unproven(unread(Some(&token(9)))), shown(&token(9))),
                (unread(Some(&ZEROS)), shown(&ZEROS)),
                (begun_anew(), shown(&token(1))),
                (unproven(begun_anew()), shown(&token(1))),
            ]
        }
        9 => vec![(read(), shown(&ZEROS)), (unread(Some(&token(9))), shown(&ZEROS))],
        10 => vec![
            (unread(Some(&token(9))), shown(&token(8))),
            (unread(None), shown(&token(8))),
        ],
        11 => vec![
            (unproven(unread(Some(&token(9)))), shown(&token(8))),
            (read(), shown(&token(8))),
        ],
        12 => {
            let unfit = |values| Some(returning(&token(1), &claim(values, &[])));
            vec![(read(), unfit([0, 0, 1, 0])), (read(), unfit([1, 1, 0, 0]))]
        }
        13 => {
            let mut side = Side::begun(true);
            for value in 0..12 {
                side.send(value);
            }
            side.take();
            let four = frame(ACK, &varints(&[4, 4, 1, 33, 2, 33, 3, 33, 4, 33]));
            side.feed(&[&four[..], &four].concat());
            let more = claim([0, 0, 12, 10], &[(9, 33), (10, 33)]);
            vec![(side.again(), Some(returning(&token(1), &more)))]
        }
        14 => vec![(read(), shown(&token(1))), (unproven(unread(None)), shown(&token(1)))],
        _ => panic!("no play for row {row}"),
    }
}

fn full() -> Side {
    let mut side = Side::service(None);
    side.is_full = true;
    side
}

#[test]
fn what_a_service_answers() {
    let rows = table("| | there is a session | transport | shown | claim | answer | the session |");
    assert_eq!(rows.len(), 15, "PROTOCOL N-4");
    for (row, cells) in rows.iter().enumerate() {
        assert_eq!(cells[0], row.to_string());
        for (at, (side, said)) in plays(row).into_iter().enumerate() {
            let (answer, becomes, _) = answers(side, said.as_deref());
            assert_eq!(
                (&*answer, becomes),
                (&*cells[5], &*cells[6]),
                "PROTOCOL N-4, row {row}, play {at}"
            );
        }
    }
}

/// The fault of one that counts its attempts: two acceptances are lost, and the third proposal is no other than the
/// second.
#[test]
fn a_client_without_proof_begins_however_often_its_acceptance_is_lost() {
    let mut side = unproven(Side::service(None));
    for _ in 0..5 {
        let (answer, _, after) = answers(side, Some(FIRST));
        assert_eq!(answer, "New First", "PROTOCOL N-4, row 6");
        side = unproven(after.again());
    }
    side.feed(&proposal(Some(FIRST)));
    side.take();
    side.feed(&frame(KEEP_ALIVE, &[]));
    let (answer, ..) = answers(unproven(side.again()), Some(FIRST));
    assert_eq!(answer, "New StateConflict", "PROTOCOL N-4, row 7: it was read");
}

/// PROTOCOL N-4: the three that were made since, and none older.
#[test]
fn what_is_current() {
    for shown in 1..=5 {
        let mut side = read();
        for _ in 0..4 {
            side.feed(&proposal(Some(&shows(&token(1)))));
            side.take();
            side = side.again();
        }
        let (answer, ..) = answers(side, Some(&shows(&token(shown))));
        let expected = if shown == 2 { "New StateConflict" } else { "Resumed" };
        assert_eq!(
            answer, expected,
            "token {shown} of 1, which is shown, and 2 to 5, which were made"
        );
    }
}

// ── what a client does ──────────────────────────────────────────────────────────────

/// A client that has a session with the token 1, and has sent one message in it.
fn returning_client() -> Side {
    let mut side = Side::begun(false);
    side.send(7);
    side.take();
    side.again()
}

/// What a client shows next.
fn next(side: Side) -> Option<[u8; 16]> {
    let said = says_next(side);
    let goes_on = |bytes: &[u8]| bytes[0] == 0x06 && bytes[2] == GOES_ON | BOTH;
    let at = said.windows(3).position(goes_on)?;
    said[at + 3..at + 19].try_into().ok()
}

fn does(row: usize) -> Vec<&'static str> {
    let with = |mut side: Side, answer: Option<&[u8]>, made: Option<u8>| {
        let made = made.map(|made| token(made.into()));
        side.feed(&acceptance(answer, made.as_ref().map(|made| &made[..])));
        side
    };
    let fits = resumed(&claim([0, 0, 1, 0], &[]));
    let unfit = resumed(&claim([0, 0, 2, 0], &[]));
    let forgets = |side: Side| {
        assert_eq!(side.conn.cause().and_then(Cause::code), Some(Code::StateConflict));
        assert_eq!(next(side), None);
        "ends with `StateConflict`, forgets what it shows"
    };
    match row {
        0 => {
            let side = with(Side::client(None), Some(NEW_FIRST), Some(2));
            assert_eq!((side.conn.phase(), side.conn.resumption()), (Phase::Open, None));
            vec!["skips it"]
        }
        1 => {
            let mut side = with(returning_client(), None, None);
            assert_eq!(side.conn.phase(), Phase::Open);
            let none = Err(SendError::NoSession);
            assert_eq!(side.send_unsure(1, diset_proto::store::Unsure::Report), none);
            assert_eq!(next(side), Some(token(1)));
            vec!["sends nothing acked on this link; keeps what it stored"]
        }
        2 => {
            let side = with(returning_client(), Some(&fits), Some(2));
            assert_eq!(side.conn.resumption(), Some(Resumption::Resumed { replayed: 0 }));
            assert_eq!(next(side), Some(token(2)));
            vec!["goes on"]
        }
        3 => vec![
            forgets(with(returning_client(), Some(&unfit), Some(2))),
            forgets(with(returning_client(), Some(&fits), None)),
        ],
        4 => {
            let none = resumed(&claim([0; 4], &[]));
            vec![forgets(with(Side::client(Some(memory())), Some(&none), Some(2)))]
        }
        5 => [1, 2, 77]
            .map(|why| {
                let mut side = with(returning_client(), Some(&[why, BOTH]), Some(2));
                assert_eq!(side.outcomes(), [(1, Outcome::Unknown)], "PROTOCOL N-6");
                assert_eq!(next(side), Some(token(2)));
                "begins anew, keeps the token, if there is one"
            })
            .into(),
        6 => {
            let mut side = with(returning_client(), Some(&[4, BOTH]), None);
            assert_eq!(side.outcomes(), [(1, Outcome::Unknown)], "PROTOCOL N-6");
            assert_eq!(next(side), None);
            vec!["begins anew, ends with the link"]
        }
        7 => [None, Some(2)]
            .map(|made| {
                let mut side = with(returning_client(), Some(&[3, BOTH]), made);
                assert_eq!(side.outcomes(), [(1, Outcome::Unknown)], "PROTOCOL N-6");
                assert_eq!(next(side), Some(ZEROS));
                "begins anew, ends with the link; shows *in conflict* from now on"
            })
            .into(),
        _ => panic!("no play for row {row}"),
    }
}

#[test]
fn what_a_client_does() {
    let rows = table("| the client sent | the acceptance has | the client |");
    assert_eq!(rows.len(), 8, "PROTOCOL N-4");
    for (row, cells) in rows.iter().enumerate() {
        for done in does(row) {
            assert_eq!(done, cells[2], "PROTOCOL N-4, the client, row {row}");
        }
    }
}

// ── claims ──────────────────────────────────────────────────────────────────────────

/// One side that has been on a connection with a peer whose inbox is durable, or not: it has got three messages and dealt
/// with two, and sent three, of which the peer has two and has dealt with one.
fn away(service: bool, durable: bool) -> Side {
    let flags = if durable { BOTH | 2 } else { BOTH };
    let mut side;
    if service {
        side = Side::service(None);
        side.feed(&proposal(Some(&[flags])));
    } else {
        side = Side::client(Some(memory()));
        side.feed(&acceptance(Some(&[1, flags]), Some(&token(1))));
    }
    side.feed(&[acked(1), acked(2)].concat());
    for value in 0..3 {
        side.send(value);
    }
    side.take();
    side.feed(&frame(ACK, &[2, 1]));
    side.policy = Policy::Hold;
    side.feed(&acked(3));
    side.leave();
    side.again()
}

/// Whether this side takes the claim of its peer.
fn takes(service: bool, durable: bool, values: [u64; 4]) -> bool {
    let mut side = away(service, durable);
    let flags = if durable { 2 } else { 0 };
    let mut said;
    if service {
        let before = side.kept.as_ref().unwrap().record();
        said = returning(&token(1), &claim(values, &[]));
        said[0] |= flags;
        let (answer, _, side) = answers(side, Some(&said));
        let unchanged = side.kept.is_some_and(|kept| kept.record() == before);
        assert_eq!(unchanged, answer == "New StateConflict", "PROTOCOL N-5");
        return answer == "Resumed";
    }
    said = resumed(&claim(values, &[]));
    said[1] |= flags;
    side.feed(&acceptance(Some(&said), Some(&token(2))));
    let code = side.conn.cause().and_then(Cause::code);
    assert!(code.is_none_or(|code| code == Code::StateConflict), "PROTOCOL N-5");
    code.is_none()
}

#[test]
fn claims_fit_or_do_not() {
    let rows = table("| of the claim | must be | or |");
    // Of each row: whether the inbox must be durable, what just fits, and what just does not.
    let plays = [
        ("*processed*", false, [2, 3, 3, 1], [2, 3, 3, 0]),
        ("*received*", true, [2, 3, 2, 1], [2, 3, 1, 1]),
        ("*received*", false, [2, 3, 3, 3], [2, 3, 4, 3]),
        ("*settled*", false, [2, 3, 3, 3], [3, 3, 3, 3]),
        ("*sent*", false, [2, 3, 3, 3], [2, 2, 3, 3]),
    ];
    assert_eq!(rows.len(), plays.len(), "PROTOCOL N-5");
    for (cells, (of, durable, fits, unfit)) in rows.iter().zip(plays) {
        assert_eq!(cells[0], of);
        for service in [false, true] {
            assert!(takes(service, durable, fits), "PROTOCOL N-5: {cells:?}");
            assert!(!takes(service, durable, unfit), "PROTOCOL N-5: {cells:?}");
        }
    }
    // What is not durable may have lost what it had.
    assert!(takes(true, false, [2, 3, 1, 1]) && takes(false, false, [2, 3, 1, 1]));
}
