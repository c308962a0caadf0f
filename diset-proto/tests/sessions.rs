//! Sessions: acked messages arrive once and in order, across connections.

use diset_proto::drive::Event;
use diset_proto::sim::Halves;
use diset_proto::store::{FixedReplay, HeapReplay, Unsure, Volatile};
use diset_proto::{
    Admission, ClientConfig, Identity, Instant, Limits, MessageOf, NewReason, Resumption, Schema, ServiceDef, Session,
    Token, Trid, define_service,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Schema)]
struct Reading {
    value: u32,
}

define_service! { Meter = "Test/Meter"; both: [Reading] }

/// A client keeps its session from one connection to the next, a service for whoever comes back.
type Client = Halves<Session<FixedReplay<[u8; 2048]>, Volatile>>;
type Service = Halves<Option<Box<Session<HeapReplay, Volatile>>>>;

const CONFIG: ClientConfig<'_> = ClientConfig {
    catalog: Meter::CATALOG,
    identity: Identity::from_bytes([1; 16]),
    limits: Limits::SERVER,
    args: &[],
};

struct Run {
    client: Client,
    service: Service,
    kept: Option<Box<Session<HeapReplay, Volatile>>>,
    got: Vec<u32>,
    back: Vec<u32>,
    trid: u64,
    started: Vec<Resumption>,
}

impl Run {
    fn new() -> Self {
        let now = Instant::from_millis(1);
        let session = Session::new(FixedReplay::new([0; 2048]), Volatile);
        let mut run = Self {
            client: Halves::new(now, &Limits::SERVER, 100_000, session),
            service: Halves::new(now, &Limits::SERVER, 100_000, None),
            kept: None,
            got: Vec::new(),
            back: Vec::new(),
            trid: 0,
            started: Vec::new(),
        };
        run.connect();
        run
    }

    fn turn(&mut self, lose_to_service: bool, lose_to_client: bool) {
        let bytes = self.client.take();
        if !lose_to_service {
            self.feed_service(&bytes);
        }
        let bytes = self.service.take();
        if !lose_to_client {
            self.feed_client(&bytes);
        }
        let now = self.client.now.after(core::time::Duration::from_millis(30));
        (self.client.now, self.service.now) = (now, now);
    }

    fn feed_service(&mut self, mut bytes: &[u8]) {
        while let Some(event) = self.service.next(&mut bytes) {
            match event {
                Event::Proposed(_) => self.admit(),
                Event::Message(message) => message.run(|reading: Reading| {
                    self.got.push(reading.value);
                    Ok(())
                }),
                Event::Ended(ended) => panic!("{}", ended.cause()),
                _ => {}
            }
        }
    }

    fn admit(&mut self) {
        self.trid += 1;
        let (trid, token) = (Trid::new(self.trid), Token::from_bytes([self.trid as u8; 16]));
        let request = self.service.resume_request().unwrap().clone();
        let session = match self.kept.take() {
            Some(mut session) => {
                session.welcome(&request, trid, true, token).unwrap();
                session
            }
            None => {
                let mut session = Box::new(Session::new(HeapReplay::new(100, 10_000), Volatile));
                let why = if request.is_return() {
                    NewReason::Forgotten
                } else {
                    NewReason::First
                };
                session.begin_with(&request, trid, why, Some(token));
                session
            }
        };
        let admitted = self.service.accept_in_session(Admission::new(trid), Some(session));
        assert!(admitted.is_ok());
    }

    fn feed_client(&mut self, mut bytes: &[u8]) {
        while let Some(event) = self.client.next(&mut bytes) {
            match event {
                Event::Connected(_) => self.started.push(self.client.resumption().unwrap()),
                Event::Message(message) => message.run(|reading: Reading| {
                    self.back.push(reading.value);
                    Ok(())
                }),
                Event::Ended(ended) => panic!("{}", ended.cause()),
                _ => {}
            }
        }
    }

    fn reconnect(&mut self) {
        self.client.lose();
        self.client
            .feed(&[], |_, event| assert!(matches!(event, Event::Ended(_))));
        self.service.lose();
        self.service
            .feed(&[], |_, event| assert!(matches!(event, Event::Ended(_))));
        self.kept = self.service.take_session().or_else(|| self.kept.take());
        self.connect();
    }

    fn connect(&mut self) {
        self.client.connect(&CONFIG).unwrap();
        self.service.listen(Meter::CATALOG, Limits::SERVER).unwrap();
    }
}

#[test]
fn what_is_acked_arrives_once_and_in_order() {
    let mut run = Run::new();
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
