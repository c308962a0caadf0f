//! Connections that may carry few records: each ends in time, and nothing is lost between them.

use core::time::Duration;

use diset_embedded::tls::{PinnedKey, TlsError};
use diset_embedded::{Cause, Code, Limits, Resumption, Retry, SendError};
use diset_std::{Conn, Service};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::host::{Host, Saw, server_tls};
use super::lines::Ends;
use super::{Made, Way, with_agent};
use crate::agents::{Agent, Demo, Note, Ping, SOON, Seen};
use crate::impostor::certificates::World;

/// What a client sends and what it is answered with.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    max_records: u32,
    says_worn: bool,
    limits: Limits,
    /// Each of so many rounds is a plain ping and an acked one.
    rounds: usize,
    /// Plain notes for each plain ping, of so many bytes.
    notes: i64,
    length: usize,
}

/// Answers each plain ping with plain notes, and each acked ping with an acked note.
fn answering(log: mpsc::UnboundedSender<Saw>, traffic: Traffic) -> Service<Demo> {
    Service::new(Demo).on(move |conn: Conn<Demo>, ping: Ping| {
        let received = conn.received();
        let _ = log.send(Saw::Ping {
            id: ping.id,
            acked: received.is_some(),
            repeated: received.is_some_and(|received| received.maybe_repeated),
        });
        let log = log.clone();
        async move {
            if received.is_some() {
                let text = ping.id.to_string();
                conn.send_acked(&Note { text }).await?;
                return Ok(());
            }
            for part in 0..traffic.notes {
                let text = format!("{:width$}", ping.id * traffic.notes + part, width = traffic.length);
                // To one that is sent away nothing more is sent.
                if conn.send(&Note { text }).await.is_ok() {
                    let _ = log.send(Saw::Note(ping.id * traffic.notes + part));
                }
            }
            Ok(())
        }
    })
}

/// What a client has sent and had, over all its connections.
#[derive(Debug, Default)]
struct Had {
    plain_sent: Vec<i64>,
    acked_sent: Vec<i64>,
    plain: Vec<i64>,
    acked: Vec<i64>,
    /// The last number, and how far the service has dealt with them.
    last: u64,
    done: u64,
    connections: u32,
    /// So often the service has said go-away.
    told: u32,
}

