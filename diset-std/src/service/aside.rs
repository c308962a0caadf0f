//! Messages that were received on a former connection of a session, or by a former process, and
//! are handled first on the next one (PROTOCOL ).

use core::future::poll_fn;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Poll;
use std::sync::Arc;

use diset_proto::{Code, Outcome, ServiceDef};

use super::conn::Conn;
use crate::handler::{Called, Failure, HandlerResult, Told, poll_caught};
use crate::session::{Aside, Received, SessionCell, TooManyFailures};

/// Handles what was set aside, one after the other, as long as the session is in this connection.
/// A message that is not dealt with ends the connection, as one that comes on it does.
pub(super) async fn work_off<S: ServiceDef>(conn: Conn<S>, cell: Arc<SessionCell>) -> HandlerResult {
    loop {
        let aside = match cell.take_aside(&conn.0.link) {
            Ok(Some(aside)) => aside,
            Ok(None) => return Ok(()),
            Err(TooManyFailures) => {
                return Err(Failure::new(
                    "too many messages have failed: they go on when the client knows",
                ));
            }
        };
        let mut settling = Settling {
            conn: &conn,
            cell: &cell,
            aside: Some(aside),
        };
        let Some(aside) = &settling.aside else { return Ok(()) };
        let result = handle(&conn, aside).await;
        settling.settle(match &result {
            Ok(()) => Outcome::Ok,
            Err((code, _)) => Outcome::Failed(*code),
        });
        result.map_err(|(_, failure)| failure)?;
    }
}

/// Gives one message its outcome.
struct Settling<'a, S: ServiceDef> {
    conn: &'a Conn<S>,
    cell: &'a SessionCell,
    /// Until it has one.
    aside: Option<Aside>,
}

impl<S: ServiceDef> Settling<'_, S> {
    fn settle(&mut self, outcome: Outcome) {
        if let Some(aside) = self.aside.take() {
            self.cell.settle_aside(aside.began, aside.number, outcome);
        }
    }
}

/// Its handler did not finish: because it took too long, or because the task ends, as at the end of
/// the process. Then the message is still in the inbox, for the next connection, perhaps of the next process.
impl<S: ServiceDef> Drop for Settling<'_, S> {
    fn drop(&mut self) {
        if self.conn.0.given_up.load(Relaxed) {
            self.settle(Outcome::Failed(Code::HandlerFailed));
        }
    }
}

/// Gives one message to its handler.
async fn handle<S: ServiceDef>(conn: &Conn<S>, aside: &Aside) -> Result<(), (Code, Failure)> {
    let Some(kept) = &aside.message else {
        let text = "a message that was received before is not defined any more";
        return Err((Code::UnknownMessage, Failure::new(text)));
    };
    let number = kept.message().number();
    // PROTOCOL M-5: rights may have changed meanwhile, those that are asked for at connect, too.
    if let Some(why) = conn.forbids_carried(number) {
        return Err((Code::Forbidden, Failure::told(why.to_owned())));
    }
    let Some(handler) = conn.0.service.handlers.find(number) else {
        return Err((Code::NoHandler, Failure::told(kept.message().name())));
    };
    let told = conn.told(Received {
        began: aside.began,
        number: aside.number,
        maybe_repeated: kept.message().maybe_repeated(),
    });
    let called = poll_fn(|cx| Poll::Ready(handler.call(&told, kept.message(), cx))).await;
    let failed = |failure| (Code::HandlerFailed, failure);
    match called {
        // It cost no credit of this connection.
        Called::Done(result, _) => result.map_err(failed),
        Called::Running(mut future, _) => poll_fn(|cx| poll_caught(future.as_mut(), cx)).await.map_err(failed),
        Called::Invalid(error) => Err((error.code(), Failure::told(error.to_string()))),
    }
}
