//! What handlers do, and the notes they take of it.

use core::time::Duration;
use std::sync::Arc;

use diset_std::{Failure, HandlerResult};

use super::oracle::{Ended, Seen, Way};
use super::plan::{Act, Plan};

/// What a handler says when it panics.
pub(crate) const ON_PURPOSE: &str = "chaos: a handler panics on purpose";

/// Notes that a handler has begun, and how it ended: dropped, when it says nothing else.
struct Note {
    seen: Arc<Seen>,
    way: Way,
    id: i64,
    run: usize,
}

impl Drop for Note {
    fn drop(&mut self) {
        let ended = if std::thread::panicking() {
            Ended::Panicked
        } else {
            Ended::Dropped
        };
        self.seen.ends(self.way, self.id, self.run, ended);
    }
}

/// Handles one acked message; `disconnect` ends the connection from this side.
pub(crate) async fn handle(
    seen: Arc<Seen>,
    plan: Arc<Plan>,
    (way, id, marked): (Way, i64, bool),
    disconnect: impl Fn() + Send,
) -> HandlerResult {
    let run = seen.begins(way, id, marked);
    let note = Note { seen, way, id, run };
    let (act, at_once) = plan.act(id, way == Way::Down);
    if !at_once {
        tokio::time::sleep(Duration::from_millis(1 + id.unsigned_abs() % 3)).await;
    }
    let result = match act {
        Act::Fails => Err(Failure::new("chaos")),
        Act::Panics => std::panic::panic_any(ON_PURPOSE),
        Act::Disconnects => {
            disconnect();
            Ok(())
        }
        Act::Hangs => {
            disconnect();
            core::future::pending().await
        }
        Act::Returns | Act::NoHandler | Act::Forbidden => Ok(()),
    };
    let ended = if result.is_ok() { Ended::Ok } else { Ended::Failed };
    note.seen.ends(way, id, run, ended);
    result
}
