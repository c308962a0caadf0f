//! Both sides without a heap: what there is, and what a service refuses for want of memory.
#![cfg(test)]

use diset_proto::{
    Admission, Catalog, Cause, ClientConfig, Code, Connection, Deframer, Event, Identity, Instant, Limits, MessageOf,
    NoSession, Schema, ServiceDef, Trid, define_service,
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

/// One side with its buffers.
struct Side {
    conn: Connection<[u8; 1024], NoSession>,
    rx: Deframer<[u8; 1028]>,
}

impl Side {
    fn of(conn: Connection<[u8; 1024], NoSession>) -> Self {
        Self {
            conn,
            rx: Deframer::new([0; 1028]),
        }
    }

    fn client(catalog: &'static Catalog) -> Self {
        let config = ClientConfig {
            catalog,
            identity: Identity::from_bytes([7; 16]),
            limits: Limits::CHIP,
            args: &[],
        };
        Self::of(Connection::client(NOW, &config, [0; 1024]).expect("good settings"))
    }

    fn service() -> Self {
        let limits = Limits::CHIP.with_max_frame(1024);
        Self::of(Connection::service(NOW, PingPong::CATALOG, limits, [0; 1024]).expect("good settings"))
    }

    /// What it writes goes to the other.
    fn tell(&mut self, other: &mut Self, mut on: impl FnMut(&mut Connection<[u8; 1024], NoSession>, Event<'_>)) {
        let written = self.conn.transmit().to_vec();
        self.conn.transmitted(written.len());
        let mut input = written.as_slice();
        while let Some(frame) = other.rx.next(&mut input, other.conn.max_frame()) {
            if let Some(event) = other.conn.handle_frame(NOW, frame) {
                on(&mut other.conn, event);
            }
        }
    }
}

#[test]
fn a_pair_with_one_catalog_talks() {
    let (mut client, mut service) = (Side::client(PingPong::CATALOG), Side::service());
    client.tell(&mut service, |conn, event| {
        assert!(matches!(event, Event::Proposed(_)), "{event:?}");
        conn.accept(NOW, Admission::new(Trid::new(1))).expect("it has proposed");
    });
    service.tell(&mut client, |conn, event| {
        assert!(matches!(event, Event::Connected(_)), "{event:?}");
        conn.send(Ping::NUMBER, &Ping { id: 1 }).expect("open");
    });
    let mut heard = None;
    client.tell(&mut service, |conn, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        let ping: Ping = conn.decode(message).expect("a ping");
        conn.send(Pong::NUMBER, &Pong { id: ping.id }).expect("open");
    });
    service.tell(&mut client, |conn, event| {
        let Event::Message(message) = event else {
            panic!("{event:?}")
        };
        heard = Some(conn.decode::<Pong>(message).expect("a pong"));
    });
    assert_eq!(heard, Some(Pong { id: 1 }));
}

#[test]
fn a_client_with_another_catalog_is_refused() {
    let (mut client, mut service) = (Side::client(older::PingPong::CATALOG), Side::service());
    client.tell(&mut service, |conn, event| {
        assert!(matches!(event, Event::Proposed(_)), "{event:?}");
        let accepted = conn.accept(NOW, Admission::new(Trid::new(1))).expect("it has proposed");
        assert!(accepted.is_none(), "{accepted:?}");
    });
    let mut refused = None;
    service.tell(&mut client, |_, event| {
        if let Event::Dropped(Cause::Refused(notice)) = event {
            refused = Some(notice);
        }
    });
    let notice = refused.expect("a refusal");
    assert_eq!(notice.code(), Code::UnknownField, "PROTOCOL H-8");
    assert_eq!(notice.text(), "the service knows no definitions but its own");
}
