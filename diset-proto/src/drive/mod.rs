//! What every adapter drives: two halves of a connection.
//!
//! [`Rx`] belongs to whoever reads: bytes that come, messages that wait, the one that is with a handler. [`Tx`] has what
//! leaves, and may be shared with those who send from elsewhere. Information flows one way: `Rx` reaches `Tx` through an
//! [`Access`], never the other way round. So a handler holds its message, which borrows `Rx` and the input, and sends.
//!
//! Both stay from one transport to the next. The engine in them is a [`Connection`](crate::Connection).

#[cfg(feature = "snapshot")]
mod copy;
mod event;
#[cfg(feature = "alloc")]
mod held;
mod rx;
pub(crate) mod schedule;
mod tx;

pub use self::event::{Ended, Event, Io, Opened, Turn};
pub use self::rx::{Carried, Rx};
pub use self::tx::{Access, Tx};
pub use crate::session::parts::Parts;
#[cfg(feature = "alloc")]
pub use crate::session::queue::HeapQueue;
pub use crate::session::queue::{Aside, FixedQueue, Here, Meta, NoQueue, Queue};
pub use crate::session::work::{Failure, HandlerResult, Handling, Lent, Running};
