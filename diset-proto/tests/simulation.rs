//! Sessions of one service and several clients on a virtual clock: each rule of parts N and Q in a
//! world of its own, then some hundred worlds whose faults are drawn from a seed.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use diset_proto::sim::trial;
use diset_proto::sim::world::{App, Arrived, Delivery, Handling, Keeps, Sent, Setup, Side, Stores, What, Who, World};
use diset_proto::store::Unsure;
use diset_proto::{Code, Instant, Limits, MessageOf, NewReason, Outcome, Resumption, Schema, define_service};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Schema)]
struct Note {
    id: u8,
}

define_service! { Notes = "Test/Notes"; both: [Note] }

const REPORT: Delivery = Delivery::Acked(Unsure::Report);
const RESEND: Delivery = Delivery::Acked(Unsure::Resend);
const SERVICE: Who = Who::Service(0);
const CLIENT: Who = Who::Client(0);

/// Writes down what happens.
#[derive(Default)]
struct Log {
    /// Receiver, payload, marked as repeated.
    began: Vec<(Who, u8, bool)>,
    ended: Vec<u8>,
    outcomes: BTreeMap<u8, Vec<Outcome>>,
    names: BTreeMap<(u64, u64), u8>,
    opened: Vec<(Who, Resumption)>,
    /// What each link was told to be before anything else happened on it.
    told: Vec<(Who, u64)>,
    takes: Duration,
    /// These fail.
    poison: Vec<u8>,
}

impl App for Log {
    fn handle(&mut self, _: Instant, who: Who, message: &Arrived<'_>) -> Handling {
        if let Some(link) = message.link {
            assert!(
                self.told.contains(&(who, link)),
                "PROTOCOL N-6: a message before the session stands"
            );
        }
        let id = message.payload[0];
        self.began.push((who, id, message.maybe_repeated));
        let result = if self.poison.contains(&id) {
            Err(Code::HandlerFailed)
        } else {
            Ok(())
        };
        Handling::Run {
            takes: self.takes,
            result,
        }
    }

    fn happened(&mut self, _: Instant, who: Who, what: &What) {
        match what {
            What::Opened { link, resumption, .. } => {
                self.opened.push((who, resumption.unwrap()));
                self.told.push((who, *link));
            }
            What::Outcome {
                session,
                number,
                outcome,
            } => {
                let id = self.names[&(*session, *number)];
                self.outcomes.entry(id).or_default().push(*outcome);
            }
            What::Delivered { session, delivered } => {
                for (_, id) in self.names.range((*session, 0)..=(*session, delivered.processed)) {
                    self.outcomes.entry(*id).or_insert_with(|| vec![Outcome::Ok]);
                }
            }
            What::Handled { payload, .. } => self.ended.push(payload[0]),
            _ => {}
        }
    }
}

type Notebook = World<Log>;

fn world(setup: Setup) -> Notebook {
    let mut world = World::of::<Notes>(setup, Log::default());
    assert_eq!(world.client(1, 1), CLIENT);
    world.run_for(Duration::from_millis(100));
    world
}

fn send(world: &mut Notebook, who: Who, id: u8, delivery: Delivery) -> Sent {
    let sent = world.send(who, Note::NUMBER, &Note { id }, delivery).unwrap();
    if let Some(number) = sent.number {
        world.app.names.insert((sent.session, number), id);
    }
    sent
}

fn seconds(world: &mut Notebook, seconds: u64) {
    world.run_for(Duration::from_secs(seconds));
}

fn handled(world: &Notebook, by: Who) -> Vec<u8> {
    world
        .app
        .began
        .iter()
        .filter(|(who, ..)| *who == by)
        .map(|(_, id, _)| *id)
        .collect()
}

fn why(world: &Notebook, at: Who) -> Option<NewReason> {
    match world.app.opened.iter().rev().find(|(who, _)| *who == at) {
        Some((_, Resumption::New { why })) => Some(*why),
        _ => None,
    }
}

fn assert_all_ok(world: &Notebook, ids: impl Iterator<Item = u8>) {
    for id in ids {
        assert_eq!(world.app.outcomes.get(&id), Some(&vec![Outcome::Ok]), "message {id}");
    }
}

