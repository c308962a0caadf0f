//! What a client reports of itself: where it stands, how that is followed, and why it is not connected.

use core::fmt;
use std::sync::Arc;

use diset_proto::{Cause, Code, Misuse, Notice, Trid};
use tokio::sync::watch;

use crate::driver::Dropped;

/// Where a client stands. It goes round by itself until it is [`ClientState::Stopped`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ClientState {
    /// An attempt is under way.
    Connecting,
    /// Messages may be sent.
    Connected(Trid),
    /// The connection, or an attempt at one, has ended; the next attempt is at this time.
    Waiting {
        /// Why it ended.
        why: Ended,
        /// When it tries again.
        until: tokio::time::Instant,
    },
    /// It will not connect again, and its last handler has finished: it was closed, or told not to come back, or its
    /// runtime has ended.
    Stopped(Ended),
}

impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Connected(trid) => write!(f, "connected, {trid}"),
            Self::Waiting { why, until } => {
                let wait = until.saturating_duration_since(tokio::time::Instant::now());
                write!(f, "not connected ({why}), next attempt in {} ms", wait.as_millis())
            }
            Self::Stopped(why) => write!(f, "stopped: {why}"),
        }
    }
}

/// Follows the state of a client: [`Client::watch`](crate::Client::watch). Does not keep the client going.
///
/// What it gives is owned, so that a task that waits here can be spawned on any runtime.
#[derive(Debug, Clone)]
pub struct States(pub(super) watch::Receiver<ClientState>);

impl States {
    /// Where the client stands now.
    pub fn now(&self) -> ClientState {
        self.0.borrow().clone()
    }

    /// The next change; `None` when there will be none, after [`ClientState::Stopped`]. One that is slow to ask gets
    /// the newest state, not each one; for each one use [`on_state`](crate::ClientBuilder::on_state).
    ///
    /// # Cancel safety
    /// Cancel safe: a change that was not given is given by the next call.
    pub async fn changed(&mut self) -> Option<ClientState> {
        if self.0.has_changed().is_ok_and(|changed| !changed) && matches!(*self.0.borrow(), ClientState::Stopped(_)) {
            return None;
        }
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }

    /// Waits for a state, at once when it is that of now.
    ///
    /// # Errors
    /// Why the client has stopped, when it has and that is not what is waited for.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing but waiting is done here.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&ClientState) -> bool) -> Result<ClientState, Ended> {
        let mut found = None;
        let last = |state: &ClientState| {
            found = wanted(state).then(|| Ok(state.clone()));
            if let (None, ClientState::Stopped(why)) = (&found, state) {
                found = Some(Err(why.clone()));
            }
            found.is_some()
        };
        // An error means that the client is gone, and so does a state that was never found.
        let gone = self.0.wait_for(last).await.is_err();
        found.filter(|_| !gone).unwrap_or(Err(Ended::Closed))
    }
}

/// Why a connection, or an attempt at one, has ended.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The service could not be reached.
    #[error("cannot reach {address}: {source}; is the service running there, and the address right?")]
    Unreachable {
        /// Host and port, or path.
        address: String,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// TLS failed: a certificate was refused, or the other side does not speak it.
    #[error("TLS with {address} failed: {reason}")]
    Tls {
        /// Host and port.
        address: String,
        /// What TLS said.
        reason: String,
    },
    /// There was a connection, or a refusal.
    #[error("{0}")]
    Dropped(Dropped),
    /// The settings of the client do not fit.
    #[error("{0}")]
    Settings(#[from] BadSettings),
    /// The client was closed by its program, or its runtime was.
    #[error("the client was closed, or its runtime")]
    Closed,
}

impl Ended {
    /// The code that one side gave for the end, if it came to that.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Dropped(dropped) => dropped.code(),
            _ => None,
        }
    }

    /// What the service said, or was told, at the end.
    pub const fn notice(&self) -> Option<&Notice> {
        match self {
            Self::Dropped(dropped) => dropped.cause().notice(),
            _ => None,
        }
    }

    /// As the reconnect policy sees it.
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Dropped(dropped) => dropped.cause().clone(),
            Self::Unreachable { .. } | Self::Tls { .. } | Self::Settings(_) | Self::Closed => Cause::Lost,
        }
    }
}

/// What is wrong with the settings of a client.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BadSettings {
    /// Neither TLS nor the wish to go without it.
    #[error("no TLS settings: call `tls(…)`, or `plain_tcp()` for a service without TLS")]
    NoTls,
    /// Not `host:port`.
    #[error(
        "`{0}` is not an address: write host:port, such as localhost:9145, [::1]:9145 or [fe80::1%eth0]:9145; several with commas between them"
    )]
    Address(String),
    /// More names and addresses than a client takes; how many.
    #[error("{0} addresses are too many: at most {most} can be given", most = super::target::MAX_PLACES)]
    TooManyAddresses(usize),
    /// Not a name that a certificate can carry.
    #[error("`{0}` is neither a DNS name nor an IP address: a certificate cannot prove it")]
    ServerName(String),
    /// Not a name of a service.
    #[error("`{0}` is not the name of a service: write System/Name, of letters, digits, _, - and .")]
    Service(String),
    /// A session that stores nothing.
    #[error("a session must store at least one message: give store(…) more, or call without_session()")]
    EmptyStore,
    /// Limits or arguments.
    #[error("{0}")]
    Misuse(Misuse),
}
