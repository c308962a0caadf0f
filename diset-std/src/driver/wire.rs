//! Socket and channel of one connection, with the little that must be kept between turns:
//! a record that came in part, sealed bytes that the socket did not take.

use core::task::{Context, Poll};
use core::time::Duration;

use diset_proto::limits::LINGER_BYTES;

use crate::buffers::Scratch;
use crate::channel::{Channel, ChannelError, Established, Lasts, OutBuf};
use crate::socket::Socket;

/// What came out of the channel.
pub(super) enum Took<'t, 'c> {
    Plaintext(&'t [u8], &'t mut Context<'c>),
    Established(Established),
}

/// What a read did.
#[derive(Default)]
pub(super) struct Read {
    /// Anything at all.
    pub(super) busy: bool,
    /// No more plaintext will come.
    pub(super) ended: bool,
}

pub(super) struct Wire {
    socket: Socket,
    channel: Box<dyn Channel>,
    /// Came, and is not a whole record yet.
    kept_in: Vec<u8>,
    /// Sealed, and not taken by the socket yet.
    kept_out: Vec<u8>,
    /// The socket will say when it takes more.
    blocked: bool,
    read_done: bool,
    write_broken: bool,
    close_sealed: bool,
    shut_down: bool,
    discarded: usize,
    /// Boxed, for all the connections that live.
    failure: Option<Box<ChannelError>>,
}

impl Wire {
    pub(super) fn new(socket: Socket, channel: Box<dyn Channel>) -> Self {
        Self {
            socket,
            channel,
            kept_in: Vec::new(),
            kept_out: Vec::new(),
            blocked: false,
            read_done: false,
            write_broken: false,
            close_sealed: false,
            shut_down: false,
            discarded: 0,
            failure: None,
        }
    }

    /// Reads once and gives what comes out of the channel to `take`. When the connection
    /// is `over` what comes is counted and thrown away (PROTOCOL E-4). The first call,
    /// before anything was `started`, reads nothing: it lets a TLS client speak.
    pub(super) fn poll_read(
        &mut self,
        scratch: &mut Scratch,
        cx: &mut Context<'_>,
        over: bool,
        started: bool,
        mut take: impl FnMut(Took<'_, '_>),
    ) -> Read {
        if !started {
            let ended = self.receive(&mut [], &mut scratch.out, cx, &mut take).1;
            return Read { busy: true, ended };
        }
        if self.read_done {
            return Read::default();
        }
        let kept = self.kept_in.len();
        let Some((front, room)) = scratch.incoming.split_at_mut_checked(kept) else {
            self.read_done = true;
            return Read {
                busy: true,
                ended: true,
            };
        };
        let read = match self.socket.poll_read(cx, room) {
            Poll::Pending => return Read::default(),
            // A socket that fails has ended.
            Poll::Ready(read) => read.unwrap_or(0),
        };
        if read == 0 {
            self.read_done = true;
            return Read {
                busy: true,
                ended: true,
            };
        }
        if over || self.close_sealed {
            self.discarded = self.discarded.saturating_add(read);
            self.read_done |= self.discarded > LINGER_BYTES;
            return Read {
                busy: true,
                ended: false,
            };
        }
        front.copy_from_slice(&self.kept_in);
        self.kept_in.clear();
        let Some(incoming) = scratch.incoming.get_mut(..kept + read) else {
            return Read::default();
        };
        let (consumed, ended) = self.receive(incoming, &mut scratch.out, cx, &mut take);
        match incoming.get(consumed..) {
            Some(rest) if !rest.is_empty() => self.kept_in.extend_from_slice(rest),
            _ => self.kept_in = Vec::new(),
        }
        Read { busy: true, ended }
    }

    /// Gives bytes to the channel until it has nothing more to say. How many it consumed,
    /// and whether no more plaintext will come.
    fn receive(
        &mut self,
        incoming: &mut [u8],
        out: &mut OutBuf,
        cx: &mut Context<'_>,
        take: &mut impl FnMut(Took<'_, '_>),
    ) -> (usize, bool) {
        let mut consumed = 0;
        loop {
            let rest = incoming.get_mut(consumed..).unwrap_or_default();
            let received = match self
                .channel
                .receive(rest, out, &mut |bytes| take(Took::Plaintext(bytes, cx)))
            {
                Ok(received) => received,
                Err(failure) => {
                    self.failure = Some(Box::new(failure));
                    return (incoming.len(), true);
                }
            };
            consumed += received.consumed;
            if let Some(established) = self.channel.established() {
                take(Took::Established(established));
            }
            if received.closed || !received.again {
                return (consumed, received.closed);
            }
        }
    }

