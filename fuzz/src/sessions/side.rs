//! One process: its halves, and what its user does with messages and outcomes.

use core::time::Duration;

use diset_proto::drive::{Event, Failure, HandlerResult, HeapQueue, Lent, Parts, Rx, Tx};
use diset_proto::store::Unsure;
use diset_proto::{
    Admission, Cause, Code, GrowBuf, Instant, NewReason, Outcome, Phase, Proposal, Resumption, SendError, ServiceDef,
    Session, Token, Trid, Unwelcome,
};

use super::super::call::{Admit, Call};
use super::super::player::{Host, Kind, Later, Memory, Player, Said, Sessions, Slot, wait};
use super::stores::{Store, Told};
use super::truth::Truth;
use super::{Counted, ITEM, Item, ROOM};

/// What the halves are made of: buffers that grow, and stores that lag behind.
pub(super) struct Lagging;

impl Parts for Lagging {
    type Buffer = GrowBuf;
    type Session = Slot<Self>;
    type Queue = HeapQueue;
    type Running = Later;
}

impl Kind for Lagging {
    type Replay = Store;
    type Inbox = Told;
    const OUTPUT: usize = 900;
}

/// What handlers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Handle,
    Hold,
    Fail,
}

/// What a user does, and what it has seen.
#[derive(Debug)]
pub(super) struct User {
    pub(super) way: Way,
    /// The value of the message whose handler waits, and whether it may have come before.
    pub(super) running: Option<(u32, bool)>,
    /// Of the messages that this side sends.
    pub(super) truth: Truth,
    /// Service: the transport id of the last client.
    trid: u64,
}

/// A user while something is done; the truth is that of the other side, whose messages it handles.
pub(super) struct At<'u> {
    pub(super) user: &'u mut User,
    pub(super) other: &'u mut Truth,
}

impl Host<Lagging> for At<'_> {
    fn proposed(&mut self, _: &Proposal<'_>) -> Option<Call<'static>> {
        self.user.trid += 1;
        let trid = Trid::new(self.user.trid);
        Some(Call::Admit(Admit {
            trid,
            admission: Admission::new(trid),
            proven: true,
            token: Token::from_bytes(self.user.trid.to_le_bytes().repeat(2).try_into().unwrap()),
        }))
    }

    /// Its turn has come.
    fn message(&mut self, lent: Lent<'_, Lagging>, _: &Tx<Lagging>, later: &Said) {
        let (acked, repeated) = (lent.meta().number_in_session().is_some(), lent.meta().maybe_repeated());
        let (Item { value }, handling) = lent.decode().unwrap();
        match self.user.way {
            _ if !acked => handling.done(Ok(())),
            Way::Handle => {
                self.other.ended(value, repeated, None);
                handling.done(Ok(()));
            }
            Way::Fail => {
                self.other.ended(value, repeated, Some(Code::HandlerFailed));
                handling.done(Err(Failure::new(Code::HandlerFailed)));
            }
            Way::Hold => {
                self.user.running = Some((value, repeated));
                wait(handling, later);
            }
        }
    }

    fn told(&mut self, event: Event<'_, Lagging>, tx: &Tx<Lagging>) {
        match event {
            Event::Connected(_) => {
                let conflict = Resumption::New {
                    why: NewReason::StateConflict,
                };
                let resumption = tx.connection().session().and_then(Session::resumption);
                assert!(resumption.is_some_and(|resumption| resumption != conflict));
            }
            Event::Ended(ended) => {
                if let Cause::OurError(notice) = ended.cause() {
                    let ours = [Code::HandlerFailed, Code::NoHandler, Code::Done, Code::Busy];
                    assert!(ours.contains(&notice.code()), "the peer did nothing wrong: {notice}");
                }
            }
            _ => {}
        }
    }

    fn stored(&mut self, number: Result<u64, SendError>) {
        if let Ok(number) = number {
            self.user.truth.stored(number);
        }
    }

    fn outcome(&mut self, number: u64, outcome: Outcome) {
        self.user.truth.told(number, outcome);
    }

    fn unwelcome(&mut self, why: &Unwelcome) {
        match why {
            Unwelcome::Refused(notice) => assert_eq!(notice.code(), Code::Busy, "PROTOCOL N-4, row 13"),
            why => panic!("its own client: {why}"),
        }
    }
}

