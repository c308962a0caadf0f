//! Sessions, exhaustively: every interleaving of sending, delivering, handling, acknowledging,
//! breaking, timing out and coming back, frame by frame, each state once. Handled in order, never twice,
//! exactly one outcome for each, nothing stuck, and each side knows how its session stands before any
//! message (PROTOCOL N-4, N-6, N-9, Q-1, Q-2, Q-5, Q-8, D-2).
//!
//! `given` is what may happen, `world` what can happen next, `peers` what the two applications do, `oracle` what must hold,
//! `search` how all is visited. The small runs are for every `cargo test`; `./ci.sh explore` does the large
//! ones, in release, and prints how many states there were.

mod end;
mod given;
mod link;
mod oracle;
mod peers;
mod search;
mod shared;
mod world;

use diset_proto::store::Unsure;

use self::given::{Bounds, Broken};
use self::search::{Found, explore};
use self::world::World;

/// Nothing happens; each run says what does. All interleavings, unless it says otherwise.
const FREE: Bounds = Bounds {
    messages: [0, 0],
    plain: [0, 0],
    cuts: 0,
    time_outs: 0,
    failures: [0, 0],
    retries: [0, 0],
    drops: [0, 0],
    expiries: [0, 0],
    go_aways: [0, 0],
    forgets: 0,
    durable: [false, false],
    unsure: Unsure::Report,
    at_once: false,
    lazy: false,
    brisk: false,
    overtaking: true,
    reduced: true,
    broken: None,
};

/// Without some that hardly matter (docs/DELIVERY.md lists which runs do without), for more messages and cuts.
const BRISK: Bounds = Bounds { brisk: true, ..FREE };

/// The service sees the end of a connection before the next one comes.
const TAME: Bounds = Bounds {
    overtaking: false,
    ..FREE
};

/// Visits all, and says how many there were.
fn visit(bounds: Bounds) -> Found {
    let began = std::time::Instant::now();
    match explore(&World::new(bounds)) {
        Ok(found) => {
            let Found {
                states,
                transitions,
                ref ends,
                depth,
            } = found;
            let ends = ends.len();
            let seconds = began.elapsed().as_secs_f32();
            println!(
                "{bounds}: {states} states, {transitions} transitions, {ends} ends, longest way {depth}, {seconds:.1} s"
            );
            assert!(ends > 0, "{bounds}: no way comes to an end");
            found
        }
        Err(wrong) => panic!("{bounds}: {wrong}"),
    }
}

fn with(messages: [usize; 2], cuts: u8, others: Bounds) -> Bounds {
    Bounds {
        messages,
        cuts,
        ..others
    }
}

#[test]
fn messages_survive_a_cut() {
    visit(with([1, 1], 1, FREE));
    visit(with([1, 1], 1, Bounds { lazy: true, ..FREE }));
    visit(with([2, 2], 0, FREE));
    visit(with([2, 0], 2, BRISK));
    visit(with([0, 2], 2, BRISK));
    visit(with([1, 1], 2, BRISK));
}

#[test]
fn a_handler_that_fails_is_told_of_once() {
    for failures in [[0, 1], [1, 0]] {
        visit(with([2, 0], 1, Bounds { failures, ..FREE }));
        visit(with([0, 2], 1, Bounds { failures, ..FREE }));
    }
}

#[test]
fn a_go_away_loses_nothing() {
    for go_aways in [[0, 1], [1, 0]] {
        visit(with([1, 1], 0, Bounds { go_aways, ..FREE }));
        visit(with([1, 1], 1, Bounds { go_aways, ..BRISK }));
    }
}

#[test]
fn what_a_durable_inbox_has_need_not_come_again() {
    for durable in [[true, false], [false, true], [true, true]] {
        visit(with([2, 1], 1, Bounds { durable, ..BRISK }));
    }
}

#[test]
fn what_nobody_knows_is_reported_or_sent_again() {
    for unsure in [Unsure::Report, Unsure::Resend] {
        visit(with(
            [1, 0],
            2,
            Bounds {
                forgets: 1,
                unsure,
                ..FREE
            },
        ));
        visit(with([0, 2], 2, Bounds { unsure, ..BRISK }));
    }
}

#[test]
fn a_side_that_hears_nothing_loses_nothing() {
    let time_outs = 1;
    visit(with([1, 1], 0, Bounds { time_outs, ..FREE }));
    visit(with([1, 0], 1, Bounds { time_outs, ..BRISK }));
    visit(with([0, 1], 1, Bounds { time_outs, ..BRISK }));
}

