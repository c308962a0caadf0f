//! The service of a seed, in one life after the other, and how connections and lives end.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use diset_std::tls::throwaway::ThrowawayCa;
use diset_std::tls::{Authorities, ServerTls};
use diset_std::{
    Conn, Failure, HandlerResult, Identity, Limits, Rule, SendError, Service, ServiceHandle, SessionId, SlowPolicy,
    Verdict,
};
use redb::{ReadableDatabase, ReadableTable};
use tokio::sync::{Mutex, watch};

use super::SOON;
use super::handlers::{EFFECTS, ON_PURPOSE, handle};
use super::line::{Harm, Line};
use super::oracle::{Seen, Way};
use super::plan::{Act, Callbacks, End, Plan, Store};
use crate::common::*;

pub(crate) type Error = Box<dyn core::error::Error + Send + Sync>;

/// A connection that stalls is given up soon, and so is a handshake.
pub(crate) fn limits() -> Limits {
    Limits::SERVER
        .with_max_silence(Duration::from_secs(5))
        .with_handshake(Duration::from_secs(10))
}

/// Ready when it is so.
async fn eventually(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What callbacks of a connection do, on either side.
#[derive(Clone)]
pub(crate) struct Opening {
    callbacks: Callbacks,
    count: Arc<AtomicUsize>,
}

impl Opening {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            callbacks: plan.callbacks,
            count: Arc::default(),
        }
    }

    pub(crate) async fn on_connected(self) -> HandlerResult {
        match self.callbacks {
            Callbacks::Quick => {}
            Callbacks::Slow => tokio::time::sleep(Duration::from_millis(3)).await,
            Callbacks::Bad if self.count.fetch_add(1, SeqCst) % 3 == 1 => {
                return Err(Failure::new("chaos: not this one"));
            }
            Callbacks::Bad => {}
        }
        Ok(())
    }

    pub(crate) async fn on_drop(self) {
        match self.callbacks {
            Callbacks::Quick => {}
            Callbacks::Slow => tokio::time::sleep(Duration::from_millis(3)).await,
            Callbacks::Bad => std::panic::panic_any(ON_PURPOSE),
        }
    }
}

/// Who runs the service.
pub(crate) struct Host {
    plan: Arc<Plan>,
    seen: Arc<Seen>,
    tls: ServerTls,
    authorities: Authorities,
    file: PathBuf,
    /// The client may connect.
    lets_in: Arc<AtomicBool>,
    /// The client may send a message that nobody sends.
    allows_more: Arc<AtomicBool>,
    pub(crate) line: Line,
    pub(crate) identity: Identity,
    running: Mutex<Option<Running<PingPong>>>,
    /// The life, the service, and the session of the client as soon as it has one.
    pub(crate) handle: watch::Sender<Option<(usize, ServiceHandle<PingPong>)>>,
    pub(crate) session: watch::Sender<Option<SessionId>>,
}

impl Host {
    pub(crate) async fn new(
        plan: &Arc<Plan>,
        seen: &Arc<Seen>,
        authority: &ThrowawayCa,
        file: PathBuf,
    ) -> Result<Arc<Self>, Error> {
        let host = Self {
            plan: Arc::clone(plan),
            seen: Arc::clone(seen),
            tls: ServerTls::new(authority.server(&["localhost"])?, authority.authorities())?,
            authorities: authority.authorities(),
            file,
            lets_in: Arc::new(AtomicBool::new(true)),
            allows_more: Arc::default(),
            line: Line::new().await?,
            identity: Identity::from_bytes([7; 16]),
            running: Mutex::new(None),
            handle: watch::channel(None).0,
            session: watch::channel(None).0,
        };
        let host = Arc::new(host);
        host.start().await?;
        Ok(host)
    }

