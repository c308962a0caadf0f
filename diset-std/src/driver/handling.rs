//! Messages and their handlers: whose turn it is, how it ended, and what of that the session must
//! know, wherever it is (PROTOCOL, parts M and Q).

use core::task::Context;

use diset_proto::drive::{Event, Lent};
use diset_proto::{Code, Instant};

use super::App;
use super::keys::KeyAnswer;
use super::session::Session;
use crate::handler::{Failure, Handlers, Told};
use crate::session::{Received, Std};

impl<A: App> Session<A> {
    /// Plaintext has come.
    pub(super) fn feed(&mut self, now: Instant, plaintext: &[u8], cx: &mut Context<'_>) {
        if self.left.is_empty() {
            let mut input = plaintext;
            self.take(now, &mut input, cx);
            self.left.extend_from_slice(input);
        } else {
            self.left.extend_from_slice(plaintext);
        }
        // Credit may have come.
        let state = self.link.lock();
        self.link.room_is_free(state);
    }

    /// Deals with what has come and with what waits, as far as it goes. Whether there was anything.
    fn take(&mut self, now: Instant, input: &mut &[u8], cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        loop {
            let event = self.rx.next(now, &mut &*self.link, input);
            let Some(event) = event else { break };
            busy = true;
            match event {
                Event::Message(message) => call(&self.handlers, &self.app, message, cx),
                Event::Proposed(proposal) => {
                    self.records = proposal.records();
                    self.admission = Some(self.app.admission(&proposal));
                }
                Event::Connected(opened) => self.on_connected(opened.trid(), cx),
                Event::Acknowledged => self.look_at_outcomes(),
                Event::NextKey(hash, lasts) => {
                    if let Some(lasts) = self.app.next_key(hash, lasts) {
                        self.key_answer = self.link.with_conn(|conn| KeyAnswer::new(hash, lasts, conn));
                    }
                }
                Event::GoingAway(notice) => tracing::debug!(reason = notice.to_string(), "the peer says go-away"),
                Event::Ended(_) => self.is_handled = true,
                _ => {}
            }
            self.settle_stray();
        }
        self.settle_stray();
        if let Some(failure) = self.rx.running().take_failure() {
            self.failed(&failure);
        }
        busy
    }

    /// Runs handlers on, then the drop callback.
    pub(super) fn poll_handlers(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        loop {
            let _ = self.rx.poll(cx);
            // What has come to an end counts before anything else begins.
            if !self.take_left(now, cx) {
                break;
            }
            busy = true;
        }
        if self.grace().is_some_and(|until| now >= until) {
            busy |= self.expire(now, cx);
        }
        busy | self.poll_end(now, cx)
    }

    /// What still runs has had its time.
    fn expire(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        if self.is_handled {
            return false;
        }
        self.note("a handler did not finish in time after its connection had ended");
        let _ = self.rx.expire();
        self.take_left(now, cx)
    }

    /// As [`take`](Self::take), of what is here.
    fn take_left(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let left = core::mem::take(&mut self.left);
        let mut input = left.as_slice();
        let busy = self.take(now, &mut input, cx);
        if !input.is_empty() {
            self.left = input.to_vec();
        }
        busy
    }

    /// A handler has failed; the engine has dealt with that.
    fn failed(&mut self, failure: &Failure) {
        if failure.is_going_away() && !self.link.lock().tx.is_stopped() {
            tracing::debug!(reason = %failure, "a handler wanted to send after a go-away");
        } else {
            self.note(failure);
        }
    }

    /// The outcome of an acked message whose session another connection has taken over, or has begun anew.
    pub(super) fn settle_stray(&mut self) {
        if let Some((began, number, outcome)) = self.rx.take_stray()
            && let Some(cell) = self.app.cell()
        {
            cell.settle(began, number, outcome);
        }
    }

    /// The peer has told what became of messages.
    pub(super) fn look_at_outcomes(&mut self) {
        let Some(cell) = self.app.cell() else { return };
        for (number, outcome) in cell.look() {
            self.app.outcome(number, outcome);
        }
    }
}

/// Gives a message, whose turn it is, to its handler. Apart from the session, whose half it borrows.
fn call<A: App>(handlers: &Handlers<A::Peer>, app: &A, mut message: Lent<'_, Std>, cx: &mut Context<'_>) {
    let number = message.number();
    // PROTOCOL M-5: rights may have changed meanwhile, those that are asked for at connect, too.
    let forbidden = if message.is_carried() {
        app.forbids_carried(number)
    } else {
        app.forbids(number)
    };
    if let Some(why) = forbidden {
        message.running().refuse(why);
        return message.refuse(Code::Forbidden);
    }
    let (Some(handler), Some(peer)) = (handlers.find(number), app.peer()) else {
        let name = message.def().name();
        message.running().refuse(name);
        return message.refuse(Code::NoHandler);
    };
    let meta = message.meta();
    match (meta.session_began(), meta.number_in_session()) {
        (Some(began), Some(number)) => {
            let told = peer.told(Received {
                began,
                number,
                maybe_repeated: meta.maybe_repeated(),
            });
            handler.call(&told, message, cx);
        }
        _ => handler.call(peer, message, cx),
    }
}