/// One process.
pub(super) struct Side {
    pub(super) player: Player<Lagging>,
    pub(super) user: User,
    /// Takes outcomes late.
    pub(super) lazy: bool,
    /// What its stores do, by bits.
    stores: u8,
    /// A client has its session from the beginning.
    is_client: bool,
}

impl Side {
    pub(super) fn new(now: Instant, stores: u8, is_client: bool) -> Self {
        Self {
            player: player(now, stores, is_client),
            user: User {
                way: Way::Handle,
                running: None,
                truth: Truth::default(),
                trid: 0,
            },
            lazy: false,
            stores,
            is_client,
        }
    }

    /// The process is killed, and starts again with nothing.
    pub(super) fn kill(&mut self) {
        self.player = player(self.player.now, self.stores, self.is_client);
        self.user.running = None;
        self.user.truth.numbers.clear();
    }

    pub(super) fn play(&mut self, call: &Call<'_>, other: &mut Truth) {
        let user = &mut self.user;
        self.player.play(call, &mut At { user, other });
    }

    pub(super) const fn phase(&self) -> Phase {
        self.player.tx.connection().phase()
    }

    pub(super) fn session(&mut self) -> Option<&mut Memory<Lagging>> {
        let Player { tx, sessions, .. } = &mut self.player;
        tx.session_mut().or(sessions.kept.as_deref_mut())
    }

    /// Stores a message, on whatever connection or on none.
    pub(super) fn store(&mut self, resend: bool, other: &mut Truth) {
        let unsure = if resend { Unsure::Resend } else { Unsure::Report };
        self.user.truth.resends = resend;
        let item = Item {
            value: self.user.truth.next,
        };
        if let Some(session) = &mut self.player.sessions.kept {
            if let Ok(number) = session.store(Counted::CATALOG, ITEM, &item, unsure) {
                self.user.truth.stored(number);
            }
        } else {
            self.play(&Call::SendAcked(ITEM, item.payload(), unsure), other);
        }
    }

    pub(super) fn take_outcomes(&mut self, other: &mut Truth) {
        self.play(&Call::TakeOutcomes, other);
        if let Some(session) = &mut self.player.sessions.kept {
            while let Some((number, outcome)) = session.take_outcome() {
                self.user.truth.told(number, outcome);
            }
        }
        if let Some(processed) = self.session().map(|session| session.delivered().processed) {
            self.user.truth.settled(processed);
        }
    }

    pub(super) fn skip(&mut self) {
        if let Some(number) = self.session().and_then(Session::skip_oldest) {
            self.user.truth.told(number, Outcome::Skipped);
        }
    }

    pub(super) fn keep(&mut self) {
        if let Some(session) = self.session() {
            let store = session.replay_mut();
            store.kept = store.last;
            let inbox = session.inbox_mut();
            inbox.kept = inbox.now;
        }
    }

    /// The handler that waits asks for its message again.
    pub(super) fn retry(&mut self, span: Duration, other: &mut Truth) {
        if self.user.running.take().is_some() {
            self.play(&Call::Done(Err(Failure::retry_in(span))), other);
        }
    }

    /// The handler that waits comes to its end, on whatever connection or on none.
    pub(super) fn finish(&mut self, result: HandlerResult, other: &mut Truth) {
        if let Some((value, repeated)) = self.user.running.take() {
            let code = match result {
                Ok(()) => None,
                Err(Failure::ABANDONED) => Some(Code::NoHandler),
                Err(_) => Some(Code::HandlerFailed),
            };
            other.ended(value, repeated, code);
            self.play(&Call::Done(result), other);
        }
    }
}

fn memory(stores: u8) -> Box<Memory<Lagging>> {
    let inbox = Told {
        lags: stores & 4 != 0,
        ..Told::default()
    };
    Box::new(Session::new(Store::new(stores & 1 != 0, stores & 2 != 0), inbox))
}

fn player(now: Instant, stores: u8, is_client: bool) -> Player<Lagging> {
    let rx = Rx::new(GrowBuf::new(ROOM), HeapQueue::new(GrowBuf::new(ROOM)));
    let tx = Tx::new(GrowBuf::new(Lagging::OUTPUT), is_client.then(|| memory(stores)));
    Player::new(rx, tx, now, Sessions::new(true, move || memory(stores)))
}