    fn service(&self, life: usize) -> Service<PingPong> {
        let (seen, plan) = (Arc::clone(&self.seen), Arc::clone(&self.plan));
        let take = move |conn: Conn<PingPong>, id: i64| {
            let marked = conn.received().is_some_and(|received| received.maybe_repeated);
            let (seen, plan) = (Arc::clone(&seen), Arc::clone(&plan));
            handle(seen, plan, (Way::Up, id, marked), conn)
        };
        let also = take.clone();
        let (notes, of) = (Arc::clone(&self.seen), Arc::clone(&self.plan));
        let (outcomes, session, opening) = (Arc::clone(&self.seen), self.session.clone(), Opening::new(&self.plan));
        let (dropping, began, dropped) = (opening.clone(), Arc::clone(&self.seen), Arc::clone(&self.seen));
        let (lets_in, allows_more) = (Arc::clone(&self.lets_in), Arc::clone(&self.allows_more));
        let service = Service::new(PingPong)
            .limits(limits())
            .slow_policy(SlowPolicy::Disconnect)
            .send_buffer(1 << 14)
            .drain_time(self.plan.drain())
            .on(move |conn, ping: Ping| take(conn, ping.id))
            // Never called: see the rule.
            .on(move |conn, shout: Shout| also(conn, shout.text.parse().unwrap_or(-1)))
            .allow::<Shout>(Rule::at_delivery(|_| false))
            .allow_connect(Rule::at_connect(move |_| lets_in.load(SeqCst)))
            .allow::<Odd>(Rule::at_connect(move |_| allows_more.load(SeqCst)))
            .on_ref::<Note<'_>>(move |_, note| {
                notes.note(Way::Up, note.text, &of);
                Ok(())
            })
            .on_connected(move |conn| {
                began.connected(Way::Up, conn.resumption());
                session.send_replace(Some(conn.session()));
                opening.clone().on_connected()
            })
            .on_drop(move |_, why| {
                dropped.dropped(Way::Down, &why);
                dropping.clone().on_drop()
            })
            .on_outcome(move |_, number, outcome| outcomes.outcome(Way::Down, life, number, outcome));
        match self.plan.store {
            Store::Memory => service,
            Store::File => service.durable(&self.file),
        }
    }

    /// The next life begins.
    async fn start(&self) -> Result<(), Error> {
        let life = self.seen.life.load(SeqCst);
        let mut tries = 0;
        let bound = loop {
            match self.service(life).bind("127.0.0.1:0", self.tls.clone()).await {
                Ok(bound) => break bound,
                // The one before has not let go of the file yet.
                Err(_) if tries < 200 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let running = run(bound);
        self.line.leads_to(running.port());
        self.handle.send_replace(Some((life, running.handle.clone())));
        *self.running.lock().await = Some(running);
        Ok(())
    }

    /// Ends the life that there is.
    pub(crate) async fn stop(&self, kill: bool) -> Result<(), Error> {
        let Some(running) = self.running.lock().await.take() else {
            return Ok(());
        };
        self.handle.send_replace(None);
        if kill {
            running.kill().await;
        } else {
            tokio::time::timeout(Duration::from_secs(20), running.shut_down())
                .await
                .map_err(|_| "the service does not stop")??;
        }
        self.seen.life.fetch_add(1, SeqCst);
        Ok(())
    }

    /// Lets this happen.
    pub(crate) async fn end(&self, end: End, client: &diset_std::Client<PingPong>) -> Result<(), Error> {
        self.seen.ended(end);
        if end.ends_process() {
            self.stop(end == End::Kill).await?;
            return self.start().await;
        }
        let handle = self.handle.borrow().clone().map(|(_, handle)| handle);
        match (end, handle) {
            (End::Cut, _) => self.line.harm(Harm::Reset),
            (End::Close, _) => self.line.harm(Harm::Close),
            (End::HalfOpen, _) => self.line.harm(Harm::HalfOpen),
            (End::Stall, _) => {
                self.line.stall(true);
                tokio::time::sleep(Duration::from_millis(100)).await;
                self.line.stall(false);
            }
            (End::Slow, Some(handle)) => {
                self.line.stall(true);
                self.flood(&handle).await;
                self.line.stall(false);
            }
            (End::Disconnect, Some(handle)) => {
                if let Some(session) = *self.session.borrow() {
                    handle.disconnect_session(session, "chaos");
                }
            }
            (End::ClientCut, _) => client.cut(),
            (End::Distrust, Some(handle)) => {
                let other = ThrowawayCa::new()?.authorities();
                self.tls.change(|now| now.authorities(other))?;
                handle.recheck_credentials().await;
                self.tls.change(|now| now.authorities(self.authorities.clone()))?;
            }
            (End::Bar, Some(handle)) => {
                self.lets_in.store(false, SeqCst);
                handle.recheck_rules().await;
                self.bars(&handle).await;
                self.lets_in.store(true, SeqCst);
            }
            (End::Renew, Some(handle)) => {
                self.allows_more.store(true, SeqCst);
                handle.recheck_rules().await;
                let learned = eventually(|| client.verdict::<Odd>() == Some(Verdict::Same));
                if tokio::time::timeout(SOON, learned).await.is_err() {
                    self.seen
                        .wrong("the client does not learn that it may do more".to_owned());
                }
                self.allows_more.store(false, SeqCst);
            }
            _ => {}
        }
        Ok(())
    }

    /// Nobody may connect: who was there is gone, and does not get in again.
    async fn bars(&self, handle: &ServiceHandle<PingPong>) {
        let is_there = || {
            let send = |conn: Conn<PingPong>| conn.try_send(&News { text: String::new() });
            let connections = handle.connections().into_iter();
            connections.map(send).any(|sent| sent != Err(SendError::NotOpen))
        };
        // Who was about to come in looks again by itself.
        if tokio::time::timeout(SOON, eventually(|| !is_there())).await.is_err() {
            return self.seen.wrong("a client that may not connect stays".to_owned());
        }
        let comes = tokio::time::timeout(Duration::from_millis(40), eventually(is_there));
        if comes.await.is_ok() {
            self.seen.wrong("a client that may not connect comes in".to_owned());
        }
    }

    /// What handlers have committed: to be called when the service has stopped.
    pub(crate) async fn look_at_effects(&self) -> Result<(), Error> {
        if self.plan.store == Store::Memory {
            return Ok(());
        }
        let mut tries = 0;
        let database = loop {
            match redb::Database::open(&self.file) {
                Ok(database) => break database,
                Err(_) if tries < 200 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let effects = match database.begin_read()?.open_table(EFFECTS) {
            Ok(table) => table
                .iter()?
                .map(|effect| effect.map(|(id, times)| (id.value(), times.value())))
                .collect::<Result<_, _>>()?,
            // Nobody has committed any.
            Err(redb::TableError::TableDoesNotExist(_)) => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        self.seen.effects(effects);
        Ok(())
    }

    /// Sends plain messages until the service has disconnected its client for being slow, which does not read.
    async fn flood(&self, handle: &ServiceHandle<PingPong>) {
        let text = "x".repeat(1000);
        let session = *self.session.borrow();
        let Some(session) = session else { return };
        for _ in 0..20_000 {
            match handle.send_to_session(session, &News { text: text.clone() }).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(SendError::Full(_) | SendError::NotOpen) => return,
                Err(_) => return,
            }
        }
    }

    /// Ready when nothing is stored for the client any more.
    pub(crate) async fn emptied(&self) {
        loop {
            let session = *self.session.borrow();
            let stored = match (&*self.handle.borrow(), session) {
                (Some((_, handle)), Some(session)) => handle.stored(session),
                _ => None,
            };
            if stored.is_none_or(|stored| stored == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Whether a message of this act is one that nobody takes.
    pub(crate) fn nobody_takes(&self, id: i64, way: Way) -> Option<Act> {
        let act = self.plan.act(id, way == Way::Down).0;
        matches!(act, Act::NoHandler | Act::Forbidden).then_some(act)
    }
}
