//! Two ends, each a pair of halves, with nothing between them, and stores that say what they keep.

use core::task::{Context, Waker};

use diset_proto::drive::{Event, Failure, HandlerResult, HeapQueue, Lent, Parts, Rx, Tx};
use diset_proto::sim::{Later, Simulated};
use diset_proto::store::Unsure;
use diset_proto::{
    Admission, Cause, ClientConfig, Code, Connection, GrowBuf, Identity, Instant, Limits, MessageOf, NewReason,
    Resumption, Schema, SendError, ServiceDef, Session, Token, Trid, Unwelcome, define_service,
};
use serde::{Deserialize, Serialize};

pub(crate) use crate::stores::{DESK, DURABLE, Desk, Shelf};

#[derive(Serialize, Deserialize, Schema)]
pub(crate) struct Reading {
    pub(crate) value: u32,
}

define_service! { pub Meter = "Test/Meter"; both: [Reading] }

pub(crate) const READING: u8 = <Reading as MessageOf<Meter>>::NUMBER;

pub(crate) const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub(crate) type State = Session<Shelf, Desk>;

pub(crate) fn session(desk: Desk) -> Box<State> {
    Box::new(Session::new(Shelf::new(200, 10_000), desk))
}

/// The handler that waits comes to this.
pub(crate) fn say<P: Parts<Running = Later>>(rx: &mut Rx<P>, later: &Later, result: HandlerResult) {
    later.comes_to(result);
    assert!(rx.poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

/// What handlers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    Returns,
    Fails,
    Waits,
}

pub(crate) const FAILED: Failure = Failure::new(Code::HandlerFailed);

/// A message goes to a handler that does this: its value, if it has one.
pub(crate) fn handle<P: Parts<Running = Later>>(lent: Lent<'_, P>, handler: Handler, later: &Later) -> Option<u32> {
    let (Reading { value }, handling) = lent.decode()?;
    match handler {
        Handler::Returns => handling.done(Ok(())),
        Handler::Fails => handling.done(Err(FAILED)),
        Handler::Waits => later.wait(handling),
    }
    Some(value)
}

/// What an end saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Proposed,
    Connected,
    /// A message has come to its handler.
    Message {
        value: u32,
        marked: bool,
    },
    /// One that does not fit has not.
    Invalid,
    Acknowledged,
    Ended(Cause),
    Other,
}

pub(crate) struct End {
    rx: Rx<Simulated<Option<Box<State>>>>,
    pub(crate) tx: Tx<Simulated<Option<Box<State>>>>,
    later: Later,
    /// What its handlers do.
    pub(crate) handler: Handler,
}

pub(crate) fn config(limits: Limits) -> ClientConfig<'static> {
    ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits,
        args: &[],
    }
}

pub(crate) fn client(session: Box<State>) -> End {
    let mut end = End::new(Some(session));
    end.connect();
    end
}

pub(crate) fn service() -> End {
    let mut end = End::new(None);
    let listening = end.rx.listen(at(0), &mut end.tx, Meter::CATALOG, Limits::SERVER);
    listening.unwrap();
    end
}

impl End {
    fn new(session: Option<Box<State>>) -> Self {
        Self {
            rx: Rx::new(GrowBuf::new(70_000), HeapQueue::new(GrowBuf::new(10_000))),
            tx: Tx::new(GrowBuf::new(10_000), session),
            later: Later::default(),
            handler: Handler::Returns,
        }
    }

    pub(crate) fn connect(&mut self) {
        let connecting = self.rx.connect(at(0), &mut self.tx, &config(Limits::SERVER));
        connecting.unwrap();
    }

    pub(crate) const fn conn(&self) -> &Connection<GrowBuf, Option<Box<State>>> {
        self.tx.connection()
    }

    /// What leaves now.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        self.rx.turn(at(0), &mut self.tx);
        let bytes = self.tx.output().to_vec();
        self.tx.wrote(bytes.len());
        bytes
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Seen> {
        let mut seen = self.feed(bytes);
        self.rx.turn(at(0), &mut self.tx);
        seen.extend(self.feed(&[]));
        seen
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(event) = self.rx.next(at(0), &mut self.tx, &mut bytes) {
            seen.push(match event {
                Event::Proposed(_) => Seen::Proposed,
                Event::Connected(_) => Seen::Connected,
                Event::Message(lent) => {
                    let marked = lent.meta().maybe_repeated();
                    match handle(lent, self.handler, &self.later) {
                        Some(value) => Seen::Message { value, marked },
                        None => Seen::Invalid,
                    }
                }
                Event::Acknowledged => Seen::Acknowledged,
                Event::Ended(ended) => Seen::Ended(ended.cause().clone()),
                _ => Seen::Other,
            });
        }
        seen
    }

