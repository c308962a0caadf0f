//! One side of a connection, and whatever may happen to it.

mod canned;
mod step;

use std::sync::LazyLock;

use diset_proto::drive::{Event, FixedQueue, Lent, Parts, Rx, Tx};
use diset_proto::store::{FixedReplay, Unsure, Volatile};
use diset_proto::{
    Admission, AdoptConfig, Agreement, Arg, ClientConfig, Code, Descriptions, Identity, Instant, Limits, Notice, Phase,
    Proposal, Schema, ServiceDef, Session, Token, Trid, define_service,
};
use serde::{Deserialize, Serialize};

pub(super) use self::canned::{FROM_CLIENT, FROM_SERVICE};
pub(super) use self::step::Step;
use super::Bytes;
use super::call::{Admit, Call};
use super::player::{Host, Kind, Later, Player, Said, Sessions, wait};

#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Count {
    pub n: u64,
}
#[derive(Debug, Serialize, Deserialize, Schema)]
pub struct Words<'a> {
    pub text: &'a str,
    pub more: Option<bool>,
}

define_service! { pub Fuzzed = "Test/Fuzz"; from_client: [Count], both: [Words<'a>] }

/// Another form of it, with other numbers and a structure that differs.
pub(super) mod older {
    use super::{Count, Deserialize, Schema, Serialize, define_service};

    #[derive(Serialize, Deserialize, Schema)]
    pub struct Words<'a> {
        pub text: &'a str,
    }
    #[derive(Serialize, Deserialize, Schema)]
    pub struct Gone {}
    define_service! { pub Fuzzed = "Test/Fuzz"; from_client: [Gone, Count], both: [Words<'a>] }
}

pub(super) const OUTPUT: usize = 1200;
const MAX_FRAME: u32 = 1024;

/// What the halves are made of: buffers of a fixed size.
pub(super) struct Fixed;

impl Parts for Fixed {
    type Buffer = [u8; OUTPUT];
    type Session = Option<Box<Memory>>;
    type Queue = FixedQueue<[u8; 4096]>;
    type Running = Later;
}

impl Kind for Fixed {
    type Replay = FixedReplay<[u8; 300]>;
    type Inbox = Volatile;
    const OUTPUT: usize = OUTPUT;
}

pub(super) type Memory = Session<FixedReplay<[u8; 300]>, Volatile>;

pub(super) fn memory() -> Box<Memory> {
    Box::new(Session::new(FixedReplay::new([0; 300]), Volatile))
}

/// A service that keeps sessions or does not.
pub(super) fn sessions(keeps: bool) -> Sessions<FixedReplay<[u8; 300]>, Volatile> {
    Sessions::new(keeps, memory)
}

pub(super) fn limits() -> Limits {
    Limits::CHIP.with_max_frame(MAX_FRAME).with_credit(2048, 8)
}

pub(super) fn start() -> Instant {
    Instant::from_millis(1_000_000)
}

/// What is done with messages and proposals, and what was seen of them.
#[derive(Debug, Default)]
pub(super) struct How {
    pub(super) mode: u8,
    /// `None`: nobody looks.
    pub(super) seen: Option<Vec<String>>,
}

impl How {
    pub(super) fn saw(&mut self, what: impl FnOnce() -> String) {
        if let Some(seen) = &mut self.seen {
            seen.push(what());
        }
    }

    /// A message had its turn; `None`: it is not what its definition says, or another one.
    pub(super) fn handled(&mut self, number: u8, acked: Option<u64>, repeated: bool, what: Option<String>) {
        let what = what.unwrap_or_else(|| "is not one".into());
        self.saw(|| format!("message {number}, {acked:?}, {repeated}: {what}"));
    }

    /// What a client that proposes is answered at once.
    pub(super) fn answer(&self) -> Option<Call<'static>> {
        match self.mode % 4 {
            known @ (0 | 1) => Some(Call::Admit(self.admit(known + self.mode / 4 * 2))),
            2 => Some(Call::Refuse(Notice::new(Code::Busy))),
            _ => None,
        }
    }

    /// Whether the client's other form of the catalog is known, and two bits for messages that are forbidden to it.
    pub(super) fn admit(&self, choice: u8) -> Admit {
        let (known, forbidden) = (choice % 2 == 1, choice / 2);
        let forbidden = (0..2).filter(|number| forbidden & (1 << number) != 0).collect();
        let trid = Trid::new(u64::MAX);
        let mut admission = Admission::new(trid).with_forbidden(forbidden);
        if known {
            admission = admission.with_table(Agreement::between(Fuzzed::CATALOG, older::Fuzzed::CATALOG));
        }
        Admit {
            trid,
            admission,
            proven: self.mode.is_multiple_of(2),
            token: Token::from_bytes([7; 16]),
        }
    }
}

impl Host<Fixed> for How {
    fn proposed(&mut self, proposal: &Proposal<'_>) -> Option<Call<'static>> {
        self.saw(|| format!("proposed {:?}", proposal.identity()));
        self.answer()
    }

    fn message(&mut self, lent: Lent<'_, Fixed>, tx: &Tx<Fixed>, later: &Said) {
        let (number, meta) = (lent.number(), *lent.meta());
        let what = match (self.mode % 6, tx.connection().learned()) {
            (0, _) if number == 0 => lent.decode::<Count>().map(|(value, handling)| {
                handling.done(Ok(()));
                format!("{value:?}")
            }),
            (0, _) => lent.decode::<Words<'_>>().map(|(value, handling)| {
                handling.done(Ok(()));
                format!("{value:?}")
            }),
            (1, _) => {
                let structure = Fuzzed::STRUCTURES[usize::from(number) % 2];
                lent.decode_raw(structure).map(|(bytes, handling)| {
                    wait(handling, later);
                    format!("{bytes:?} waits")
                })
            }
            (3, _) => {
                lent.refuse(Code::HandlerFailed);
                Some("refused".into())
            }
            (4, _) => lent.decode::<Count>().map(|(value, handling)| {
                handling.done(Ok(()));
                format!("{value:?}")
            }),
            (5, Some(catalog)) => lent.decode_learned(catalog).map(|(bytes, handling)| {
                wait(handling, later);
                format!("{bytes:?} waits")
            }),
            _ => Some("nobody".into()),
        };
        self.handled(number, meta.number_in_session(), meta.maybe_repeated(), what);
    }

    fn told(&mut self, event: Event<'_, Fixed>, _: &Tx<Fixed>) {
        self.saw(|| match event {
            Event::Connected(opened) => format!("connected {}", opened.trid().number()),
            Event::Acknowledged => "acknowledged".into(),
            Event::NextKey(..) => "next key".into(),
            Event::GoingAway(notice) => format!("going away: {notice}"),
            Event::Ended(ended) => format!("ended: {}; {}", ended.cause(), ended.unhandled()),
            _ => unreachable!(),
        });
    }
}

/// Where a client has its catalog from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Same,
    Older,
    Service,
}

