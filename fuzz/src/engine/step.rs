//! What may happen to one side, as it is read from bytes.

use core::time::Duration;

use diset_proto::drive::Failure;
use diset_proto::store::Unsure;
use diset_proto::{Code, Notice, Outcome, RetryAfter};

use super::super::Bytes;
use super::super::call::Call;
use super::super::model::varint;
use super::frame;

/// Something that happens to one side.
#[derive(Debug)]
pub(in super::super) enum Step<'d> {
    Call(Call<'d>),
    /// The client whose proposal waits is admitted: see `How::admit`.
    Admit(u8),
    /// What is done with messages and proposals from now on.
    Mode(u8),
    /// The service begins to keep sessions, or does not any more.
    Keeps,
    /// The transport ends, and there is another one, with the session of this one.
    Again,
    /// The process ends, and there is another one, with the session of this one.
    Restart,
    /// The user says of an acked message what it came to.
    Settle(u64, Outcome),
}

impl<'d> Step<'d> {
    /// The next one; `canned` is what a peer sends that behaves well.
    pub(in super::super) fn read(bytes: &mut Bytes<'d>, canned: &'d [Vec<u8>]) -> Option<Self> {
        Some(Self::Call(match bytes.next()? % 16 {
            0 => {
                let count = bytes.byte();
                Call::next(bytes.take(count.into()))
            }
            1 => {
                let (head, count) = (bytes.byte(), bytes.byte());
                Call::next(frame(head, bytes.take(count.into())))
            }
            2 => {
                // What is beyond the list says in how long pieces it comes.
                let choice = usize::from(bytes.byte());
                let (pieces, at) = (choice / canned.len(), choice % canned.len());
                Call::Next(
                    canned[at].as_slice().into(),
                    if pieces == 0 { usize::MAX } else { pieces },
                )
            }
            3 => Call::Wrote(usize::MAX),
            4 => Call::Wrote(bytes.byte().into()),
            5 => Call::Later(Duration::from_millis(bytes.number())),
            6 => Call::Earlier(Duration::from_millis(bytes.number())),
            7 => Call::Send(bytes.byte() % 3, count(bytes)),
            8 => {
                let length = usize::from(bytes.byte()) * 5;
                let mut words = Vec::new();
                varint(length as u64, &mut words);
                words.extend([b'w'].repeat(length));
                words.push(0);
                Call::Send(1, words)
            }
            9 => {
                let notice = Notice::new(Code::Shutdown).with_retry(RetryAfter::new(Duration::MAX, Duration::ZERO));
                Call::GoAway(notice, Duration::from_millis(bytes.number()))
            }
            10 => Call::Disconnect(Notice::new(Code::Other(bytes.number() as u16)).with_text("text")),
            11 => return Some(Self::Admit(bytes.byte())),
            12 => Call::Refuse(Notice::new(Code::NotAdmitted)),
            13 => Call::Done(Ok(())),
            14 => return Some(Self::Mode(bytes.byte())),
            _ => return Some(Self::read_rare(bytes)),
        }))
    }

    fn read_rare(bytes: &mut Bytes<'d>) -> Self {
        Self::Call(match bytes.byte() {
            0xf0 => {
                let unsure = if bytes.byte().is_multiple_of(2) {
                    Unsure::Report
                } else {
                    Unsure::Resend
                };
                Call::SendAcked(bytes.byte() % 3, count(bytes), unsure)
            }
            0xf1 => Call::TakeOutcomes,
            0xf2 => Call::SkipOldest,
            0xf3 => return Self::Again,
            0xf4 => {
                let (number, fails) = (bytes.byte().into(), bytes.byte() % 2 == 1);
                let failed = Outcome::Failed(Code::HandlerFailed);
                return Self::Settle(number, if fails { failed } else { Outcome::Ok });
            }
            0xf5 => Call::Announce(Duration::from_secs(bytes.number())),
            0xf6 => return Self::Restart,
            0xf7 => return Self::Keeps,
            0xf8 => Call::Heard,
            0xf9 => Call::Done(Err(Failure::retry_in(Duration::from_millis(bytes.number())))),
            0xfa => Call::Done(Err(Failure::new(Code::HandlerFailed))),
            0xfb => Call::Expire,
            0xfe => {
                let (choice, count) = (bytes.byte(), bytes.byte());
                Call::SendLearned(choice, bytes.take(count.into()))
            }
            0xff => Call::Ended,
            _ => Call::Later(Duration::ZERO),
        })
    }
}

/// The payload of a `Count`.
fn count(bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut count = Vec::new();
    varint(bytes.number(), &mut count);
    count
}
