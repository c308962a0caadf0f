//! Frames that wait for their turn, because the inbox has no room for what they bring (PROTOCOL L-1).

use super::Connection;
use super::recording::note;
use super::slot::SessionSlot;
use crate::wire::frame::{Frame, KeptFrame};
use crate::wire::storage::Storage;

impl<B: Storage, S: SessionSlot> Connection<B, S> {
    /// A copy to be handled later, of a frame whose place is among the messages: a message, what is to be
    /// known of the next one, and the go-away behind them all. `None` for every other frame, which is to be
    /// handled at once, also before those that wait (PROTOCOL L-1). When its turn comes, give
    /// [`its frame`](Self::turn_of) to `take_message` or `handle_frame`.
    ///
    /// While one waits all of these that come after it must, too. What waits is bounded by the credit
    /// in the [`Limits`](crate::Limits): hand over what is beyond, and the engine ends the connection.
    pub fn keep_frame(&self, frame: &Frame<'_>) -> Option<KeptFrame> {
        frame.keep(self.unconfirmed() > 0)
    }

    /// The turn of a frame that waited has come: it is the next that is given to this connection. What was confirmed
    /// meanwhile, behind it, does not make a fault of an answer (PROTOCOL G-7).
    pub fn turn_of<'k>(&mut self, kept: &'k KeptFrame) -> Frame<'k> {
        if kept.may_be_answer {
            self.expect_answer();
        }
        kept.frame()
    }

    pub(super) fn expect_answer(&mut self) {
        note!(self, Answer);
        self.core.expects_answer = true;
    }
}