impl Had {
    /// Sends what comes next; false when it is not taken now.
    fn send(&mut self, agent: &mut dyn Agent<TlsError>) -> bool {
        let (plain, acked) = (self.plain_sent.len(), self.acked_sent.len());
        if acked < plain {
            let id = self.plain_sent[acked];
            match agent.acked(id) {
                Ok(number) => {
                    self.acked_sent.push(id);
                    self.last = number;
                    true
                }
                Err(SendError::Full(_)) => false,
                Err(error) => panic!("{error}"),
            }
        } else {
            let id = i64::try_from(plain).expect("few");
            match agent.ping(id) {
                Ok(()) => {
                    self.plain_sent.push(id);
                    true
                }
                Err(SendError::Full(_) | SendError::NotOpen | SendError::GoingAway) => false,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn take(&mut self, seen: Seen, agent: &mut dyn Agent<TlsError>, host: &Host) {
        match seen {
            Seen::Note(text, received) => {
                let to = if received.is_some() {
                    &mut self.acked
                } else {
                    &mut self.plain
                };
                assert!(received.is_none_or(|received| !received.maybe_repeated), "PROTOCOL Q-1");
                to.push(text.trim().parse().expect("a number"));
            }
            Seen::Delivered(processed) => self.done = processed,
            Seen::GoingAway => self.told += 1,
            Seen::Dropped(dropped) => {
                match dropped.cause() {
                    Cause::WentAway(notice) => assert_eq!(notice.code(), Code::RecordLimit),
                    other => panic!("{other}, connection {}, {self:?}", self.connections),
                }
                assert_eq!(dropped.unconfirmed(), 0, "PROTOCOL G-4: {dropped:?}");
                let soon = agent.now().after(Duration::from_millis(100));
                assert!(
                    matches!(dropped.retry(), Retry::At(when) if when <= soon),
                    "PROTOCOL G-6"
                );
                agent.dial(host.address).expect("it listens");
            }
            Seen::Connected(_) => {
                let resumed = matches!(agent.resumption(), Some(Resumption::Resumed { .. }));
                assert_eq!(resumed, self.connections > 0, "PROTOCOL N-6");
                self.connections += 1;
            }
            Seen::Room => {}
            other => panic!("{other:?}, {self:?}"),
        }
    }
}

/// Works until all of it is done.
fn work(agent: &mut dyn Agent<TlsError>, host: &Host, rounds: usize) -> Had {
    let mut had = Had::default();
    agent.dial(host.address).expect("it listens");
    while had.acked.len() < rounds || had.done < had.last {
        let more = had.acked_sent.len() < rounds && had.send(agent);
        // What was taken leaves at once, in a record of its own; when nothing is taken something must come.
        match agent.event(if more { Duration::ZERO } else { SOON }) {
            Seen::Nothing if more => {}
            seen => had.take(seen, agent, host),
        }
    }
    agent.disconnect("done");
    while !matches!(agent.next(SOON), Seen::Dropped(_)) {}
    had
}

fn check(traffic: Traffic, had: &Had, saw: &[Saw], ends: &Ends) {
    let pings = |wanted: bool| -> Vec<i64> {
        let id = |saw: &Saw| match *saw {
            Saw::Ping { id, acked, repeated } if acked == wanted => {
                assert!(!repeated, "PROTOCOL Q-1");
                Some(id)
            }
            _ => None,
        };
        saw.iter().filter_map(id).collect()
    };
    let notes = saw.iter().filter_map(|saw| match saw {
        Saw::Note(id) => Some(*id),
        _ => None,
    });
    let all = Vec::from_iter(0..i64::try_from(traffic.rounds).expect("few"));
    assert_eq!((&had.plain_sent, &had.acked_sent), (&all, &all));
    assert_eq!(pings(true), all, "PROTOCOL Q-1: each once, in order");
    assert_eq!(pings(false), all, "nothing is lost by an end in order");
    assert_eq!(had.acked, all, "PROTOCOL Q-1: each once, in order");
    assert_eq!(had.plain, Vec::from_iter(notes), "nothing is lost by an end in order");
    let most = traffic.max_records;
    let mut reached = 0;
    for (number, end) in ends.all().iter().enumerate() {
        let (went, came) = end.records();
        assert_eq!(end.fault, None, "connection {number}");
        assert!(
            went.max(came) <= most,
            "PROTOCOL G-6: {went} went, {came} came, connection {number}"
        );
        reached = reached.max(went.max(came));
    }
    assert!(had.connections > 2, "{}", had.connections);
    if !traffic.says_worn {
        assert_eq!(had.told, had.connections - 1, "PROTOCOL G-6: the service, each time");
    }
    println!(
        "{} connections of {most} records, {} told by the service, up to {reached}",
        had.connections, had.told
    );
}

fn play(traffic: Traffic, way: Way) {
    let world = World::new();
    let runtime = Runtime::new().expect("a runtime");
    let tls = server_tls(&world.service, &world.authority, true);
    let mut host = Host::start(&runtime, 0, tls, |log| answering(log, traffic));
    let pins = [world.service.pin()];
    let rule = PinnedKey::new(&pins);
    let made = Made {
        limits: traffic.limits,
        max_records: traffic.max_records,
        says_worn: traffic.says_worn,
        ..Made::new(&world, &rule)
    };
    with_agent(&runtime, way, &made, |agent, ends| {
        let had = work(agent, &host, traffic.rounds);
        check(traffic, &had, &host.saw(), ends);
    });
    runtime.block_on(host.stop()).expect("it ends");
}

/// By either client, with so many records, counted by both sides or by the service alone.
fn play_all(plays: &[(Way, u32, bool)], limits: Limits, rounds: usize, notes: i64, length: usize) {
    for &(way, max_records, says_worn) in plays {
        let traffic = Traffic {
            max_records,
            says_worn,
            limits,
            rounds,
            notes,
            length,
        };
        play(traffic, way);
    }
}

// PROTOCOL G-6
#[test]
fn a_client_that_sends_wears_connections_out_and_nothing_is_lost() {
    let plays = [
        (Way::Blocking, 64, true),
        (Way::Async, 200, true),
        (Way::Blocking, 400, true),
    ];
    play_all(&plays, Limits::CHIP, 700, 0, 0);
}

// PROTOCOL G-6
#[test]
fn a_service_that_sends_wears_them_out_and_nothing_is_lost() {
    let plays = [
        (Way::Async, 64, true),
        (Way::Blocking, 400, true),
        (Way::Blocking, 64, false),
        (Way::Async, 200, false),
    ];
    play_all(&plays, Limits::CHIP.with_credit(4096, 64), 200, 20, 300);
}

// PROTOCOL G-6
#[test]
fn both_wear_them_out_and_nothing_is_lost() {
    let plays = [(Way::Async, 64, true), (Way::Blocking, 200, true)];
    play_all(&plays, Limits::CHIP, 700, 4, 10);
}
