//! Two ends that are driven by hand, and stores that say what they keep.

use diset_proto::store::Unsure;
use diset_proto::{
    Admission, Cause, ClientConfig, Code, Connection, Deframer, Event, GrowBuf, Identity, Instant, Kept, Limits,
    MessageOf, NewReason, Resumption, Schema, SendError, ServiceDef, Session, Token, Trid, Unwelcome, define_service,
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

/// What an end saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Proposed,
    Connected,
    Message(Kept),
    Acknowledged,
    Dropped(Cause),
    Other,
}

pub(crate) struct End {
    pub(crate) conn: Connection<GrowBuf, Option<Box<State>>>,
    rx: Deframer<GrowBuf>,
}

pub(crate) fn client(session: Box<State>) -> End {
    client_with(Some(session))
}

pub(crate) fn client_with(session: Option<Box<State>>) -> End {
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    End {
        conn: Connection::client_in_session(at(0), &config, GrowBuf::new(10_000), session).unwrap(),
        rx: Deframer::new(GrowBuf::new(10_000)),
    }
}

pub(crate) fn service() -> End {
    let conn = Connection::service(at(0), Meter::CATALOG, Limits::SERVER, GrowBuf::new(10_000)).unwrap();
    End {
        conn: conn.with_sessions(None),
        rx: Deframer::new(GrowBuf::new(10_000)),
    }
}

impl End {
    /// What leaves now.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let bytes = self.conn.transmit().to_vec();
        self.conn.transmitted(bytes.len());
        bytes
    }

    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(frame) = self.rx.next(&mut bytes, self.conn.max_frame()) {
            seen.extend(self.conn.handle_frame(at(0), frame).map(|event| match event {
                Event::Proposed(_) => Seen::Proposed,
                Event::Connected(_) => Seen::Connected,
                Event::Message(message) => Seen::Message(self.conn.keep(message)),
                Event::Acknowledged => Seen::Acknowledged,
                Event::Dropped(cause) => Seen::Dropped(cause),
                _ => Seen::Other,
            }));
        }
        if let Some(Event::Dropped(cause)) = self.conn.handle_time(at(0)) {
            seen.push(Seen::Dropped(cause));
        }
        seen
    }

    /// Lets the acknowledgement timer pass.
    pub(crate) fn tick(&mut self) {
        assert!(self.conn.handle_time(at(0)).is_none());
        assert!(self.conn.handle_time(at(20)).is_none());
    }

    pub(crate) fn send(&mut self, value: u32) -> u64 {
        self.try_send(value, Unsure::Report).unwrap()
    }

    pub(crate) fn try_send(&mut self, value: u32, unsure: Unsure) -> Result<u64, SendError> {
        self.conn.send_acked(READING, &Reading { value }, unsure)
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.conn.session_mut().expect("a session")
    }

    pub(crate) fn handle(&mut self, message: &Kept) -> u32 {
        self.conn.decode::<Reading>(message.message()).unwrap().value
    }
}

/// All that one end has to say reaches the other.
pub(crate) fn pass(from: &mut End, to: &mut End) -> Vec<Seen> {
    let bytes = from.bytes();
    to.take(&bytes)
}

/// The messages among what was seen.
pub(crate) fn messages(seen: Vec<Seen>) -> Vec<Kept> {
    let mut messages = Vec::new();
    for seen in seen {
        match seen {
            Seen::Message(message) => messages.push(message),
            Seen::Dropped(cause) => panic!("{cause}"),
            _ => {}
        }
    }
    messages
}

pub(crate) fn values(seen: Vec<Seen>, to: &mut End) -> Vec<u32> {
    messages(seen).iter().map(|message| to.handle(message)).collect()
}

pub(crate) fn code(seen: &[Seen]) -> Option<Code> {
    seen.iter().find_map(|seen| match seen {
        Seen::Dropped(cause) => cause.code(),
        _ => None,
    })
}

/// The service admits the client, on the connection `trid`, with the session it has, if it has one.
pub(crate) fn admit(service: &mut End, kept: &mut Option<Box<State>>, trid: u64, proven: bool) -> Resumption {
    let request = service.conn.resume_request().expect("a client with sessions").clone();
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
    service
        .conn
        .accept_in_session(at(0), Admission::new(trid), Some(session))
        .unwrap();
    service.conn.resumption().unwrap()
}

/// With which code the service refuses the client on the connection `trid`, if it does.
pub(crate) fn refusal(service: &End, kept: &Option<Box<State>>, trid: u64) -> Option<Code> {
    let request = service.conn.resume_request().expect("a client with sessions");
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
    assert!(matches!(pass(&mut service, &mut client)[..], [Seen::Connected, ..]));
    let resumption = client.conn.resumption().unwrap();
    (client, service, resumption)
}

/// Both lose the connection; what the client and the service remember.
pub(crate) fn part(client: End, service: End) -> (Box<State>, Option<Box<State>>) {
    (client.conn.into_session().unwrap(), service.conn.into_session())
}
