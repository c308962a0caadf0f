//! Both sides without a heap: what there is, and what a service refuses for want of memory.
#![cfg(test)]

use diset_proto::drive::{Event, NoQueue, Parts, Rx, Tx};
use diset_proto::{
    Admission, Catalog, Cause, ClientConfig, Code, Identity, Instant, Limits, MessageOf, NoSession, Schema, ServiceDef,
    Trid, define_service,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Ping {
    id: i64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Schema)]
struct Pong {
    id: i64,
}

define_service! { PingPong = "Framework/PingPong"; from_client: [Ping], from_service: [Pong] }

/// The same service as an older client knows it.
mod older {
    use diset_proto::{Schema, define_service};
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, Schema)]
    struct Ping {
        id: i64,
    }

    define_service! { pub(super) PingPong = "Framework/PingPong"; from_client: [Ping] }
}

const NOW: Instant = Instant::from_millis(1000);

struct Small;

impl Parts for Small {
    type Buffer = [u8; 1028];
    type Session = NoSession;
    type Queue = NoQueue;
    type Running = ();
}

/// One side with its buffers.
struct Side {
    rx: Rx<Small>,
    tx: Tx<Small>,
}

impl Side {
    fn new() -> Self {
        Self {
            rx: Rx::new([0; 1028], NoQueue),
            tx: Tx::new([0; 1028], NoSession),
        }
    }

    fn client(catalog: &'static Catalog) -> Self {
        let config = ClientConfig {
            catalog,
            identity: Identity::from_bytes([7; 16]),
            limits: Limits::CHIP,
            args: &[],
        };
        let mut side = Self::new();
        side.rx.connect(NOW, &mut side.tx, &config).expect("good settings");
        side
    }

    fn service() -> Self {
        let (mut side, limits) = (Self::new(), Limits::CHIP.with_max_frame(1024));
        side.rx
            .listen(NOW, &mut side.tx, PingPong::CATALOG, limits)
            .expect("good settings");
        side
    }

    /// What it writes goes to the other, which admits whoever proposes.
    fn tell(&mut self, other: &mut Self, mut on: impl FnMut(&mut Tx<Small>, Event<'_, Small>)) {
        self.rx.turn(NOW, &mut self.tx);
        let written = self.tx.output().to_vec();
        self.tx.wrote(written.len());
        let mut input = written.as_slice();
        while let Some(event) = other.rx.next(NOW, &mut other.tx, &mut input) {
            match event {
                Event::Proposed(_) => {
                    let admitted = other.rx.admit(NOW, &mut other.tx, Admission::new(Trid::new(1)));
                    admitted.expect("it has proposed");
                }
                event => on(&mut other.tx, event),
            }
        }
        other.rx.turn(NOW, &mut other.tx);
        while let Some(event) = other.rx.next(NOW, &mut other.tx, &mut input) {
            on(&mut other.tx, event);
        }
    }
}

#[test]
fn a_pair_with_one_catalog_talks() {
    let (mut client, mut service) = (Side::client(PingPong::CATALOG), Side::service());
    let mut opened = 0;
    client.tell(&mut service, |_, event| {
        assert!(matches!(event, Event::Connected(_)), "{event:?}");
        opened += 1;
    });
    service.tell(&mut client, |tx, event| {
        assert!(matches!(event, Event::Connected(_)), "{event:?}");
        opened += 1;
        tx.send(Ping::NUMBER, &Ping { id: 1 }).expect("open");
    });
    assert_eq!(opened, 2);
    let mut heard = None;
    client.tell(&mut service, |tx, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        message.run(|ping: Ping| {
            tx.send(Pong::NUMBER, &Pong { id: ping.id }).expect("open");
            Ok(())
        });
    });
    service.tell(&mut client, |_, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        message.run(|pong: Pong| {
            heard = Some(pong);
            Ok(())
        });
    });
    assert_eq!(heard, Some(Pong { id: 1 }));
}

#[test]
fn a_client_with_another_catalog_is_refused() {
    let (mut client, mut service) = (Side::client(older::PingPong::CATALOG), Side::service());
    client.tell(&mut service, |_, event| {
        assert!(matches!(event, Event::Ended(_)), "{event:?}");
    });
    let mut refused = None;
    service.tell(&mut client, |_, event| {
        if let Event::Ended(ended) = event
            && let Cause::Refused(notice) = ended.cause()
        {
            refused = Some(notice.clone());
        }
    });
    let notice = refused.expect("a refusal");
    assert_eq!(notice.code(), Code::UnknownField, "PROTOCOL H-8");
    assert_eq!(notice.text(), "the service knows no definitions but its own");
}
