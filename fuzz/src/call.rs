//! Everything that can be done to the halves of a connection.

use core::time::Duration;
use std::borrow::Cow;

use diset_proto::drive::HandlerResult;
use diset_proto::store::Unsure;
use diset_proto::{Admission, Notice, Token, Trid};
use serde::ser::{Serialize, SerializeTuple, Serializer};

/// Something that is done to the halves. The input of a target is a list of them.
#[derive(Debug, Clone)]
pub(super) enum Call<'d> {
    /// These bytes come, in pieces of at most so many.
    Next(Cow<'d, [u8]>, usize),
    /// Bytes come that are no plaintext yet.
    Heard,
    /// At most so many of the bytes leave that are to be written.
    Wrote(usize),
    /// So much time passes.
    Later(Duration),
    /// The clock was wrong by so much.
    Earlier(Duration),
    /// The transport ends.
    Ended,
    /// Sends a plain message with this number and payload.
    Send(u8, Vec<u8>),
    /// Sends an acked message.
    SendAcked(u8, Vec<u8>, Unsure),
    /// Sends this payload as one of the messages that were learned, or would have been.
    SendLearned(u8, &'d [u8]),
    SkipOldest,
    TakeOutcomes,
    /// Says go-away, within this span.
    GoAway(Notice, Duration),
    Disconnect(Notice),
    Admit(Admit),
    Refuse(Notice),
    /// The handler that waits comes to this.
    Done(HandlerResult),
    /// The time of the handler that waits is over.
    Expire,
    /// Either side: what is to be said of the next public key, which is good for so long.
    Announce(Duration),
}

/// A client is admitted.
#[derive(Debug, Clone)]
pub(super) struct Admit {
    pub(super) trid: Trid,
    pub(super) admission: Admission,
    /// Whether it has shown that it is the one whose session there is.
    pub(super) proven: bool,
    pub(super) token: Token,
}

impl<'d> Call<'d> {
    /// These bytes come at once.
    pub(super) fn next(bytes: impl Into<Cow<'d, [u8]>>) -> Self {
        Self::Next(bytes.into(), usize::MAX)
    }
}

/// A payload as it is.
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        self.0.iter().try_for_each(|byte| bytes.serialize_element(byte))?;
        bytes.end()
    }
}
