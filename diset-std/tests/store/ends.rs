//! The two ends of connections over loopback TCP whose service keeps its sessions in a file, driven by hand
//! as the documentation of the store says.

use core::error::Error;
use core::hash::BuildHasher;
use core::time::Duration;
use std::collections::VecDeque;
use std::hash::RandomState;
use std::sync::Arc;

use diset_proto::store::{HeapReplay, Unsure, Volatile};
use diset_proto::{
    Admission, ClientConfig, Connection, Deframer, Event, GrowBuf, Held, Instant, Limits, MessageOf, NewReason,
    Resumption, Schema, ServiceDef, Session, Token, define_service,
};
use diset_std::store::redb::{ReadableTable as _, TableDefinition};
use diset_std::store::{DurableStore, KeptInbox, KeptReplay, RestoredSession, SessionBook, Transaction};
use diset_std::tls::Principal;
use diset_std::{Identity, SessionId, Trid};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

pub(crate) type TestResult<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;
pub(crate) type KeptSession = Session<KeptReplay, KeptInbox>;
pub(crate) type ClientSession = Session<HeapReplay, Volatile>;

/// How often a value of a client was handled.
pub(crate) const HANDLED: TableDefinition<'_, (u8, u64), u64> = TableDefinition::new("test.handled");
/// The last value of a client that was handled.
const LAST: TableDefinition<'_, u8, u64> = TableDefinition::new("test.last");

#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Reading {
    pub(crate) value: u64,
    pub(crate) text: String,
}

define_service! { pub(crate) Meter = "Test/Meter"; both: [Reading] }

impl Reading {
    pub(crate) fn new(value: u64) -> Self {
        Self {
            value,
            text: "x".repeat((value % 50) as usize),
        }
    }
}

pub(crate) fn id_of(client: u8) -> SessionId {
    SessionId {
        principal: Principal::from([client; 32]),
        identity: Identity::from_bytes([client; 16]),
    }
}

pub(crate) fn unwrapped(restored: RestoredSession) -> TestResult<KeptSession> {
    Ok(restored.into_session(|replay, inbox| (replay, inbox))?)
}

fn now() -> Instant {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let elapsed = START.get_or_init(std::time::Instant::now).elapsed();
    Instant::from_millis(elapsed.as_millis() as u64 + 1)
}

fn token() -> Token {
    let half = || RandomState::new().hash_one(1).to_le_bytes();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&half());
    bytes[8..].copy_from_slice(&half());
    Token::from_bytes(bytes)
}

/// Waits for input, for a call, or for the engine's time.
async fn input(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    called: &Notify,
    wake: Option<Instant>,
) -> TestResult<Option<usize>> {
    let wait = wake.map_or(Duration::from_secs(60), |wake| wake.since(now()));
    tokio::select! {
        read = stream.read(buffer) => match read? {
            0 => Err("the other side has gone".into()),
            count => Ok(Some(count)),
        },
        () = called.notified() => Ok(None),
        () = tokio::time::sleep(wait) => Ok(None),
    }
}

/// A message of a client on its way to its handler.
struct Waiting {
    began: Trid,
    number: u64,
    value: u64,
    held: Option<Held>,
}

/// Handles a value of a client: counts it, and refuses one that comes too early.
pub(crate) fn handle(transaction: &Transaction<'_>, client: u8, value: u64) -> TestResult {
    let mut last = transaction.open_table(LAST)?;
    let before = last.get(client)?.map_or(0, |row| row.value());
    if value > before + 1 {
        return Err(format!("client {client}: {value} came after {before}").into());
    }
    last.insert(client, value.max(before))?;
    let mut handled = transaction.open_table(HANDLED)?;
    let count = handled.get((client, value))?.map_or(0, |row| row.value());
    handled.insert((client, value), count + 1)?;
    Ok(())
}

/// One connection of the service.
pub(crate) struct ServiceEnd {
    pub(crate) store: DurableStore,
    pub(crate) client: u8,
    pub(crate) trid: Trid,
    /// How many messages the service sends, as long as it lives.
    pub(crate) sends: u64,
}

