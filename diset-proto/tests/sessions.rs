//! Sessions: acked messages arrive once and in order, across connections.

use diset_proto::store::{FixedReplay, HeapReplay, Unsure, Volatile};
use diset_proto::{
    Admission, ClientConfig, Connection, Deframer, Event, GrowBuf, Identity, Instant, Limits, MessageOf, NewReason,
    Resumption, Schema, ServiceDef, Session, Token, Trid, define_service,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Schema)]
struct Reading {
    value: u32,
}

define_service! { Meter = "Test/Meter"; both: [Reading] }

type Client = Connection<GrowBuf, Session<FixedReplay<[u8; 2048]>, Volatile>>;
type Service = Connection<GrowBuf, Option<Box<Session<HeapReplay, Volatile>>>>;

fn client(session: Session<FixedReplay<[u8; 2048]>, Volatile>) -> Client {
    let config = ClientConfig {
        catalog: Meter::CATALOG,
        identity: Identity::from_bytes([1; 16]),
        limits: Limits::SERVER,
        args: &[],
    };
    Connection::client_in_session(Instant::from_millis(0), &config, GrowBuf::new(100_000), session).unwrap()
}

fn service() -> Service {
    Connection::service(
        Instant::from_millis(0),
        Meter::CATALOG,
        Limits::SERVER,
        GrowBuf::new(100_000),
    )
    .unwrap()
    .with_sessions(None)
}

struct Run {
    client: Client,
    service: Service,
    kept: Option<Box<Session<HeapReplay, Volatile>>>,
    got: Vec<u32>,
    back: Vec<u32>,
    trid: u64,
    now: Instant,
    started: Vec<Resumption>,
}

impl Run {
    fn turn(&mut self, lose_to_service: bool, lose_to_client: bool) -> usize {
        let bytes = self.client.transmit().to_vec();
        self.client.transmitted(bytes.len());
        let mut rx = Deframer::new(GrowBuf::new(100_000));
        // The preamble comes once: this deframer lives for one turn, so it is cheated here.
        let _ = &mut rx;
        let mut moved = bytes.len();
        if !lose_to_service {
            self.feed_service(&bytes);
        }
        let bytes = self.service.transmit().to_vec();
        self.service.transmitted(bytes.len());
        moved += bytes.len();
        if !lose_to_client {
            self.feed_client(&bytes);
        }
        for _ in 0..2 {
            if self.client.wake().is_some_and(|wake| wake <= self.now) {
                let _ = self.client.handle_time(self.now);
            }
            if self.service.wake().is_some_and(|wake| wake <= self.now) {
                let _ = self.service.handle_time(self.now);
            }
        }
        self.now = Instant::from_millis(self.now.as_millis() + 30);
        moved
    }

    fn feed_service(&mut self, bytes: &[u8]) {
        let mut rx = Deframer::new(GrowBuf::new(100_000));
        let mut input = bytes.to_vec();
        if !bytes.starts_with(&[0xd1]) {
            input = [&[0xd1, 0x53, 0x45, 0x54, 1][..], bytes].concat();
        }
        let mut input = input.as_slice();
        while let Some(frame) = rx.next(&mut input, self.service.max_frame()) {
            match self.service.handle_frame(self.now, frame) {
                Some(Event::Proposed(_)) => {
                    self.trid += 1;
                    let request = self.service.resume_request().unwrap().clone();
                    let token = Token::from_bytes([self.trid as u8; 16]);
                    let session = match self.kept.take() {
                        Some(mut session) => {
                            session.welcome(&request, Trid::new(self.trid), true, token).unwrap();
                            session
                        }
                        None => {
                            let mut session = Box::new(Session::new(HeapReplay::new(100, 10_000), Volatile));
                            let why = if request.is_return() {
                                NewReason::Forgotten
                            } else {
                                NewReason::First
                            };
                            session.begin_with(&request, Trid::new(self.trid), why, Some(token));
                            session
                        }
                    };
                    session.record();
                    let _ = self
                        .service
                        .accept_in_session(self.now, Admission::new(Trid::new(self.trid)), Some(session))
                        .unwrap();
                }
                Some(Event::Message(message)) => self.got.push(self.service.decode::<Reading>(message).unwrap().value),
                Some(Event::Dropped(cause)) => panic!("{cause}"),
                _ => {}
            }
        }
    }

    fn feed_client(&mut self, bytes: &[u8]) {
        let mut rx = Deframer::new(GrowBuf::new(100_000));
        let mut input = bytes.to_vec();
        if !bytes.starts_with(&[0xd1]) {
            input = [&[0xd1, 0x53, 0x45, 0x54, 1][..], bytes].concat();
        }
        let mut input = input.as_slice();
        while let Some(frame) = rx.next(&mut input, self.client.max_frame()) {
            match self.client.handle_frame(self.now, frame) {
                Some(Event::Message(message)) => self.back.push(self.client.decode::<Reading>(message).unwrap().value),
                Some(Event::Connected(_)) => self.started.push(self.client.resumption().unwrap()),
                Some(Event::Dropped(cause)) => panic!("{cause}"),
                _ => {}
            }
        }
    }

    fn reconnect(&mut self) {
        if let Some(session) = self.service.take_session() {
            self.kept = Some(session);
        }
        self.service = service();
        let old = core::mem::replace(
            &mut self.client,
            client(Session::new(FixedReplay::new([0; 2048]), Volatile)),
        );
        self.client = client(old.into_session());
    }
}

#[test]
fn what_is_acked_arrives_once_and_in_order() {
    let mut run = Run {
        client: client(Session::new(FixedReplay::new([0; 2048]), Volatile)),
        service: service(),
        kept: None,
        got: Vec::new(),
        back: Vec::new(),
        trid: 0,
        now: Instant::from_millis(1),
        started: Vec::new(),
    };
    let mut sent = 0;
    for round in 0..40u32 {
        for _ in 0..3 {
            run.client
                .send_acked(Reading::NUMBER, &Reading { value: sent }, Unsure::Report)
                .unwrap();
            if run.service.session().is_some() {
                run.service
                    .send_acked(Reading::NUMBER, &Reading { value: sent }, Unsure::Report)
                    .unwrap();
            }
            sent += 1;
        }
        run.turn(round % 7 == 3, round % 5 == 4);
        if round % 7 == 3 || round % 5 == 4 || round % 11 == 10 {
            run.reconnect();
        }
    }
    for _ in 0..10 {
        run.turn(false, false);
    }
    assert_eq!(run.got, (0..sent).collect::<Vec<_>>());
    assert!(run.back.is_sorted() && run.back.len() > 60, "{:?}", run.back);
    let mut once = run.back.clone();
    once.dedup();
    assert_eq!(once, run.back);
    println!("{:?}", run.started);
    assert_eq!(run.client.delivered().processed, u64::from(sent));
    assert!(
        run.started
            .iter()
            .skip(1)
            .all(|start| matches!(start, Resumption::Resumed { .. }))
    );
    assert!(
        run.client
            .session()
            .unwrap()
            .record()
            .eq(&run.client.session().unwrap().record())
    );
}
