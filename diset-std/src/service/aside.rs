//! Messages that were received on a former connection of a session, or by a former process, and
//! are handled first on the next one (PROTOCOL ).

use core::future::poll_fn;
use core::task::Poll;
use std::sync::Arc;

use diset_proto::{Code, Outcome, ServiceDef};

use super::conn::Conn;
use crate::handler::{Called, Failure, HandlerResult, Told, poll_caught};
use crate::session::{Aside, Received, SessionCell};

/// Handles what was set aside, one after the other, as long as the session is in this connection.
/// A message that is not dealt with ends the connection, as one that comes on it does.
pub(super) async fn work_off<S: ServiceDef>(conn: Conn<S>, cell: Arc<SessionCell>) -> HandlerResult {
    while let Some(aside) = cell.take_aside(&conn.0.link) {
        // Also when it is dropped half-way, as a handler that takes too long is.
        let mut settling = Settling {
            cell: &cell,
            aside: &aside,
            outcome: Outcome::Failed(Code::HandlerFailed),
        };
        let result = handle(&conn, &aside).await;
        settling.outcome = match &result {
            Ok(()) => Outcome::Ok,
            Err((code, _)) => Outcome::Failed(*code),
        };
        drop(settling);
        result.map_err(|(_, failure)| failure)?;
    }
    Ok(())
}

/// Gives one message its outcome.
struct Settling<'a> {
    cell: &'a SessionCell,
    aside: &'a Aside,
    outcome: Outcome,
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.cell
            .settle_aside(self.aside.began, self.aside.number, self.outcome);
    }
}

/// Gives one message to its handler.
async fn handle<S: ServiceDef>(conn: &Conn<S>, aside: &Aside) -> Result<(), (Code, Failure)> {
    let Some(kept) = &aside.message else {
        let text = "a message that was received before is not defined any more";
        return Err((Code::UnknownMessage, Failure::new(text)));
    };
    let number = kept.message().number();
    // PROTOCOL M-5: rights may have changed meanwhile.
    if let Some(why) = conn.0.service.rules.forbids(number, conn) {
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
        Called::Invalid(error) => Err((Code::Invalid, Failure::told(error.to_string()))),
    }
}