    /// The handler that waits returns; what comes next.
    pub(crate) fn returns(&mut self) -> Vec<Seen> {
        say(&mut self.rx, &self.later, Ok(()));
        self.take(&[])
    }

    /// The transport is gone.
    pub(crate) fn lose(&mut self) -> Vec<Seen> {
        self.rx.ended(at(0), &mut self.tx);
        self.take(&[])
    }

    /// The transport is gone, and nothing but the session stays.
    pub(crate) fn into_session(mut self) -> Option<Box<State>> {
        self.lose();
        self.tx.take_session()
    }

    /// Lets the acknowledgement timer pass.
    pub(crate) fn tick(&mut self) {
        for millis in [0, 20] {
            self.rx.turn(at(millis), &mut self.tx);
        }
        assert!(self.feed(&[]).is_empty());
    }

    pub(crate) fn send(&mut self, value: u32) -> u64 {
        self.try_send(value, Unsure::Report).unwrap()
    }

    pub(crate) fn try_send(&mut self, value: u32, unsure: Unsure) -> Result<u64, SendError> {
        self.tx.send_acked(READING, &Reading { value }, unsure)
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.tx.session_mut().expect("a session")
    }
}

/// All that one end has to say reaches the other.
pub(crate) fn pass(from: &mut End, to: &mut End) -> Vec<Seen> {
    let bytes = from.bytes();
    to.take(&bytes)
}

/// The messages among what was seen, by their values.
pub(crate) fn values(seen: &[Seen]) -> Vec<u32> {
    let value = |seen: &Seen| match seen {
        Seen::Message { value, .. } => Some(*value),
        Seen::Ended(cause) => panic!("{cause}"),
        _ => None,
    };
    seen.iter().filter_map(value).collect()
}

pub(crate) fn code(seen: &[Seen]) -> Option<Code> {
    seen.iter().find_map(|seen| match seen {
        Seen::Ended(cause) => cause.code(),
        _ => None,
    })
}

/// The service admits the client, on the connection `trid`, with the session it has, if it has one.
pub(crate) fn admit(service: &mut End, kept: &mut Option<Box<State>>, trid: u64, proven: bool) -> Resumption {
    let request = service.conn().resume_request().expect("a client with sessions").clone();
    let (token, trid) = (Token::from_bytes([trid as u8; 16]), Trid::new(trid));
    let session = match kept.take() {
        Some(mut known) => match known.welcome(&request, trid, proven, token) {
            Ok(()) => known,
            Err(Unwelcome::Refused(notice)) => panic!("refused: {notice}"),
            Err(Unwelcome::Passing(why)) => {
                *kept = Some(known);
                let mut other = session(DESK);
                other.begin_with(&request, trid, why, None);
                other
            }
        },
        None => {
            let mut fresh = session(DESK);
            let why = if request.is_return() {
                NewReason::Forgotten
            } else {
                NewReason::First
            };
            fresh.begin_with(&request, trid, why, Some(token));
            fresh
        }
    };
    let admission = Admission::new(trid);
    let admitted = service
        .rx
        .admit_in_session(at(0), &mut service.tx, admission, Some(session));
    assert!(admitted.is_ok());
    service.take(&[]);
    service.conn().resumption().unwrap()
}

/// With which code the service refuses the client on the connection `trid`, if it does.
pub(crate) fn refusal(service: &End, kept: &Option<Box<State>>, trid: u64) -> Option<Code> {
    let request = service.conn().resume_request().expect("a client with sessions");
    let kept = kept.as_ref().expect("a session");
    match kept.may_welcome(request, Trid::new(trid), true) {
        Err(Unwelcome::Refused(notice)) => Some(notice.code()),
        _ => None,
    }
}

/// A client that comes with what it remembers, up to the acceptance, which it has not got.
pub(crate) fn knock(
    state: Box<State>,
    kept: &mut Option<Box<State>>,
    trid: u64,
    proven: bool,
) -> (End, End, Resumption) {
    let (mut client, mut service) = (client(state), service());
    assert!(matches!(pass(&mut client, &mut service)[..], [Seen::Proposed]));
    let resumption = admit(&mut service, kept, trid, proven);
    (client, service, resumption)
}

/// As [`knock`], and the acceptance has come; how the client found its session.
pub(crate) fn meet(state: Box<State>, kept: &mut Option<Box<State>>, trid: u64) -> (End, End, Resumption) {
    let (mut client, mut service, _) = knock(state, kept, trid, true);
    // Outcomes in the acceptance are told before.
    let seen = pass(&mut service, &mut client);
    assert!(seen.iter().any(|seen| matches!(seen, Seen::Connected)), "{seen:?}");
    let resumption = client.conn().resumption().unwrap();
    (client, service, resumption)
}

/// Both lose the connection; what the client and the service remember.
pub(crate) fn part(client: End, service: End) -> (Box<State>, Option<Box<State>>) {
    (client.into_session().unwrap(), service.into_session())
}
