//! Waiting for what becomes of an acked message.

use core::fmt;
use core::future::poll_fn;
use core::time::Duration;
use std::sync::Arc;

use diset_proto::Outcome;

use super::SessionCell;
use crate::running;

/// How long a handler may wait for the peer to deal with a message: the peer may wait for this
/// handler, and neither would ever end.
const IN_HANDLER: Duration = Duration::from_secs(10);

/// A message that was taken for delivery. It is sent, and sent again, whether anybody waits for it or
/// not: dropping a receipt, or a future of it, changes nothing.
#[derive(Clone)]
pub struct Receipt {
    pub(crate) cell: Arc<SessionCell>,
    pub(crate) number: u64,
}

/// Why the outcome of a message cannot be waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// This side has ended before there was an outcome. What a file keeps goes on when it starts again.
    #[error("this side has ended before there was an outcome; what a file keeps goes on when it starts again")]
    Over,
    /// So many messages have not been dealt with since that this one's outcome is not remembered any more.
    #[error("asked too late: the outcome is not remembered any more")]
    TooLate,
    /// A handler has waited for 10 s. Waiting there holds up the messages behind, perhaps the very one that
    /// the peer waits for: wait in a task of its own.
    #[error("a handler may wait no longer than 10 s for the peer; wait in a task of your own")]
    InHandler,
}

impl Receipt {
    /// The number of the message in its session and direction: it ascends by one for each message that
    /// this side sends, for as long as this process lives.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Waits until the peer has the message: [`Outcome::Ok`]; or another outcome, when it has come to that.
    /// If the peer is killed it has it no more, unless it has a durable inbox, and gets it again. Not for more
    /// than 10 s in a handler.
    ///
    /// # Errors
    /// [`WaitError`]: there will be nothing to wait for.
    ///
    /// # Cancel safety
    /// Cancel safe: the message is delivered all the same; ask again when you like.
    pub async fn received(&self) -> Result<Outcome, WaitError> {
        self.wait(false).await
    }

    /// Waits until the message has its outcome. Across reconnects, for as long as it takes; not for more
    /// than 10 s in a handler.
    ///
    /// # Errors
    /// [`WaitError`]: there will be nothing to wait for.
    ///
    /// # Cancel safety
    /// Cancel safe: the message is delivered all the same; ask again when you like.
    pub async fn processed(&self) -> Result<Outcome, WaitError> {
        self.wait(true).await
    }

    async fn wait(&self, all: bool) -> Result<Outcome, WaitError> {
        if running::is_running() {
            let waiting = tokio::time::timeout(IN_HANDLER, self.wait_on(all));
            return waiting.await.unwrap_or(Err(WaitError::InHandler));
        }
        self.wait_on(all).await
    }

    async fn wait_on(&self, all: bool) -> Result<Outcome, WaitError> {
        let mut waiter = Waiter {
            receipt: self,
            ticket: None,
        };
        poll_fn(|cx| self.cell.poll_outcome(self.number, all, &mut waiter.ticket, cx.waker())).await
    }
}

/// One who waits; leaves no trace when it stops.
struct Waiter<'r> {
    receipt: &'r Receipt,
    ticket: Option<u64>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.receipt.cell.forget_waiter(self.receipt.number, ticket);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