/// PROTOCOL N-4: the acceptance is lost after any number of its bytes; the client goes on with its
/// session by the token that it has.
#[test]
fn a_lost_acceptance_locks_nobody_out() {
    for bytes in 0..160 {
        let mut world = world(Setup::default());
        send(&mut world, CLIENT, 1, REPORT);
        send(&mut world, SERVICE, 2, REPORT);
        world.displace(0);
        world.run_for(Duration::ZERO);
        world.cut_after(0, Side::Service, bytes);
        seconds(&mut world, 30);
        send(&mut world, CLIENT, 3, REPORT);
        seconds(&mut world, 30);
        assert_eq!(why(&world, CLIENT), None, "after {bytes} bytes");
        assert_eq!(
            (handled(&world, SERVICE), handled(&world, CLIENT)),
            (vec![1, 3], vec![2])
        );
        assert_all_ok(&world, 1..=3);
    }
}

/// PROTOCOL N-4: a client that gives up, and says so, has not read the acceptance.
#[test]
fn a_client_that_gave_up_waiting_comes_back_to_its_session() {
    let mut world = world(Setup::default());
    world.displace(0);
    world.run_for(Duration::ZERO);
    world.stall(0, Side::Service, true);
    seconds(&mut world, 11);
    world.unstall();
    seconds(&mut world, 30);
    assert_eq!(why(&world, CLIENT), None);
    assert!(world.is_open(CLIENT));
}

/// PROTOCOL N-5, R-5: a copy of a client takes over; the other one is in conflict and leaves the session
/// alone. They fight, slower and slower.
#[test]
fn two_that_claim_one_session_neither_share_it_nor_spin() {
    let kept = Stores {
        keeps: Keeps::Sent,
        ..Stores::MEMORY
    };
    let mut world = world(Setup {
        client_stores: kept,
        ..Setup::default()
    });
    world.clone_client(0, None).unwrap();
    seconds(&mut world, 3600);
    let before = world.attempts(0) + world.attempts(1);
    let conflicts = world.app.opened.iter().filter(|(who, resumption)| {
        let why = NewReason::StateConflict;
        matches!(who, Who::Client(_)) && *resumption == Resumption::New { why }
    });
    assert!(conflicts.count() > 0);
    seconds(&mut world, 3600);
    let attempts = world.attempts(0) + world.attempts(1) - before;
    assert!((30..=150).contains(&attempts), "{attempts} attempts in an hour");
}

/// PROTOCOL N-1, D-1: a stolen token opens nothing for another principal, and disturbs nobody.
#[test]
fn a_stolen_token_is_worth_nothing_to_another_principal() {
    let mut world = world(Setup::default());
    send(&mut world, SERVICE, 1, REPORT);
    let thief = world.clone_client(0, Some(9)).unwrap();
    seconds(&mut world, 5);
    assert_eq!(why(&world, thief), Some(NewReason::Forgotten));
    assert_eq!((handled(&world, CLIENT), handled(&world, thief)), (vec![1], vec![]));
    assert_eq!(world.attempts(0), 1, "it stayed connected");
    world.cut(0);
    seconds(&mut world, 20);
    assert_eq!(why(&world, CLIENT), None);
}

/// PROTOCOL N-6, N-7, Q-3: the service forgets an absent client. What was transmitted is unknown, or comes
/// again with a mark; what was not moves into the new session.
#[test]
fn a_forgotten_session_begins_anew_and_says_what_became_of_what() {
    let retention = Duration::from_secs(5);
    let mut world = world(Setup {
        retention,
        ..Setup::default()
    });
    world.app.takes = Duration::from_secs(100);
    send(&mut world, CLIENT, 1, REPORT);
    send(&mut world, CLIENT, 2, RESEND);
    world.run_for(Duration::from_millis(10));
    // Both were transmitted, the handler of the first runs; then nothing is heard of the client.
    world.setup.delay = Duration::from_secs(8);
    world.cut(0);
    world.run_for(Duration::from_millis(1));
    send(&mut world, CLIENT, 3, REPORT);
    seconds(&mut world, 300);
    world.app.takes = Duration::ZERO;
    world.setup.delay = Duration::ZERO;
    seconds(&mut world, 300);
    assert!(world.app.opened.contains(&(
        CLIENT,
        Resumption::New {
            why: NewReason::Forgotten
        }
    )));
    assert_eq!(world.app.outcomes[&1], [Outcome::Unknown]);
    assert_all_ok(&world, 2..=3);
    let marks: Vec<_> = world
        .app
        .began
        .iter()
        .map(|(_, id, repeated)| (*id, *repeated))
        .collect();
    assert_eq!(marks, [(1, false), (2, true), (3, false)]);
}