impl ServiceEnd {
    /// Serves this client until something is wrong with the connection.
    pub(crate) async fn run(self, mut stream: TcpStream, kept: Option<RestoredSession>) -> TestResult {
        let mut lane = VecDeque::new();
        let session = match kept {
            Some(restored) => {
                for message in restored.unhandled() {
                    let value = first_attribute(&message.payload)?;
                    lane.push_back(Waiting {
                        began: message.began,
                        number: message.number,
                        value,
                        held: None,
                    });
                }
                unwrapped(restored)?
            }
            None => {
                let (replay, inbox) = self.store.begin(id_of(self.client));
                Session::new(replay, inbox)
            }
        };
        let book = session.inbox().book().clone();
        let called = Arc::new(Notify::new());
        let call = Arc::clone(&called);
        book.on_kept(Some(Arc::new(move || call.notify_one())));
        let mut conn = Connection::service(now(), Meter::CATALOG, Limits::SERVER, GrowBuf::new(1 << 20))
            .map_err(|misuse| format!("{misuse:?}"))?
            .with_sessions(None);
        let mut session = Some(Box::new(session));
        let mut rx = Deframer::new(GrowBuf::new(1 << 20));
        let mut buffer = vec![0; 64 * 1024];
        let mut left = self.sends;
        loop {
            while left > 0
                && let Some(number) = conn.session().map(Session::next_number)
                && conn
                    .send_acked(Reading::NUMBER, &Reading::new(number), Unsure::Report)
                    .is_ok()
            {
                left -= 1;
            }
            keep(&book, &conn);
            let bytes = conn.transmit().to_vec();
            if stream.write_all(&bytes).await.is_err() {
                return Ok(());
            }
            conn.transmitted(bytes.len());
            if conn.session().is_some() {
                for waiting in lane.drain(..lane.len().min(4)).collect::<Vec<_>>() {
                    self.handle(&book, &mut conn, waiting).await?;
                }
                if !lane.is_empty() {
                    called.notify_one();
                }
            }
            // What came before a kill is handled first, or the inbox would only grow.
            let crowded = conn.session().is_some_and(|session| session.inbox().is_crowded());
            let read = if crowded {
                None
            } else {
                let Ok(read) = input(&mut stream, &mut buffer, &called, conn.wake()).await else {
                    return Ok(());
                };
                read
            };
            let _ = conn.handle_time(now());
            let mut input = &buffer[..read.unwrap_or(0)];
            let mut proposed = false;
            while let Some(frame) = rx.next(&mut input, conn.max_frame()) {
                match conn.handle_frame(now(), frame) {
                    Some(Event::Proposed(_)) => proposed = true,
                    Some(Event::Message(message)) => {
                        let number = message.number_in_session().ok_or("a plain message")?;
                        let began = conn.session().ok_or("no session")?.began();
                        let (reading, held) = conn.decode_held::<Reading>(message).map_err(|_| "decode")?;
                        lane.push_back(Waiting {
                            began,
                            number,
                            value: reading.value,
                            held: Some(held),
                        });
                    }
                    Some(Event::Dropped(cause)) => return Err(cause.to_string().into()),
                    _ => {}
                }
            }
            if proposed {
                let mut session = session.take().ok_or("proposed twice")?;
                self.welcome(&conn, &mut session)?;
                book.keep(session.record());
                // PROTOCOL Q-6: the token is in the file before the client has it.
                book.kept().await?;
                conn.accept_in_session(now(), Admission::new(self.trid), Some(session))
                    .map_err(|(misuse, _)| format!("{misuse:?}"))?;
            }
            keep(&book, &conn);
        }
    }

    fn welcome(&self, conn: &Connection<GrowBuf, Option<Box<KeptSession>>>, session: &mut KeptSession) -> TestResult {
        let request = conn.resume_request().ok_or("no session wanted")?;
        if session.began() == Trid::new(0) {
            let why = if request.is_return() {
                NewReason::Forgotten
            } else {
                NewReason::First
            };
            session.begin_with(request, self.trid, why, Some(token()));
        } else {
            session
                .welcome(request, self.trid, true, token())
                .map_err(|why| why.to_string())?;
        }
        session.inbox().book().connected(self.trid);
        Ok(())
    }

    /// Even values in one step with their message, odd ones apart from it.
    async fn handle(
        &self,
        book: &SessionBook,
        conn: &mut Connection<GrowBuf, Option<Box<KeptSession>>>,
        waiting: Waiting,
    ) -> TestResult {
        let Waiting {
            began,
            number,
            value,
            held,
        } = waiting;
        let client = self.client;
        let session = conn.session_mut().ok_or("no session")?;
        if !session.begin(number) {
            return Err(format!("client {client}: {number} is not to be handled").into());
        }
        let run = move |transaction: &Transaction<'_>| handle(transaction, client, value);
        if value % 2 == 0 {
            book.transact(began, number, run).await?;
        } else {
            self.store.write(run).await?;
        }
        match held {
            Some(held) => conn.release(held),
            None => {
                let session = conn.session_mut().ok_or("no session")?;
                assert!(session.settle(number, diset_std::Outcome::Ok), "in order");
            }
        }
        keep(book, conn);
        Ok(())
    }
}