/// Handlers of one side, with two messages for them, and of each kind of inbox.
fn handlers(other: impl Fn([u8; 2], Bounds) -> Bounds) {
    for durable in [false, true] {
        let durable = [durable; 2];
        let bounds = Bounds {
            at_once: true,
            durable,
            ..FREE
        };
        visit(with([2, 0], 1, other([0, 1], bounds)));
        visit(with([0, 2], 1, other([1, 0], bounds)));
    }
}

#[test]
fn a_message_that_is_asked_for_again_comes_again_and_nothing_before_it() {
    handlers(|retries, bounds| Bounds { retries, ..bounds });
    let retries = [1, 1];
    visit(with([1, 1], 1, Bounds { retries, ..BRISK }));
}

#[test]
fn a_handler_that_says_nothing_has_failed() {
    handlers(|drops, bounds| Bounds { drops, ..bounds });
    handlers(|expiries, bounds| Bounds { expiries, ..bounds });
}

/// In the order in which they were sent, and none is lost without need.
#[test]
fn plain_messages_of_a_peer_that_goes_are_handled() {
    let plain = [1, 0];
    visit(with([2, 0], 1, Bounds { plain, ..FREE }));
    let go_aways = [1, 0];
    let bounds = Bounds {
        plain,
        go_aways,
        ..FREE
    };
    visit(with([1, 0], 0, bounds));
    let plain = [2, 0];
    let (failures, expiries) = ([0, 1], [0, 1]);
    let durable = [true; 2];
    visit(with(
        [1, 0],
        1,
        Bounds {
            plain,
            failures,
            durable,
            ..FREE
        },
    ));
    visit(with(
        [1, 0],
        1,
        Bounds {
            plain,
            expiries,
            ..FREE
        },
    ));
    let plain = [0, 2];
    visit(with([0, 1], 1, Bounds { plain, ..FREE }));
}

/// Runs are left out because they end as others do: so with them nothing else can be the end.
fn compare(bounds: Bounds) {
    let some = visit(bounds);
    let all = visit(Bounds {
        reduced: false,
        ..bounds
    });
    assert!(some.states < all.states, "{bounds}: nothing is left out");
    assert_eq!(some.ends, all.ends, "{bounds}: other ends");
}

#[test]
fn all_ends_are_reached() {
    compare(with([1, 1], 1, BRISK));
    compare(with([1, 1], 1, Bounds { brisk: true, ..TAME }));
    compare(with([1, 1], 0, FREE));
    let others = Bounds {
        time_outs: 1,
        go_aways: [1, 0],
        ..BRISK
    };
    compare(with([1, 0], 0, others));
    let others = Bounds {
        failures: [1, 0],
        time_outs: 1,
        ..BRISK
    };
    compare(with([0, 1], 0, others));
    let others = Bounds {
        retries: [1, 1],
        drops: [0, 1],
        expiries: [1, 0],
        at_once: true,
        ..FREE
    };
    compare(with([1, 1], 0, others));
    compare(with([1, 0], 1, others));
    compare(with([0, 1], 1, others));
}

#[test]
#[ignore = "takes a minute: ./ci.sh explore"]
fn all_ends_are_reached_by_any_interleaving() {
    compare(with([1, 1], 1, FREE));
    compare(with([1, 1], 1, TAME));
    let time_outs = 1;
    compare(with([1, 1], 0, Bounds { time_outs, ..FREE }));
    let plain = [1, 1];
    compare(with([1, 0], 1, Bounds { plain, ..FREE }));
    compare(with([0, 1], 1, Bounds { plain, ..FREE }));
    let (retries, expiries) = ([1, 1], [1, 1]);
    let others = Bounds {
        retries,
        expiries,
        ..FREE
    };
    compare(with([1, 1], 1, others));
}

/// Applications that break a rule are found, so the engine would be.
#[test]
fn what_is_broken_is_found() {
    let bounds = Bounds {
        durable: [false, true],
        expiries: [0, 1],
        ..with([2, 0], 1, BRISK)
    };
    for (broken, expected) in [
        (Broken::LeavesWorkBehind, "never gets an outcome"),
        (Broken::ExpiresWell, "is told to be 'dealt with', it is Some(Failed"),
        (Broken::ForgetsTheSession, "the client is told New"),
        (Broken::SettlesTooEarly, "is told to be 'dealt with', it is "),
    ] {
        let broken = Bounds {
            broken: Some(broken),
            ..bounds
        };
        let wrong = explore(&World::new(broken)).expect_err("it breaks a rule");
        println!("{wrong}");
        assert!(wrong.contains(expected), "{wrong}");
        assert!(wrong.contains("client connects"), "the way there is shown: {wrong}");
    }
}

