//! An engine with its deframer and room for everything.

use diset_proto::store::{HeapReplay, Volatile};
use diset_proto::{
    Admission, Catalog, ClientConfig, Connection, Deframer, Event, GrowBuf, Identity, Instant, Limits, Session,
};

use super::engine::frame;
use super::model::AcceptanceSaid;

/// A place for a session, when there is one.
pub(super) type Slot = Option<Box<Session<HeapReplay, Volatile>>>;

/// No time passes for it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) conn: Connection<GrowBuf, Slot>,
    pub(super) rx: Deframer<GrowBuf>,
}

pub(super) const PREAMBLE: [u8; 5] = [0xd1, b'S', b'E', b'T', 1];
pub(super) const ACCEPTANCE: u8 = 0x81;
pub(super) const ROOM: usize = 64 * 1024;

impl Peer {
    pub(super) fn new(conn: Connection<GrowBuf, Slot>) -> Self {
        Self {
            conn,
            rx: Deframer::new(GrowBuf::new(ROOM)),
        }
    }

    pub(super) fn client(catalog: &'static Catalog, limits: Limits) -> Self {
        Self::client_in(catalog, limits, None)
    }

    pub(super) fn client_in(catalog: &'static Catalog, limits: Limits, session: Slot) -> Self {
        let config = ClientConfig {
            catalog,
            identity: Identity::from_bytes([1; 16]),
            limits,
            args: &[],
        };
        Self::new(Connection::client_in_session(Instant::ZERO, &config, GrowBuf::new(ROOM), session).unwrap())
    }

    pub(super) fn service(catalog: &'static Catalog, limits: Limits) -> Self {
        let service = Connection::service(Instant::ZERO, catalog, limits, GrowBuf::new(ROOM)).unwrap();
        Self::new(service.with_sessions(None))
    }

    /// Takes what came; `on` gets the events.
    pub(super) fn feed(&mut self, mut input: &[u8], mut on: impl FnMut(Event<'_>)) {
        while let Some(frame) = self.rx.next(&mut input, self.conn.max_frame()) {
            if let Some(event) = self.conn.handle_frame(Instant::ZERO, frame) {
                on(event);
            }
        }
    }

    /// Everything that is to be sent.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let bytes = self.conn.transmit().to_vec();
        self.conn.transmitted(bytes.len());
        bytes
    }

    /// A service that admits whoever sends this; with what it answers.
    pub(super) fn admit(&mut self, proposal: &[u8], admission: Admission) -> Vec<u8> {
        self.feed(proposal, |_| ());
        self.conn.accept(Instant::ZERO, admission).unwrap();
        self.take()
    }
}

/// A client whose connection has just opened. The service is the model: an engine would cost more than what is tested.
pub(super) fn open(catalog: &'static Catalog, limits: Limits) -> Peer {
    let mut client = Peer::client(catalog, limits);
    client.take();
    let accepted = AcceptanceSaid {
        trid: 1,
        limits: [ROOM as u64, 1 << 20, 1000, 60_000],
        verdicts: Vec::new(),
        session: None,
        token: None,
        digest: None,
        first: None,
    };
    client.feed(&[&PREAMBLE, &*frame(ACCEPTANCE, &accepted.write())].concat(), |_| ());
    client
}