/// PROTOCOL D-2, Q-8: the running handler of the older connection ends before the newer one's messages
/// are handled, and its outcome is told on the newer.
#[test]
fn a_session_has_one_lane_across_a_takeover() {
    let mut world = world(Setup::default());
    world.app.takes = Duration::from_millis(500);
    send(&mut world, CLIENT, 1, REPORT);
    world.run_for(Duration::from_millis(50));
    world.displace(0);
    send_when_open(&mut world, 2);
    world.run_for(Duration::from_millis(100));
    assert_eq!(
        (handled(&world, SERVICE), world.app.ended.as_slice()),
        (vec![1], &[][..])
    );
    seconds(&mut world, 3);
    assert_eq!(
        (handled(&world, SERVICE), world.app.ended.as_slice()),
        (vec![1, 2], &[1, 2][..])
    );
    assert_all_ok(&world, 1..=2);
}

fn send_when_open(world: &mut Notebook, id: u8) {
    while !world.is_open(CLIENT) {
        world.run_for(Duration::from_millis(1));
    }
    send(world, CLIENT, id, REPORT);
}

/// PROTOCOL Q-5: a message whose handler fails is not sent again, and those behind it are handled.
#[test]
fn poison_is_handled_once() {
    let mut world = world(Setup::default());
    world.app.poison = vec![2, 4];
    for id in 1..=5 {
        send(&mut world, CLIENT, id, RESEND);
    }
    seconds(&mut world, 60);
    assert_eq!(handled(&world, SERVICE), [1, 2, 3, 4, 5]);
    for id in 1..=5 {
        let failed = Outcome::Failed(Code::HandlerFailed);
        let expected = if id % 2 == 0 { failed } else { Outcome::Ok };
        assert_eq!(world.app.outcomes[&id], [expected]);
    }
}

/// PROTOCOL Q-3: messages that were dropped before they left are no gap that anybody waits for.
#[test]
fn what_was_skipped_never_comes() {
    let mut world = world(Setup::default());
    world.cut(0);
    world.run_for(Duration::from_millis(5));
    for id in 1..=6 {
        send(&mut world, SERVICE, id, REPORT);
    }
    for number in 1..=3 {
        let (_, session) = world.session(SERVICE).unwrap();
        assert_eq!(session.skip_oldest(), Some(number));
    }
    seconds(&mut world, 30);
    assert_eq!(handled(&world, CLIENT), [4, 5, 6]);
    assert_all_ok(&world, 4..=6);
}

/// PROTOCOL G-2, Q-2: what was sent before a go-away has its outcome before the connection ends.
#[test]
fn a_go_away_drains_outcomes() {
    let mut world = world(Setup::default());
    world.app.takes = Duration::from_millis(50);
    for id in 1..=10 {
        send(&mut world, CLIENT, id, REPORT);
    }
    world.run_for(Duration::from_millis(20));
    world.go_away(CLIENT, Duration::from_secs(30));
    while world.attempts(0) == 1 {
        world.run_for(Duration::from_millis(1));
    }
    assert_all_ok(&world, 1..=10);
}

/// PROTOCOL, L-5: many more than are acknowledged at a time, both ways, with little credit.
#[test]
fn a_long_stream_arrives_in_order() {
    let limits = Limits::SERVER.with_max_frame(1024).with_credit(1024, 5);
    let mut world = world(Setup {
        client: limits,
        service: limits,
        ..Setup::default()
    });
    for id in 0..200 {
        for who in [CLIENT, SERVICE] {
            while world.send(who, Note::NUMBER, &Note { id }, REPORT).is_err() {
                world.run_for(Duration::from_millis(5));
            }
        }
        if id % 50 == 49 {
            world.cut(0);
        }
    }
    seconds(&mut world, 60);
    let all: Vec<u8> = (0..200).collect();
    assert_eq!((handled(&world, SERVICE), handled(&world, CLIENT)), (all.clone(), all));
}