#[test]
#[ignore = "takes a minute: ./ci.sh explore"]
fn all_with_three_messages() {
    visit(with([3, 3], 0, FREE));
    visit(with([3, 0], 2, FREE));
    visit(with([0, 3], 2, FREE));
    visit(with([3, 3], 2, Bounds { brisk: true, ..TAME }));
    visit(with([3, 3], 1, BRISK));
}

#[test]
#[ignore = "takes a minute: ./ci.sh explore"]
fn all_with_time_outs() {
    let time_outs = 1;
    visit(with([1, 1], 1, Bounds { time_outs, ..FREE }));
    visit(with([2, 1], 0, Bounds { time_outs, ..FREE }));
    visit(with([1, 2], 0, Bounds { time_outs, ..FREE }));
    visit(with([2, 1], 1, Bounds { time_outs, ..BRISK }));
    visit(with([1, 2], 1, Bounds { time_outs, ..BRISK }));
    let time_outs = 2;
    visit(with([1, 1], 1, Bounds { time_outs, ..BRISK }));
    visit(with([2, 1], 0, Bounds { time_outs, ..BRISK }));
    visit(with([1, 2], 0, Bounds { time_outs, ..BRISK }));
}

#[test]
#[ignore = "takes a minute: ./ci.sh explore"]
fn all_with_two_messages() {
    visit(with([1, 1], 2, Bounds { lazy: true, ..FREE }));
    visit(with([2, 2], 1, FREE));
    visit(with([2, 2], 2, BRISK));
    visit(with([2, 2], 2, TAME));
    let failures = [1, 1];
    visit(with([2, 2], 1, Bounds { failures, ..BRISK }));
    let go_aways = [1, 1];
    visit(with(
        [1, 1],
        2,
        Bounds {
            go_aways,
            failures,
            ..BRISK
        },
    ));
    for durable in [[true, false], [false, true], [true, true]] {
        visit(with(
            [2, 2],
            2,
            Bounds {
                durable,
                brisk: true,
                ..TAME
            },
        ));
        visit(with(
            [1, 1],
            2,
            Bounds {
                durable,
                failures,
                ..BRISK
            },
        ));
    }
    for unsure in [Unsure::Report, Unsure::Resend] {
        visit(with(
            [3, 0],
            2,
            Bounds {
                forgets: 1,
                unsure,
                ..BRISK
            },
        ));
        visit(with([1, 2], 2, Bounds { unsure, ..BRISK }));
    }
}

#[test]
#[ignore = "takes a minute: ./ci.sh explore"]
fn all_with_handlers_that_come_to_other_ends() {
    let each = [1, 1];
    let of_handlers = |bounds| {
        [
            Bounds {
                retries: each,
                ..bounds
            },
            Bounds { drops: each, ..bounds },
            Bounds {
                expiries: each,
                ..bounds
            },
        ]
    };
    for bounds in of_handlers(FREE) {
        visit(with([2, 1], 1, bounds));
        visit(with([1, 2], 1, bounds));
    }
    for durable in [[false, false], [true, true]] {
        for bounds in of_handlers(Bounds { durable, ..BRISK }) {
            visit(with([1, 1], 2, bounds));
        }
    }
    let others = Bounds {
        retries: each,
        drops: each,
        expiries: each,
        time_outs: 1,
        ..BRISK
    };
    visit(with([1, 1], 1, others));
}

#[test]
#[ignore = "takes a minute: ./ci.sh explore"]
fn all_with_plain_messages() {
    visit(with([2, 0], 2, Bounds { plain: [2, 0], ..FREE }));
    visit(with([0, 2], 2, Bounds { plain: [0, 2], ..FREE }));
    let plain = [1, 1];
    visit(with([1, 1], 1, Bounds { plain, ..FREE }));
    visit(with([1, 1], 2, Bounds { plain, ..BRISK }));
    // In one direction at a time: in both at once there are seventeen million states.
    let (go_aways, failures) = ([1, 1], [1, 1]);
    let (time_outs, expiries) = (1, [1, 1]);
    for (messages, plain) in [([1, 0], [1, 0]), ([0, 1], [0, 1])] {
        visit(with(
            messages,
            1,
            Bounds {
                plain,
                go_aways,
                failures,
                ..BRISK
            },
        ));
        visit(with(
            messages,
            1,
            Bounds {
                plain,
                time_outs,
                expiries,
                ..BRISK
            },
        ));
    }
}
