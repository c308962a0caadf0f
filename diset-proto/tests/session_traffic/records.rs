//! A record of a session comes from a disk: one whose counters contradict each other is refused, whichever of them is
//! damaged. What may stand in it is said here a second time.

use diset_proto::store::HeapReplay;
use diset_proto::{Session, SessionRecord};
use serde_json::{Value, json};

use super::support::*;
use crate::stores::DURABLE;

/// Records of sessions that have been through something.
fn records() -> Vec<Value> {
    let mut side = Side::service(None);
    side.feed(&proposal(Some(&[BOTH | 2])));
    let new = side.conn.session().unwrap().record();
    for value in 0..8 {
        side.send(value);
    }
    side.take();
    side.policy = Policy::Hold;
    side.feed(&[acked(1), acked(2), acked(3)].concat());
    for number in 1..=2 {
        let session = side.conn.session_mut().unwrap();
        assert!(session.begin(number) && session.settle(number, diset_proto::Outcome::Failed(diset_proto::Code::Busy)));
    }
    side.feed(&frame(ACK, &varints(&[6, 4, 1, 33, 3, 35])));
    let busy = side.conn.session().unwrap().record();
    // It begins anew: of what the durable inbox had nobody knows.
    let mut side = side.again();
    side.feed(&proposal(Some(FIRST)));
    let anew = side.conn.session().unwrap().record();
    [new, busy, anew]
        .map(|record| serde_json::to_value(record).unwrap())
        .into()
}

/// What must be so in a record.
fn can_be(record: &Value) -> bool {
    let of = |name: &str| record[name].as_u64().unwrap();
    let [base, settled, freed, reached, next] = ["base", "settled", "freed", "reached", "next"].map(of);
    let sent = base <= settled && settled <= freed && freed <= reached && reached < next && next <= 1 << 63;
    let [from, to] = [0, 1].map(|at| record["forgotten"][at].as_u64().unwrap());
    let forgotten = to <= base && 1 <= from && from <= to.saturating_add(1);
    let numbers: Vec<u64> = list(&record["outcomes"]).map(|(number, _)| number).collect();
    let outcomes = list(&record["outcomes"]).enumerate().all(|(at, (number, outcome))| {
        let code = outcome.get("Failed").map(|code| code.as_u64().unwrap());
        let may_be = code.is_none_or(|code| (1..=0xffff).contains(&code) && number <= settled);
        may_be && 1 <= number && number < next && !numbers[..at].contains(&number)
    });
    let [received, processed] = ["received", "processed"].map(of);
    let taken = processed <= received && received <= 3 << 62;
    let mut before = 0;
    let failed = list(&record["failed"]).all(|(number, code)| {
        let ascends = core::mem::replace(&mut before, number) < number;
        ascends && number <= processed && (1..=0xffff).contains(&code.as_u64().unwrap())
    });
    sent && of("unknown") < next && forgotten && outcomes && taken && failed
}

fn list(pairs: &Value) -> impl Iterator<Item = (u64, &Value)> {
    let pairs = pairs.as_array().unwrap().iter();
    pairs.map(|pair| (pair[0].as_u64().unwrap(), &pair[1]))
}

fn restores(record: &Value) -> bool {
    let Ok(kept) = serde_json::from_value::<SessionRecord>(record.clone()) else {
        return false;
    };
    let Ok(session) = Session::restore(&kept, HeapReplay::new(10, 100), DURABLE) else {
        return false;
    };
    assert!(session.record() == kept, "nothing is changed in silence: {record}");
    true
}

/// Where the counters stand in a record.
fn counters(value: &Value, path: &str, found: &mut Vec<String>) {
    let is_token = ["/token", "/former", "/spare", "/replaced", "/began"].contains(&path);
    match value {
        _ if is_token => {}
        Value::Number(_) => found.push(path.to_owned()),
        Value::Array(all) => {
            for (at, value) in all.iter().enumerate() {
                counters(value, &format!("{path}/{at}"), found);
            }
        }
        Value::Object(all) => {
            for (name, value) in all {
                counters(value, &format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn damages(value: u64) -> Vec<u64> {
    let mut all: Vec<u64> = (0..64).step_by(7).map(|bit| value ^ 1 << bit).collect();
    all.extend([
        0,
        1,
        value.wrapping_sub(1),
        value.wrapping_add(1),
        value + 2,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX,
    ]);
    all
}

#[test]
fn a_damaged_record_is_refused() {
    for record in records() {
        assert!(can_be(&record) && restores(&record), "{record}");
        let mut paths = Vec::new();
        counters(&record, "", &mut paths);
        assert!(paths.len() >= 10, "{paths:?}");
        let mut refused = 0;
        for path in &paths {
            let (mut damaged, value) = (record.clone(), record.pointer(path).unwrap().as_u64().unwrap());
            for bad in damages(value) {
                *damaged.pointer_mut(path).unwrap() = json!(bad);
                assert_eq!(
                    restores(&damaged),
                    can_be(&damaged),
                    "{path} is {bad} in place of {value}: {record}"
                );
                refused += usize::from(!can_be(&damaged));
                // And another one with it.
                for other in &paths {
                    let was = damaged.pointer(other).unwrap().clone();
                    for worse in [0, bad, u64::MAX] {
                        *damaged.pointer_mut(other).unwrap() = json!(worse);
                        assert_eq!(
                            restores(&damaged),
                            can_be(&damaged),
                            "{path} {bad}, {other} {worse}: {record}"
                        );
                    }
                    *damaged.pointer_mut(other).unwrap() = was;
                }
            }
        }
        assert!(refused > 5 * paths.len(), "{refused} of {} fields", paths.len());
    }
}
