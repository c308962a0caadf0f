//! What handlers do, and the notes they take of it.

use core::time::Duration;
use std::sync::Arc;

use diset_std::store::Transaction;
use diset_std::{Client, Conn, Failure, HandlerResult, SendError};
use redb::{ReadableTable, TableDefinition};

use super::oracle::{Ended, Seen, Way};
use super::plan::{Act, Plan};
use crate::common::{Note, PingPong};

/// What a handler says when it panics.
pub(crate) const ON_PURPOSE: &str = "chaos: a handler panics on purpose";

/// What stands before the number of the message that is answered.
pub(crate) const ANSWER: &str = "to ";
/// How often the effect of a message to the service is there.
pub(crate) const EFFECTS: TableDefinition<'_, i64, u64> = TableDefinition::new("effects");

/// What a handler has in its hands.
pub(crate) trait Side: Clone + Send + Sync {
    /// Ends the connection from here.
    fn end(&self);
    fn say(&self, note: Note<'_>) -> impl Future<Output = Result<(), SendError>> + Send;
    /// Adds one to the effect of the message, with which it counts as handled.
    fn commit(&self, id: i64) -> impl Future<Output = HandlerResult> + Send;
}

impl Side for Conn<PingPong> {
    fn end(&self) {
        self.disconnect("chaos");
    }

    async fn say(&self, note: Note<'_>) -> Result<(), SendError> {
        self.send(&note).await
    }

    async fn commit(&self, id: i64) -> HandlerResult {
        let add = move |transaction: &Transaction<'_>| {
            let mut effects = transaction.open_table(EFFECTS)?;
            let before = effects.get(id)?.map_or(0, |count| count.value());
            effects.insert(id, before + 1)?;
            Ok::<_, redb::Error>(())
        };
        self.transact(add)
            .await
            .map_err(|error| Failure::new(error.to_string()))
    }
}

impl Side for Client<PingPong> {
    fn end(&self) {
        self.cut();
    }

    async fn say(&self, note: Note<'_>) -> Result<(), SendError> {
        self.send(&note).await
    }

    async fn commit(&self, _: i64) -> HandlerResult {
        Err(Failure::new("chaos: clients have no file"))
    }
}

/// Notes that a handler has begun, and how it ended: dropped, when it says nothing else.
struct Notes {
    seen: Arc<Seen>,
    way: Way,
    id: i64,
    run: usize,
}

impl Drop for Notes {
    fn drop(&mut self) {
        let ended = if std::thread::panicking() {
            Ended::Panicked
        } else {
            Ended::Dropped
        };
        self.seen.ends(self.way, self.id, self.run, ended);
    }
}

/// Handles one acked message.
pub(crate) async fn handle(
    seen: Arc<Seen>,
    plan: Arc<Plan>,
    (way, id, marked): (Way, i64, bool),
    side: impl Side,
) -> HandlerResult {
    let run = seen.begins(way, id, marked);
    let notes = Notes { seen, way, id, run };
    let (act, at_once) = plan.act(id, way == Way::Down);
    if !at_once {
        tokio::time::sleep(Duration::from_millis(1 + id.unsigned_abs() % 3)).await;
    }
    let result = match act {
        Act::Fails => Err(Failure::new("chaos")),
        Act::Panics => std::panic::panic_any(ON_PURPOSE),
        Act::Disconnects => {
            side.end();
            Ok(())
        }
        Act::Answers => {
            let said = side
                .say(Note {
                    text: &format!("{ANSWER}{id}"),
                })
                .await;
            notes.seen.answers(way, id, said);
            said.map_err(Failure::from)
        }
        Act::Transacts => side.commit(id).await,
        Act::Hangs => {
            side.end();
            core::future::pending().await
        }
        Act::Returns | Act::NoHandler | Act::Forbidden => Ok(()),
    };
    let ended = if result.is_ok() { Ended::Ok } else { Ended::Failed };
    notes.seen.ends(way, id, run, ended);
    result
}