impl Origin {
    /// What it connects with; one that takes the catalog of the service adopts.
    pub(super) fn config(self) -> ClientConfig<'static> {
        ClientConfig {
            catalog: match self {
                Self::Older => older::Fuzzed::CATALOG,
                _ => Fuzzed::CATALOG,
            },
            identity: Identity::from_bytes([1; 16]),
            limits: limits(),
            args: &[("site", Arg::Text("here"))],
        }
    }

    pub(super) fn adopt(self) -> Option<AdoptConfig<'static>> {
        let ClientConfig {
            identity, limits, args, ..
        } = self.config();
        let service = Fuzzed::CATALOG.service();
        (self == Self::Service).then_some(AdoptConfig {
            service,
            identity,
            limits,
            args,
        })
    }
}

/// One side.
pub(super) struct Engine {
    pub(super) player: Player<Fixed>,
    pub(super) how: How,
    /// A client, with its catalog from there.
    origin: Option<Origin>,
}

pub(super) static TOLD: LazyLock<Descriptions> = LazyLock::new(|| Descriptions::of::<Fuzzed>().unwrap());

impl Engine {
    pub(super) fn service() -> Self {
        Self::of(None, None)
    }

    /// One that takes the catalog of the service keeps no session.
    pub(super) fn client(origin: Origin, keeps: bool) -> Self {
        let session = (keeps && origin != Origin::Service).then(memory);
        Self::of(Some(origin), session)
    }

    fn of(origin: Option<Origin>, session: Option<Box<Memory>>) -> Self {
        let mut engine = Self {
            player: player(session),
            how: How::default(),
            origin,
        };
        engine.begin();
        engine
    }

    fn begin(&mut self) {
        self.player.now = start();
        match self.origin {
            None => self.player.listen(Fuzzed::CATALOG, limits(), Some(&TOLD)),
            Some(origin) => match origin.adopt() {
                Some(config) => self.player.adopt(&config).unwrap(),
                None => self.player.connect(&origin.config()).unwrap(),
            },
        }
    }

    /// A new process, which has read this session.
    fn restart(&mut self) {
        let tx = &mut self.player.tx;
        let Some(session) = tx.session_mut() else { return };
        let (record, replay) = (session.record(), session.replay().clone());
        let session = Some(Box::new(Session::restore(&record, replay, Volatile).unwrap()));
        let keeps = self.player.sessions.keeps;
        self.player = player(session);
        self.player.sessions.keeps = keeps;
        self.begin();
    }

