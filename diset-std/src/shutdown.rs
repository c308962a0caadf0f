//! The signals that ask a program to end, for [`run_until`](crate::BoundService::run_until).

use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

/// Ready when the program is asked to end: by SIGINT (Ctrl-C) or SIGTERM, as service managers and containers send it; on
/// Windows by Ctrl-C, Ctrl-Break or the end of the session. For
/// [`BoundService::run_until`](crate::BoundService::run_until), and for programs that then
/// [close](crate::Client::close) their client.
///
/// Call it at the start of the program. The handlers are installed by this call, not when the future is polled first; what
/// comes from then on is not missed, also by a program that is process 1 of a container, which the kernel lets have
/// only the signals that it has handlers for. From then on these signals do not end the process by themselves any more,
/// even when the future is dropped.
///
/// The first signal makes it ready, and the program ends in order. **A second one ends the process at once**, with exit code 128
/// and the number of the signal: 130 or 143. When several futures of this kind are there, the first signal makes
/// all of them ready.
///
/// # Panics
/// Outside of a tokio runtime, or in one whose IO is not enabled.
///
/// # Cancel safety
/// Cancel safe, and once ready it stays so: it may be polled in a `select!` again and again.
pub fn shutdown_signal() -> ShutdownSignal {
    ShutdownSignal {
        signals: Some(Signals::new()),
    }
}

/// See [`shutdown_signal`].
#[must_use = "it does nothing but wait"]
pub struct ShutdownSignal {
    /// Until the first one has come.
    signals: Option<Signals>,
}

impl Future for ShutdownSignal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(signals) = &mut self.signals else {
            return Poll::Ready(());
        };
        let Poll::Ready(first) = signals.poll(cx) else {
            return Poll::Pending;
        };
        tracing::info!(
            signal = first.name,
            "asked to end; a second signal ends the process at once"
        );
        if let Some(mut signals) = self.signals.take() {
            tokio::spawn(async move {
                let second = core::future::poll_fn(|cx| signals.poll(cx)).await;
                tracing::warn!(signal = second.name, "asked again: the process ends at once");
                std::process::exit(128 + second.number);
            });
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for ShutdownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownSignal")
            .field("is_ready", &self.signals.is_none())
            .finish_non_exhaustive()
    }
}

/// One that has come.
#[derive(Clone, Copy)]
struct Asked {
    name: &'static str,
    number: i32,
}

const INTERRUPT: Asked = Asked {
    name: "SIGINT",
    number: 2,
};
const TERMINATE: Asked = Asked {
    name: "SIGTERM",
    number: 15,
};

/// Those for which there is a handler.
struct Signals(Vec<(Asked, Listener)>);

impl Signals {
    /// A signal for which the system takes no handler is left as it is: it ends the process.
    fn new() -> Self {
        let listeners = listeners().into_iter();
        Self(
            listeners
                .filter_map(|(asked, listener)| {
                    let failed = |error: &std::io::Error| {
                        tracing::error!(%error, signal = asked.name, "no handler: this signal ends the process without a word");
                    };
                    Some((asked, listener.inspect_err(failed).ok()?))
                })
                .collect(),
        )
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Asked> {
        for (asked, listener) in &mut self.0 {
            // It never ends: `None` would be no signal.
            if let Poll::Ready(Some(())) = listener.poll_recv(cx) {
                return Poll::Ready(*asked);
            }
        }
        Poll::Pending
    }
}

#[cfg(unix)]
type Listener = tokio::signal::unix::Signal;

#[cfg(unix)]
fn listeners() -> [(Asked, std::io::Result<Listener>); 2] {
    use tokio::signal::unix::{SignalKind, signal};
    [
        (INTERRUPT, signal(SignalKind::interrupt())),
        (TERMINATE, signal(SignalKind::terminate())),
    ]
}

#[cfg(windows)]
enum Listener {
    C(tokio::signal::windows::CtrlC),
    Break(tokio::signal::windows::CtrlBreak),
    Shutdown(tokio::signal::windows::CtrlShutdown),
}

#[cfg(windows)]
impl Listener {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        match self {
            Self::C(listener) => listener.poll_recv(cx),
            Self::Break(listener) => listener.poll_recv(cx),
            Self::Shutdown(listener) => listener.poll_recv(cx),
        }
    }
}

#[cfg(windows)]
fn listeners() -> [(Asked, std::io::Result<Listener>); 3] {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_shutdown};
    [
        (INTERRUPT, ctrl_c().map(Listener::C)),
        (INTERRUPT, ctrl_break().map(Listener::Break)),
        (TERMINATE, ctrl_shutdown().map(Listener::Shutdown)),
    ]
}