/// The first attribute of a reading.
fn first_attribute(payload: &[u8]) -> TestResult<u64> {
    let mut value = 0;
    for (place, byte) in payload.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("not a reading".into())
}

fn keep(book: &SessionBook, conn: &Connection<GrowBuf, Option<Box<KeptSession>>>) {
    if let Some(session) = conn.session() {
        book.keep(session.record());
    }
}

/// A client, which outlives the service.
pub(crate) struct ClientEnd {
    pub(crate) client: u8,
    pub(crate) session: Option<ClientSession>,
    /// What the service sent, in order.
    pub(crate) got: Vec<u64>,
    /// How many messages were sent.
    pub(crate) sent: u64,
    pub(crate) connected: u64,
}

impl ClientEnd {
    pub(crate) fn new(client: u8) -> Self {
        Self {
            client,
            session: Some(Session::new(HeapReplay::new(10_000, 10 << 20), Volatile)),
            got: Vec::new(),
            sent: 0,
            connected: 0,
        }
    }

    pub(crate) fn session(&self) -> TestResult<&ClientSession> {
        self.session.as_ref().ok_or_else(|| "no session".into())
    }

    /// Sends, and receives, until the connection is lost, or all `until` messages are dealt with.
    pub(crate) async fn run(&mut self, mut stream: TcpStream, until: u64) -> TestResult {
        let session = self.session.take().ok_or("no session")?;
        let config = ClientConfig {
            catalog: Meter::CATALOG,
            identity: Identity::from_bytes([self.client; 16]),
            limits: Limits::SERVER,
            args: &[],
        };
        let mut conn = Connection::client_in_session(now(), &config, GrowBuf::new(1 << 20), session)
            .map_err(|(misuse, _)| misuse)?;
        let result = self.drive(&mut conn, &mut stream, until).await;
        self.session = Some(conn.into_session());
        // That the service is killed is no failure; what is wrong with the session is.
        result
    }

    async fn drive(
        &mut self,
        conn: &mut Connection<GrowBuf, ClientSession>,
        stream: &mut TcpStream,
        until: u64,
    ) -> TestResult {
        let mut rx = Deframer::new(GrowBuf::new(1 << 20));
        let mut buffer = vec![0; 64 * 1024];
        let called = Notify::new();
        loop {
            while conn.resumption().is_some()
                && self.sent < until
                && self.sent < conn.delivered().received + 100
                && conn
                    .send_acked(Reading::NUMBER, &Reading::new(self.sent + 1), Unsure::Report)
                    .is_ok()
            {
                self.sent += 1;
            }
            if conn.delivered().processed == until {
                return Ok(());
            }
            let bytes = conn.transmit().to_vec();
            if stream.write_all(&bytes).await.is_err() {
                return Ok(());
            }
            conn.transmitted(bytes.len());
            let Ok(read) = input(stream, &mut buffer, &called, conn.wake()).await else {
                return Ok(());
            };
            let _ = conn.handle_time(now());
            let mut input = &buffer[..read.unwrap_or(0)];
            while let Some(frame) = rx.next(&mut input, conn.max_frame()) {
                match conn.handle_frame(now(), frame) {
                    Some(Event::Connected(_)) => {
                        let resumption = conn.resumption();
                        if self.connected > 0 && !matches!(resumption, Some(Resumption::Resumed { .. })) {
                            return Err(format!("client {}: {resumption:?}", self.client).into());
                        }
                        self.connected += 1;
                    }
                    Some(Event::Message(message)) => {
                        let reading = conn.decode::<Reading>(message).map_err(|_| "decode")?;
                        self.got.push(reading.value);
                    }
                    Some(Event::Dropped(cause)) => return Err(format!("client {}: {cause}", self.client).into()),
                    _ => {}
                }
            }
            if let Some(outcome) = conn.take_outcome() {
                return Err(format!("client {}: {outcome:?}", self.client).into());
            }
        }
    }
}
