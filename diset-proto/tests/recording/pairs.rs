//! Pairs without sessions: both sides recorded, whatever happens to them, and replayed.

use core::time::Duration;

use diset_proto::postcard_schema::schema::NamedType;
use diset_proto::replay::{Replay, ReplayError, Replayed};
use diset_proto::sim::{Decision, Pair, Setup};
use diset_proto::{
    Catalog, Code, Direction, EntryKind, Limits, MessageDef, MessageOf, MessageSet, Misuse, Notice, Phase, Schema,
    ServiceDef, define_service,
};

use super::support::{Log, Meter, Order, Random, Reading};

/// Starts a pair and records both sides.
fn recorded(setup: Setup) -> (Pair, Log, Log) {
    let mut pair = setup.start();
    let (client, service) = (Log::default(), Log::default());
    pair.client.conn.tx.record(Box::new(client.clone())).unwrap();
    pair.service.conn.tx.record(Box::new(service.clone())).unwrap();
    (pair, client, service)
}

fn replayed(log: &Log) -> Replayed {
    let log = log.bytes();
    Replay::of::<Meter>(&log)
        .and_then(Replay::run)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn reading(random: &mut Random) -> Reading {
    Reading {
        value: random.below(1 << 32) as u32,
        text: "x".repeat(random.below(300) as usize),
    }
}

/// One run: messages both ways, time, and one of several ends.
fn run(seed: u64) {
    let mut random = Random::new(seed);
    let limits = [Limits::SERVER, Limits::CHIP][random.below(2) as usize];
    let setup = Pair::of::<Meter, Meter>()
        .limits(limits, Limits::SERVER)
        .output(2048)
        .random_chunks(seed);
    let (mut pair, client, service) = recorded(setup.delay(Duration::from_millis(random.below(50))));
    for _ in 0..random.below(60) {
        let number = <Reading as MessageOf<Meter>>::NUMBER;
        let message = reading(&mut random);
        match random.below(8) {
            0..3 => drop(pair.client.conn.send(number, &message)),
            3..6 => drop(pair.service.conn.send(number, &message)),
            6 => pair.run_for(Duration::from_secs(random.below(70))),
            _ => pair.settle(),
        }
        pair.turn();
    }
    let notice = Notice::new(Code::Busy).with_text("enough");
    let now = pair.now;
    match random.below(6) {
        0 => pair.cut(),
        1 => drop(pair.client.conn.go_away(now, notice, Duration::from_secs(2))),
        2 => drop(pair.service.conn.go_away(now, notice, Duration::from_secs(2))),
        3 => pair.client.conn.disconnect(notice),
        4 => pair.to_client.inject(now, &[3, 0xbf, 1, 2]),
        _ => pair.to_service.inject(now, &[200, 200, 200, 200, 200]),
    }
    pair.run_for(Duration::from_secs(100));
    for (log, peer) in [(client, &pair.client), (service, &pair.service)] {
        let replayed = replayed(&log);
        assert_eq!(replayed.phase, peer.conn.phase(), "seed {seed}");
        assert_eq!(replayed.cause.as_ref(), peer.conn.cause(), "seed {seed}");
    }
    let log = pair.client.conn.is_recorded();
    assert!(log);
}

#[test]
fn pairs_replay_bit_for_bit() {
    for seed in 0..300 {
        run(seed);
    }
}

#[test]
fn what_leaves_in_a_replay_is_what_left() {
    let (mut pair, client, _) = recorded(Pair::of::<Meter, Meter>());
    pair.settle();
    let order = Order { what: "stop".into() };
    pair.service
        .conn
        .send(<Order as MessageOf<Meter>>::NUMBER, &order)
        .unwrap();
    pair.settle();
    assert_eq!(replayed(&client).bytes, pair.to_service.carried() as u64);
}

#[test]
fn refusals_and_forbidden_messages_replay() {
    let forbidden: MessageSet = core::iter::once(1).collect();
    let (mut pair, client, service) =
        recorded(Pair::of::<Meter, Meter>().admit(move |_| Decision::AdmitWithout(forbidden)));
    pair.settle();
    assert_eq!(pair.client.conn.phase(), Phase::Open);
    replayed(&client);
    replayed(&service);
    let (mut pair, client, service) =
        recorded(Pair::of::<Meter, Meter>().admit(|_| Decision::Refuse(Notice::new(Code::Busy).with_text("no"))));
    pair.run_for(Duration::from_secs(10));
    assert_eq!(replayed(&client).cause.as_ref(), pair.client.conn.cause());
    assert_eq!(replayed(&service).cause.as_ref(), pair.service.conn.cause());
}

mod older {
    //! An older form of the same service.
    use super::{Reading, define_service};

    define_service! { pub Older = "Test/Meter"; both: [Reading] }
}

fn with_older(known: Option<&Catalog>) {
    let setup = Pair::of::<older::Older, Meter>();
    let setup = match known {
        Some(catalog) => setup.known(catalog),
        None => setup,
    };
    let (mut pair, client, service) = recorded(setup);
    pair.settle();
    pair.client.conn.send(0, &reading(&mut Random::new(7))).unwrap();
    pair.settle();
    assert_eq!(pair.service.messages().count(), 1);
    replayed(&service);
    let log = client.bytes();
    Replay::of::<older::Older>(&log).and_then(Replay::run).unwrap();
    let error = Replay::of::<Meter>(&log).unwrap_err();
    assert_eq!(error, ReplayError::OtherCatalog(older::Older::CATALOG.digest()));
}

#[test]
fn older_catalogs_replay_known_or_not() {
    with_older(Some(older::Older::CATALOG));
    with_older(None);
}

#[test]
fn catalogs_that_are_told_replay() {
    let (mut pair, client, service) = recorded(Pair::adopting::<Meter>());
    pair.settle();
    let learned = pair.client.conn.learned().unwrap().clone();
    let message = learned.messages().iter().find(|message| message.name() == "Reading");
    let payload = message
        .unwrap()
        .encode(serde_json::json!({"value": 7, "text": "x"}))
        .unwrap();
    pair.client.conn.tx.send_learned(message.unwrap(), &payload).unwrap();
    pair.settle();
    assert_eq!(pair.service.messages().count(), 1);
    replayed(&service);
    let log = client.bytes();
    Replay::adopting(&log).and_then(Replay::run).unwrap();
}

/// A service with a call and a message.
struct Adder;
impl ServiceDef for Adder {
    const CATALOG: &'static Catalog = &Catalog::new(
        "Test/Adder",
        &[
            MessageDef::asked::<Reading, Order>(EntryKind::Call, "Ask", Direction::FromClient),
            MessageDef::new::<Reading>("Reading", Direction::Both),
        ],
    );
    const STRUCTURES: &'static [&'static NamedType] = &[Reading::SCHEMA, Reading::SCHEMA];
    const ANSWERS: &'static [&'static NamedType] = &[Order::SCHEMA];
}