    /// Whether plaintext can be sealed and will be of use.
    pub(super) fn can_seal(&self) -> bool {
        self.channel.is_established() && self.failure.is_none() && !self.close_sealed && !self.write_broken
    }

    /// Whether the certificates of the peer, if it is proven by some, are acceptable now, or will be that much `ahead`.
    pub(super) fn recheck(&self, ahead: Duration) -> Result<(), ChannelError> {
        if self.channel.is_established() {
            self.channel.recheck(ahead)
        } else {
            Ok(())
        }
    }

    /// How long they last.
    pub(super) fn lasts(&self) -> Lasts {
        if self.channel.is_established() {
            self.channel.lasts()
        } else {
            Lasts::default()
        }
    }

    /// More would only pile up: the socket has not taken the last bytes yet.
    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Seals what the channel takes of it. How much that is; nothing when it fails.
    pub(super) fn seal(&mut self, plaintext: &[u8], out: &mut OutBuf) -> usize {
        self.channel.seal(plaintext, out).unwrap_or_else(|failure| {
            self.failure = Some(Box::new(failure));
            0
        })
    }

    /// The peer's TLS carries no more than so many records each way.
    pub(super) fn limit_records(&mut self, most: u32) {
        self.channel.limit_records(most);
    }

    /// Whether most of those are used up.
    pub(super) fn is_near_record_limit(&self) -> bool {
        self.channel.is_near_record_limit()
    }

    /// The orderly end of the channel, once: close_notify over TLS (PROTOCOL X-4).
    pub(super) fn close(&mut self, out: &mut OutBuf) {
        if !self.close_sealed {
            self.close_sealed = true;
            self.channel.close(out);
        }
    }

    /// Writes what was kept, then what is new; keeps what the socket does not take.
    pub(super) fn poll_flush(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> bool {
        let mut kept = core::mem::take(&mut self.kept_out);
        let written = self.poll_all(&kept, cx);
        kept.drain(..written);
        let out = &mut scratch.out;
        let sent = if kept.is_empty() {
            self.poll_all(out.pending(), cx)
        } else {
            0
        };
        out.sent(sent);
        let all_gone = kept.is_empty() && out.is_empty();
        if !(all_gone || self.write_broken) {
            kept.extend_from_slice(out.pending());
            self.kept_out = kept;
        }
        out.sent(usize::MAX);
        self.blocked = !self.kept_out.is_empty();
        written + sent > 0
    }

    /// Writes as much as the socket takes.
    fn poll_all(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.socket.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) if count > 0 => written += count,
                // The reading direction goes on: what has arrived is still read (PROTOCOL E-5).
                Poll::Ready(_) => {
                    self.write_broken = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        written
    }

    /// Ends the writing direction; true when that is done, or can never be.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> bool {
        if self.write_broken {
            return true;
        }
        if !self.kept_out.is_empty() {
            return false;
        }
        if !self.shut_down && self.socket.poll_shutdown(cx).is_ready() {
            self.shut_down = true;
        }
        self.shut_down
    }

    /// Nothing more is read.
    pub(super) const fn is_read_done(&self) -> bool {
        self.read_done
    }

    /// The channel has come to a bad end.
    pub(super) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The writing direction has ended, in order or not.
    pub(super) const fn is_write_done(&self) -> bool {
        self.write_broken || self.shut_down
    }

    /// Whatever is left is of no use.
    pub(super) fn give_up(&mut self) {
        self.read_done = true;
        self.write_broken = true;
        self.kept_in = Vec::new();
        self.kept_out = Vec::new();
    }

    /// Why the channel came to a bad end.
    pub(super) fn failure(&self) -> Option<&ChannelError> {
        self.failure.as_deref()
    }

    pub(super) fn take_failure(&mut self) -> Option<ChannelError> {
        self.failure.take().map(|failure| *failure)
    }
}
