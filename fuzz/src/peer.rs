//! One side with room for everything, for which no time passes.

use diset_proto::drive::{Event, HeapQueue, Lent, Parts, Rx, Tx};
use diset_proto::store::{HeapReplay, Volatile};
use diset_proto::{
    Admission, Catalog, Cause, ClientConfig, Connection, GrowBuf, Identity, Limits, Notice, Proposal, Session, Token,
    Trid,
};

use super::call::{Admit, Call};
use super::engine::{Count, Words, frame, start};
use super::handshake::Proposed;
use super::model::AcceptanceSaid;
use super::player::{Host, Kind, Later, Player, Said, Sessions, Slot, wait};

/// What the halves are made of: the heap.
pub(super) struct Heap;

impl Parts for Heap {
    type Buffer = GrowBuf;
    type Session = Slot<Self>;
    type Queue = HeapQueue;
    type Running = Later;
}

impl Kind for Heap {
    type Replay = HeapReplay;
    type Inbox = Volatile;
    const OUTPUT: usize = ROOM;
}

pub(super) const PREAMBLE: [u8; 5] = [0xd1, b'S', b'E', b'T', 1];
pub(super) const ACCEPTANCE: u8 = 0x81;
pub(super) const ROOM: usize = 64 * 1024;

pub(super) fn memory() -> Box<Session<HeapReplay, Volatile>> {
    Box::new(Session::new(HeapReplay::new(10, 100), Volatile))
}

/// What a side was told.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) proposed: Option<Proposed>,
    pub(super) connected: Option<Trid>,
    pub(super) notice: Option<Notice>,
    /// From this message on handlers wait.
    pub(super) handles: usize,
}

impl Host<Heap> for Seen {
    fn proposed(&mut self, proposal: &Proposal<'_>) -> Option<Call<'static>> {
        self.proposed = Some(Proposed::new(proposal));
        None
    }

    fn message(&mut self, lent: Lent<'_, Heap>, _: &Tx<Heap>, later: &Said) {
        let handling = if lent.number() == 0 {
            lent.decode::<Count>().map(|(_, handling)| handling)
        } else {
            lent.decode::<Words<'_>>().map(|(_, handling)| handling)
        };
        match (handling, self.handles) {
            (None, _) => {}
            (Some(handling), 0) => wait(handling, later),
            (Some(handling), _) => {
                self.handles -= 1;
                handling.done(Ok(()));
            }
        }
    }

    fn told(&mut self, event: Event<'_, Heap>, _: &Tx<Heap>) {
        match event {
            Event::Connected(opened) => self.connected = Some(opened.trid()),
            Event::GoingAway(notice) => self.notice = Some(notice),
            Event::Ended(ended) => {
                if let Cause::Refused(notice) | Cause::PeerError(notice) = ended.cause() {
                    self.notice = Some(notice.clone());
                }
            }
            _ => {}
        }
    }
}

/// One side, and what it was told.
pub(super) struct Peer {
    pub(super) player: Player<Heap>,
    pub(super) seen: Seen,
}

impl Peer {
    /// One without a transport.
    pub(super) fn new(session: Slot<Heap>) -> Self {
        let rx = Rx::new(GrowBuf::new(ROOM), HeapQueue::new(GrowBuf::new(ROOM)));
        let tx = Tx::new(GrowBuf::new(ROOM), session);
        Self {
            player: Player::new(rx, tx, start(), Sessions::new(false, memory)),
            seen: Seen::default(),
        }
    }

    pub(super) fn client(catalog: &'static Catalog, limits: Limits) -> Self {
        Self::client_in(catalog, limits, None)
    }

    pub(super) fn client_in(catalog: &'static Catalog, limits: Limits, session: Slot<Heap>) -> Self {
        let mut client = Self::new(session);
        let config = ClientConfig {
            catalog,
            identity: Identity::from_bytes([1; 16]),
            limits,
            args: &[],
        };
        client.player.connect(&config).unwrap();
        client
    }

    pub(super) const fn conn(&self) -> &Connection<GrowBuf, Slot<Heap>> {
        self.player.tx.connection()
    }

    pub(super) fn play(&mut self, call: &Call<'_>) {
        self.player.play(call, &mut self.seen);
    }

    /// Takes what came.
    pub(super) fn feed(&mut self, input: &[u8]) {
        self.play(&Call::next(input));
    }

    /// Everything that is to be sent.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.play(&Call::Wrote(usize::MAX));
        core::mem::take(&mut self.player.wire)
    }

    /// A service admits the client that proposes.
    pub(super) fn admit(&mut self, trid: u64, admission: impl FnOnce(Admission) -> Admission) {
        let trid = Trid::new(trid);
        self.play(&Call::Admit(Admit {
            trid,
            admission: admission(Admission::new(trid)),
            proven: true,
            token: Token::from_bytes([0; 16]),
        }));
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
    client.feed(&[&PREAMBLE, &*frame(ACCEPTANCE, &accepted.write())].concat());
    client
}