#[test]
fn a_replay_knows_the_kinds_of_what_was_told() {
    let (mut pair, client, service) = recorded(Pair::adopting::<Adder>());
    pair.settle();
    let shown = pair.client.conn.learned().unwrap().messages()[0].to_string();
    assert!(shown.starts_with("call Ask { "), "PROTOCOL S-7: {shown}");
    let log = client.bytes();
    let mut replay = Replay::adopting(&log).unwrap();
    assert!(replay.learned().is_none());
    while replay.step().unwrap().is_some() {}
    assert_eq!(replay.learned(), pair.client.conn.learned().map(AsRef::as_ref));
    assert_eq!([replay.name_of(0), replay.name_of(1)], [Some("Ask"), Some("Reading")]);

    let log = service.bytes();
    let replay = Replay::of::<Adder>(&log).unwrap();
    assert!(replay.learned().is_none());
    assert_eq!([replay.name_of(0), replay.name_of(2)], [Some("Ask"), None]);
}

#[test]
fn a_log_begins_with_the_connection() {
    let mut pair = Pair::of::<Meter, Meter>().start();
    pair.settle();
    let late = pair.client.conn.tx.record(Box::new(Log::default()));
    assert_eq!(late, Err(Misuse::WrongPhase));
    assert!(!pair.client.conn.is_recorded());
}