    pub(super) fn step(&mut self, step: &Step<'_>) {
        match *step {
            Step::Call(ref call) => self.player.play(call, &mut self.how),
            Step::Admit(choice) => self.player.play(&Call::Admit(self.how.admit(choice)), &mut self.how),
            Step::Mode(mode) => self.how.mode = mode,
            Step::Keeps => self.player.sessions.keeps ^= true,
            Step::Again => {
                self.player.end(&mut self.how);
                self.begin();
            }
            Step::Restart => self.restart(),
            Step::Settle(number, outcome) => {
                if let Some(session) = self.player.tx.session_mut() {
                    session.begin(number);
                    session.settle(number, outcome);
                }
            }
        }
    }

    fn steps<'d>(&mut self, canned: &'d [Vec<u8>], bytes: &mut Bytes<'d>) {
        while let Some(step) = Step::read(bytes, canned) {
            self.step(&step);
            self.player.wire.clear();
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.step(&Step::Call(Call::next(bytes)));
    }

    /// All that leaves now.
    fn take(&mut self) -> Vec<u8> {
        self.step(&Step::Call(Call::Wrote(usize::MAX)));
        core::mem::take(&mut self.player.wire)
    }

    pub(super) fn finish(&mut self) {
        self.player.finish(&mut self.how);
    }
}

fn player(session: Option<Box<Memory>>) -> Player<Fixed> {
    let rx = Rx::new([0; OUTPUT], FixedQueue::new([0; 4096]));
    Player::new(rx, Tx::new([0; OUTPUT], session), start(), sessions(false))
}

/// A frame: length, head, body of at most 16 KiB.
pub(super) fn frame(head: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() + 1;
    let mut bytes = Vec::new();
    if length > 0x7f {
        bytes.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]);
    } else {
        bytes.push(length as u8);
    }
    bytes.push(head);
    bytes.extend_from_slice(body);
    bytes
}

/// Whatever happens to a service: it never panics, comes to rest, ends once, and writes what a client can read.
pub fn service_ops(data: &[u8]) {
    let mut engine = Engine::service();
    engine.steps(&FROM_CLIENT, &mut Bytes(data));
    engine.finish();
}

/// Whatever happens to a client; the first byte chooses its catalog, and whether it keeps a session.
pub fn client_ops(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (origin, keeps) = client_of(bytes.byte());
    let mut engine = Engine::client(origin, keeps);
    engine.steps(&FROM_SERVICE, &mut bytes);
    engine.finish();
}

/// Where a client has its catalog from, and whether it keeps a session.
pub(super) fn client_of(choice: u8) -> (Origin, bool) {
    let origins = [Origin::Same, Origin::Older, Origin::Service];
    (origins[usize::from(choice % 3)], choice / 3 % 2 == 1)
}

/// Control frames with any body, to either role, in every phase before and after the handshake. The first byte chooses
/// role and phase, and whether there is a session, the second the head, the third where the body is cut in two.
pub fn packets(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (choice, head, cut) = (bytes.byte() % 16, bytes.byte(), bytes.byte());
    let (phase, keeps) = (choice % 8, choice / 8 == 1);
    let origin = if phase % 2 == 1 { Origin::Older } else { Origin::Same };
    let mut engine = if phase < 4 {
        Engine::client(origin, keeps)
    } else {
        Engine::service()
    };
    engine.player.sessions.keeps = keeps;
    let canned = if phase < 4 { &*FROM_SERVICE } else { &*FROM_CLIENT };
    match phase {
        // Proposing, describing, open.
        0 => engine.feed(&[0xd1, b'S', b'E', b'T', 1]),
        1 => engine.feed(&canned[0]),
        2 | 3 if keeps => engine.feed(&canned[16]),
        2 | 3 => engine.feed(&canned[3 - usize::from(phase % 2) * 2]),
        // Awaiting, admitting, asking, open.
        4 => engine.feed(&[0xd1, b'S', b'E', b'T', 1]),
        5 => {
            engine.how.mode = 3;
            engine.feed(&canned[0]);
        }
        6 => engine.feed(&canned[1]),
        _ if keeps => engine.feed(&canned[13]),
        _ => engine.feed(&canned[0]),
    }
    if keeps && engine.player.tx.connection().phase() == Phase::Open {
        // Two messages are under way.
        for n in 0..2 {
            for (number, payload) in [(1 - u8::from(phase < 4), vec![0, 0]), (0, vec![n])] {
                engine.step(&Step::Call(Call::SendAcked(number, payload, Unsure::Report)));
            }
        }
        engine.take();
    }
    let packet = frame(head, bytes.take(255));
    let (front, back) = packet.split_at(usize::from(cut).min(packet.len()));
    engine.feed(front);
    engine.feed(back);
    engine.finish();
}
