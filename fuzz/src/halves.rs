//! The halves against a connection that is driven by hand: the same bytes leave, and the same is told, in the same order.

mod by_halves;
mod by_hand;

use core::time::Duration;

use diset_proto::drive::{Failure, HandlerResult};
use diset_proto::store::Unsure;
use diset_proto::{
    Admission, Agreement, ClientConfig, Code, Connection, Identity, Instant, NewReason, Notice, Phase, Resume,
    RetryAfter, ServiceDef, Token, Trid, Unwelcome,
};

use self::by_halves::Halves;
use self::by_hand::{ByHand, service};
use super::Bytes;
use super::engine::{FROM_CLIENT, FROM_SERVICE, Fuzzed, Memory, OUTPUT, Words, frame, limits, memory, older, start};

/// Either way of driving: what a test does to it, and what it says.
trait Driven {
    fn feed(&mut self, now: Instant, how: &mut How, bytes: &[u8]);
    fn admit(&mut self, now: Instant, how: &mut How, choice: u8);
    fn refuse(&mut self, notice: Notice);
    /// Whether a handler waits.
    fn waits(&mut self) -> bool;
    /// It comes to this.
    fn handled(&mut self, result: HandlerResult);
    /// Its time is over, and that of what waits for it on a connection that has ended.
    fn expire(&mut self);
    fn send(&mut self, number: u8, message: &Words<'_>);
    fn count(&mut self, number: u8, n: u64, acked: Option<Unsure>);
    fn outcomes(&mut self);
    fn announce(&mut self, lasts: Duration);
    fn go_away(&mut self, now: Instant, notice: Notice, span: Duration);
    fn disconnect(&mut self, notice: Notice);
    fn turn(&mut self, now: Instant) -> Vec<u8>;
    fn wrote(&mut self, count: usize);
    fn eof(&mut self, now: Instant);
    /// The next transport, with the session of this one.
    fn again(&mut self, how: &mut How, origin: Option<&ClientConfig<'_>>);
    fn phase(&self) -> Phase;
    fn wake(&self) -> Option<Instant>;
}

/// What is done with messages and proposals, and what was seen of them.
#[derive(Default)]
struct How {
    mode: u8,
    /// Service: what it has of its client, and whether it keeps sessions.
    kept: Option<Box<Memory>>,
    keeps: bool,
    seen: Vec<String>,
}

impl How {
    fn admission(&self, choice: u8) -> Admission {
        let (known, forbidden) = (choice % 2 == 1, choice / 2);
        let forbidden = (0..2).filter(|number| forbidden & (1 << number) != 0).collect();
        let admission = Admission::new(Trid::new(7)).with_forbidden(forbidden);
        if known {
            admission.with_table(Agreement::between(Fuzzed::CATALOG, older::Fuzzed::CATALOG))
        } else {
            admission
        }
    }

    /// The session that welcomes this client, when it wants one and this side keeps them.
    fn welcome(&mut self, request: Option<&Resume>) -> Result<Option<Box<Memory>>, Notice> {
        let Some(request) = request.filter(|_| self.keeps) else {
            return Ok(None);
        };
        let (trid, token) = (Trid::new(7), Token::from_bytes([7; 16]));
        let mut why = NewReason::Forgotten;
        if let Some(mut session) = self.kept.take() {
            let welcome = session.welcome(request, trid, self.mode.is_multiple_of(2), token);
            if welcome.is_ok() {
                return Ok(Some(session));
            }
            self.kept = Some(session);
            match welcome {
                Err(Unwelcome::Refused(notice)) => return Err(notice),
                Err(Unwelcome::Passing(reason)) => why = reason,
                Ok(()) => {}
            }
        }
        let mut session = memory();
        session.begin_with(request, trid, why, self.kept.is_none().then_some(token));
        Ok(Some(session))
    }

    fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }

    fn message(&mut self, number: u8, acked: Option<u64>, repeated: bool, what: &str) {
        self.saw(format!("message {number}, {acked:?}, {repeated}: {what}"));
    }
}

/// A connection that is driven by hand and one by the halves, to which the same happens.
struct Both {
    hand: ByHand,
    halves: Halves,
    hows: [How; 2],
    now: Instant,
    /// A client, with its catalog.
    client: Option<ClientConfig<'static>>,
}

impl Both {
    fn service() -> Self {
        let mut halves = Halves::new(None);
        let listening = halves.rx.listen(start(), &mut halves.tx, Fuzzed::CATALOG, limits());
        listening.unwrap();
        Self::of(ByHand::new(service()), halves, None)
    }

    fn client(is_older: bool, keeps: bool) -> Self {
        let config = ClientConfig {
            catalog: if is_older {
                older::Fuzzed::CATALOG
            } else {
                Fuzzed::CATALOG
            },
            identity: Identity::from_bytes([1; 16]),
            limits: limits(),
            args: &[("site", diset_proto::Arg::Text("here"))],
        };
        let session = || keeps.then(memory);
        let conn = Connection::client_in_session(start(), &config, [0; OUTPUT], session()).unwrap();
        let mut halves = Halves::new(session());
        halves.rx.connect(start(), &mut halves.tx, &config).unwrap();
        Self::of(ByHand::new(conn), halves, Some(config))
    }

    fn of(hand: ByHand, halves: Halves, client: Option<ClientConfig<'static>>) -> Self {
        Self {
            hand,
            halves,
            hows: Default::default(),
            now: start(),
            client,
        }
    }