/// PROTOCOL Q-7: a plain message waits for the acked ones before it.
#[test]
fn plain_messages_do_not_pass_acked_ones() {
    let limits = Limits::SERVER.with_credit(64 * 1024, 2);
    let mut world = world(Setup {
        service: limits,
        ..Setup::default()
    });
    for id in 1..=4 {
        send(&mut world, CLIENT, id, REPORT);
    }
    assert!(
        world
            .send(CLIENT, Note::NUMBER, &Note { id: 5 }, Delivery::Plain)
            .is_err(),
        "two wait for credit"
    );
    seconds(&mut world, 1);
    send(&mut world, CLIENT, 6, Delivery::Plain);
    seconds(&mut world, 1);
    assert_eq!(handled(&world, SERVICE), [1, 2, 3, 4, 6]);
}

/// PROTOCOL: a service whose disk keeps late is killed. What it told to have received is handled,
/// and nothing is forgotten; what may be a repetition is marked.
#[test]
fn a_kill_loses_nothing_that_was_told_to_be_received() {
    let late = Stores {
        keeps: Keeps::All,
        late: true,
        ..Stores::MEMORY
    };
    for steps in 0..30 {
        let mut world = world(Setup {
            service_stores: late,
            ..Setup::default()
        });
        world.app.takes = Duration::from_millis(7);
        for id in 1..=10 {
            send(&mut world, CLIENT, id, REPORT);
            world.run_for(Duration::from_millis(3));
            if id % 4 == 0 {
                world.sync(SERVICE);
            }
        }
        world.run_for(Duration::from_millis(steps * 3));
        let (_, session) = world.session(CLIENT).unwrap();
        let told = session.delivered().received;
        assert!(told >= 8 || steps < 3, "the last sync is told of: {told}");
        world.kill_service(true, false);
        for _ in 0..30 {
            world.sync(SERVICE);
            seconds(&mut world, 1);
        }
        assert_all_ok(&world, 1..=10);
        let mut seen = Vec::new();
        for (_, id, repeated) in &world.app.began {
            assert!(!seen.contains(id) || *repeated, "{id} comes again without a mark");
            seen.push(*id);
        }
    }
}

/// PROTOCOL N-7: a service that keeps no more sessions says so; the client works without.
#[test]
fn a_service_may_keep_few_sessions() {
    let mut world = world(Setup {
        sessions: 1,
        ..Setup::default()
    });
    let second = world.client(2, 2);
    world.run_for(Duration::from_millis(100));
    assert_eq!(why(&world, second), Some(NewReason::NoRoom));
    send(&mut world, second, 1, REPORT);
    seconds(&mut world, 1);
    assert_all_ok(&world, 1..=1);
}

/// PROTOCOL N-4: on a transport that proves nothing, an identity alone opens nothing.
#[test]
fn an_identity_opens_nothing_by_itself() {
    let mut world = world(Setup {
        proven: false,
        ..Setup::default()
    });
    // With a frame of its own the client has shown that it knows the token.
    send(&mut world, CLIENT, 7, REPORT);
    seconds(&mut world, 1);
    world.cut(0);
    world.run_for(Duration::from_millis(1));
    send(&mut world, SERVICE, 1, REPORT);
    world.kill_client(0, false);
    seconds(&mut world, 30);
    assert_eq!(why(&world, CLIENT), Some(NewReason::StateConflict));
    assert_eq!(handled(&world, CLIENT), [0_u8; 0], "it was for another");
}

/// PROTOCOL part N and Q, all of it: no seed breaks a rule. `./ci.sh sim` plays many more.
#[test]
fn seeds_break_no_rule() {
    for seed in 0..200 {
        let report = trial::run(seed);
        assert_eq!(
            report.broken, None,
            "SEED={seed} cargo run --profile checked -p diset-proto --features sim --example simulate"
        );
    }
}

/// The same seed is the same run.
#[test]
fn a_seed_replays() {
    let (one, other) = (traced(7), traced(7));
    assert!(one.len() > 100 && one == other);
}

fn traced(seed: u64) -> Vec<String> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let sink = Rc::clone(&lines);
    trial::run_traced(seed, move |line| sink.borrow_mut().push(line));
    lines.take()
}
