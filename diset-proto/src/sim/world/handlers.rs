//! What the halves of one end tell, and the handlers of its messages, on a clock that is virtual.

use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use super::link::{End, Side};
use super::{App, Arrived, Handling, Parts, SimSession, What, Who, World};
use crate::drive::{self, Event, Failure, HandlerResult, HeapQueue, Lent};
use crate::id::Trid;
use crate::schema::walk::check_structure;
use crate::time::Instant;
use crate::wire::storage::GrowBuf;

/// A handler that is polled when its time has come: what it comes to then.
#[derive(Debug, Default)]
pub(super) struct Slot {
    result: Option<HandlerResult>,
    /// It was polled while it was made.
    is_made: bool,
}

impl drive::Running for Slot {
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<HandlerResult> {
        if core::mem::replace(&mut self.is_made, true) {
            Poll::Ready(self.result.take().unwrap_or(Err(Failure::ABANDONED)))
        } else {
            Poll::Pending
        }
    }

    fn abandon(&mut self) -> Poll<HandlerResult> {
        Poll::Ready(Err(Failure::ABANDONED))
    }
}

impl Slot {
    fn make(&mut self, result: HandlerResult) {
        *self = Self {
            result: Some(result),
            is_made: false,
        };
    }
}

/// What runs in the slot of an end.
#[derive(Debug)]
pub(super) enum Running {
    /// A callback.
    Callback(Instant),
    Handler(Handler),
}

#[derive(Debug)]
pub(super) struct Handler {
    until: Instant,
    session: u64,
    /// The connection with which that began.
    began: Trid,
    number: Option<u64>,
    result: Result<(), crate::status::Code>,
    payload: Vec<u8>,
}

impl Running {
    pub(super) const fn until(&self) -> Instant {
        match self {
            Self::Callback(until) => *until,
            Self::Handler(handler) => handler.until,
        }
    }
}

impl<A: App> World<A> {
    /// All that happens at this end now: a handler that is done, what has its turn, and what is in `input`. Whether
    /// anything did.
    pub(super) fn hear_events(&mut self, link: u64, side: Side, end: &mut End, mut input: &[u8]) -> bool {
        let who = end.who;
        let mut busy = false;
        loop {
            busy |= self.go_on(who, end);
            let Some(event) = end.rx.next(self.now, &mut end.tx, &mut input) else {
                break;
            };
            busy = true;
            match event {
                Event::Proposed(_) => self.admit(link, end),
                Event::Message(lent) => {
                    let began = end.tx.connection().session().map_or(Trid::new(0), SimSession::began);
                    end.running = self.handle(who, (end.turn, end.session, began), lent);
                }
                Event::Connected(opened) => {
                    end.turn = Some(opened.trid().number());
                    self.call_back(end);
                }
                Event::Ended(_) => {
                    end.turn = None;
                    self.call_back(end);
                }
                Event::Acknowledged | Event::NextKey(..) | Event::GoingAway(_) => {}
            }
            self.look(link, side, end);
        }
        self.look(link, side, end);
        busy
    }

    /// A callback runs for a while, before anything is handled.
    fn call_back(&self, end: &mut End) {
        let takes = self.setup.callback;
        if !takes.is_zero() {
            end.rx
                .callback(&mut Context::from_waker(Waker::noop()), |slot| slot.make(Ok(())));
            end.running = Some(Running::Callback(self.now.after(takes)));
        }
    }

    /// A handler that is done counts for its session, wherever that is now (PROTOCOL Q-8).
    pub(super) fn go_on(&mut self, who: Who, end: &mut End) -> bool {
        let now = self.now;
        let Some(running) = end.running.take_if(|running| running.until() <= now) else {
            return false;
        };
        let polled = end.rx.poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready(), "a handler that is done goes on");
        if let Running::Handler(handler) = running {
            let session = end.tx.connection().session();
            let counted = !end.gone && session.is_some_and(|session| session.began() == handler.began);
            let Handler {
                session,
                number,
                result,
                payload,
                ..
            } = handler;
            let handled = What::Handled {
                session,
                number,
                result,
                payload,
                counted,
            };
            self.tell(who, &handled);
        }
        true
    }

    /// A message has its turn.
    fn handle(
        &mut self,
        who: Who,
        (turn, session, began): (Option<u64>, u64, Trid),
        lent: Lent<'_, Parts>,
    ) -> Option<Running> {
        let (now, life) = (self.now, self.life_of(who));
        let meta = *lent.meta();
        let payload = lent.payload().to_vec();
        let (number, began) = (meta.number_in_session(), meta.session_began().unwrap_or(began));
        let arrived = Arrived {
            life,
            link: turn.filter(|_| !lent.is_carried()),
            session,
            began,
            number,
            maybe_repeated: meta.maybe_repeated(),
            payload: &payload,
        };
        let refused = match self.app.handle(now, who, &arrived) {
            Handling::Refuse(code) => {
                lent.refuse(code);
                code
            }
            Handling::Run { takes, result } => {
                let Some(structure) = self.structures.get(usize::from(lent.number())) else {
                    panic!("the world decodes by another structure")
                };
                match check_structure(structure, &payload) {
                    Ok(()) => {
                        let (_, handling) = lent.decode_raw(structure)?;
                        let said = result.map_err(Failure::new);
                        handling.start(&mut Context::from_waker(Waker::noop()), |slot| slot.make(said));
                        return Some(Running::Handler(Handler {
                            until: now.after(takes),
                            session,
                            began,
                            number,
                            result,
                            payload,
                        }));
                    }
                    Err(invalid) => {
                        let decoded = lent.decode_raw(structure);
                        assert!(decoded.is_none(), "what does not fit is not lent");
                        invalid.code()
                    }
                }
            }
        };
        let handled = What::Handled {
            session,
            number,
            result: Err(refused),
            payload,
            counted: true,
        };
        self.tell(who, &handled);
        None
    }

    /// What an end without a transport still has to do; whether it did anything.
    pub(super) fn turn_detached(&mut self, end: &mut End) -> bool {
        let mut busy = false;
        end.wake = end.rx.turn(self.now, &mut end.tx).wake;
        busy |= self.hear_events(0, end.who.side(), end, &[]);
        if busy {
            end.wake = end.rx.turn(self.now, &mut end.tx).wake;
        }
        busy
    }
}

/// Where messages of an end wait: what two connections were credited, and what an inbox has.
pub(super) fn queue() -> HeapQueue {
    HeapQueue::new(GrowBuf::new(1 << 20))
}