    /// Does the same to both; then what waits has its turn.
    fn each(&mut self, mut act: impl FnMut(&mut dyn Driven, &mut How)) {
        let [hand, halves] = &mut self.hows;
        act(&mut self.hand, hand);
        act(&mut self.halves, halves);
        self.feed(&[]);
        self.same();
    }

    fn feed(&mut self, bytes: &[u8]) {
        let [hand, halves] = &mut self.hows;
        self.hand.feed(self.now, hand, bytes);
        self.halves.feed(self.now, halves, bytes);
        self.same();
    }

    /// The same was seen.
    fn same(&self) {
        let [hand, halves] = &self.hows;
        assert_eq!(hand.seen, halves.seen, "by hand, by the halves");
    }

    /// The same leaves, up to so many bytes.
    fn turn(&mut self, most: usize) {
        let bytes = self.hand.turn(self.now);
        assert_eq!(bytes, self.halves.turn(self.now), "by hand, by the halves");
        let count = bytes.len().min(most);
        self.each(|driven, _| driven.wrote(count));
        assert_eq!(self.hand.phase(), self.halves.phase());
        assert_eq!(self.hand.wake(), self.halves.wake());
        assert_eq!(self.hand.waits(), self.halves.waits());
    }

    /// The transport ends, and all that came with it.
    fn end(&mut self) {
        let now = self.now;
        self.each(|driven, _| driven.eof(now));
        while self.hand.waits() {
            self.each(|driven, _| driven.expire());
        }
        assert_eq!(self.hand.phase(), Phase::Closed);
        assert_eq!(self.halves.phase(), Phase::Closed);
    }

    fn operate(&mut self, canned: &[Vec<u8>], bytes: &mut Bytes<'_>) {
        while let Some(operation) = bytes.next() {
            let now = self.now;
            match operation % 16 {
                0 => {
                    let count = bytes.byte();
                    self.feed(bytes.take(count.into()));
                }
                1 => {
                    let (head, count) = (bytes.byte(), bytes.byte());
                    self.feed(&frame(head, bytes.take(count.into())));
                }
                2 => {
                    // What is beyond the list says in how long pieces it comes.
                    let choice = usize::from(bytes.byte());
                    let (pieces, at) = (choice / canned.len(), choice % canned.len());
                    let size = if pieces == 0 { usize::MAX } else { pieces };
                    canned[at].chunks(size).for_each(|piece| self.feed(piece));
                }
                3 => self.turn(usize::MAX),
                4 => self.turn(bytes.byte().into()),
                5 => {
                    self.now = now.after(Duration::from_millis(bytes.number()));
                    self.turn(0);
                }
                6 => self.now = Instant::from_millis(now.as_millis().saturating_sub(bytes.number())),
                7 => {
                    let (number, n) = (bytes.byte() % 3, bytes.number());
                    self.each(|driven, _| driven.count(number, n, None));
                }
                8 => {
                    let text = "w".repeat(usize::from(bytes.byte()) * 5);
                    let words = Words {
                        text: &text,
                        more: None,
                    };
                    self.each(|driven, _| driven.send(1, &words));
                }
                9 => {
                    let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(Duration::MAX, Duration::ZERO));
                    let span = Duration::from_millis(bytes.number());
                    self.each(|driven, _| driven.go_away(now, notice.clone(), span));
                }
                10 => {
                    let notice = Notice::new(Code::Other(bytes.number() as u16)).with_text("text");
                    self.each(|driven, _| driven.disconnect(notice.clone()));
                }
                11 => {
                    let choice = bytes.byte();
                    self.each(|driven, how| driven.admit(now, how, choice));
                }
                12 => self.each(|driven, _| driven.refuse(Notice::new(Code::NotAdmitted))),
                13 => self.handled(Ok(())),
                14 => {
                    let mode = bytes.byte();
                    self.hows.iter_mut().for_each(|how| how.mode = mode);
                }
                _ => match bytes.byte() {
                    0xff => self.end(),
                    0xfe => self.handled(Err(Failure::new(Code::HandlerFailed))),
                    0xf0 => {
                        let unsure = if bytes.byte().is_multiple_of(2) {
                            Unsure::Report
                        } else {
                            Unsure::Resend
                        };
                        let (number, n) = (bytes.byte() % 3, bytes.number());
                        self.each(|driven, _| driven.count(number, n, Some(unsure)));
                    }
                    0xf1 => self.each(|driven, _| driven.outcomes()),
                    0xf2 => self.each(|driven, _| driven.expire()),
                    0xf3 => {
                        self.end();
                        self.now = start();
                        let client = self.client;
                        self.each(|driven, how| driven.again(how, client.as_ref()));
                    }
                    0xf5 => {
                        let lasts = Duration::from_secs(bytes.number());
                        self.each(|driven, _| driven.announce(lasts));
                    }
                    0xf7 => self.hows.iter_mut().for_each(|how| how.keeps = !how.keeps),
                    _ => self.turn(0),
                },
            }
        }
    }

    fn handled(&mut self, result: HandlerResult) {
        if self.hand.waits() {
            self.each(|driven, _| driven.handled(result));
        }
    }
}

/// Whatever happens, the halves tell and write what a connection does that is driven by hand. The first byte chooses a
/// service, whose operations are those of `service_ops`, or a client, whose are those of `client_ops`.
pub fn halves(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (mut both, canned) = if bytes.byte().is_multiple_of(2) {
        (Both::service(), &*FROM_CLIENT)
    } else {
        let choice = bytes.byte();
        (Both::client(choice % 3 == 1, choice / 3 % 2 == 1), &*FROM_SERVICE)
    };
    both.operate(canned, &mut bytes);
    both.turn(usize::MAX);
    both.end();
    both.turn(usize::MAX);
}
