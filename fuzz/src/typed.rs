//! The check of messages with a type, held against the check without one.

mod kinds;

use std::sync::OnceLock;

use diset_proto::drive::Event;
use diset_proto::{
    Cause, Invalid, LearnedCatalog, Limits, MessageOf, Phase, ServiceDef, check_structure, decode, define_service,
};

use self::kinds::*;
use super::Bytes;
use super::engine::frame;
use super::peer::{Peer, open};
use super::value::compare;

/// What a type promises beyond its structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Nothing: it takes what `check_structure` takes, and writes the same bytes.
    Exact,
    /// It refuses some values, such as those above its capacity. What it takes it writes in the same bytes.
    Narrow,
    /// It brings what it takes into another form: in its order, each key once, by a carry from one number to the next.
    /// It may refuse some values.
    Reforms,
}

macro_rules! checked {
    ($name:ident) => {
        check::<$name>
    };
    ($name:ident<$lt:lifetime>) => {
        check::<$name<'static>>
    };
}

macro_rules! kinds {
    ($($name:ident $(<$lt:lifetime>)? $rule:ident,)*) => {
        define_service! { Typed = "Test/Typed"; both: [$($name $(<$lt>)?),*] }

        /// Every type by its number.
        const KINDS: &[(fn(&[u8], Rule), Rule)] = &[$((checked!($name $(<$lt>)?), Rule::$rule)),*];
    };
}

// Append only: the seeds name them by their place.
kinds! {
    Flag Exact, U8 Exact, I8 Exact, U16 Exact, I16 Exact, U32 Exact, I32 Exact, U64 Exact, I64 Exact, U128 Exact,
    I128 Exact, F32 Exact, F64 Exact, Letter Exact, Text Exact, LentText<'a> Exact, Octets Exact, LentOctets<'a> Exact,
    Blob<'a> Exact, Maybe Exact, MaybeText<'a> Exact, List Exact, Lists Exact, Array Exact, Matrix Exact, Tuple Exact,
    Nothing Exact, Empty Exact, Newtype Exact, Pair Exact, Choice Exact, Chosen Exact, Outcome<'a> Exact,
    Outer<'a> Exact, Deep Exact, DeepLists Exact, Many<'a> Exact, Wrapped Exact, Shared<'a> Exact, Span Exact,
    ShortText Narrow, FewNumbers Narrow, FewTexts Narrow, Share Narrow, Table Reforms, Names Reforms, Numbers Reforms,
    Tables Reforms, Lasting Reforms, Lastings Reforms,
}

const MAX_PAYLOAD: usize = 8 * 1024;

fn limits() -> Limits {
    Limits::SERVER.with_max_frame(2 * MAX_PAYLOAD as u32)
}

/// The first byte chooses the type; the others are the payload.
///
/// What its type takes is what `check_structure` and the learned structure take, and what postcard takes and writes in the
/// same bytes; what else holds is in [`Rule`]. What is not taken ends the connection with an error that names it.
pub fn typed(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (kind, rule) = KINDS[usize::from(bytes.byte()) % KINDS.len()];
    kind(bytes.take(MAX_PAYLOAD), rule);
}

/// The definitions, as a tool learns them.
fn learned() -> &'static LearnedCatalog {
    static LEARNED: OnceLock<LearnedCatalog> = OnceLock::new();
    LEARNED.get_or_init(|| LearnedCatalog::of::<Typed>().expect("it compiles"))
}

/// Whether postcard takes it for an `M` that it writes in the same bytes.
fn twice<M: MessageOf<Typed>>(payload: &[u8]) -> bool {
    let Ok((value, rest)) = postcard::take_from_bytes::<M::View<'_>>(payload) else {
        return false;
    };
    let mut place = vec![0; payload.len()];
    rest.is_empty() && postcard::to_slice(&value, &mut place).is_ok_and(|written| *written == *payload)
}

fn check<M: MessageOf<Typed>>(payload: &[u8], rule: Rule) {
    let mut client = open(Typed::CATALOG, limits());
    let raw = check_structure(Typed::STRUCTURES[usize::from(M::NUMBER)], payload);
    let message = learned().by_number(M::NUMBER).expect("every message is there");
    assert_eq!(compare(message.structure(), payload), raw, "PROTOCOL M-2");
    let same = twice::<M>(payload);
    let sent = frame(0, &[&[M::NUMBER], payload].concat());
    match turn::<M>(&mut client, &sent) {
        Ok(again) => {
            assert_eq!(raw, Ok(()), "only the type takes it");
            if rule == Rule::Reforms {
                assert_eq!(
                    turn::<M>(&mut client, &again).as_ref(),
                    Ok(&again),
                    "not what the type writes"
                );
            } else {
                assert_eq!(again, sent, "taken, but written otherwise");
                assert!(same, "postcard does not take it");
            }
        }
        Err(error) => {
            let own = rule != Rule::Exact && matches!(error, Invalid::Capacity | Invalid::Refused);
            assert!(own || raw == Err(error), "only the type refuses it: {error}");
            assert!(!same, "postcard takes it: {error}");
            let Some(Cause::OurError(notice)) = client.conn().cause() else {
                panic!("no error: {:?}", client.conn());
            };
            assert_eq!((notice.code(), notice.message()), (error.code(), Some(M::NUMBER)));
            assert_eq!(client.conn().phase(), Phase::Closing);
        }
    }
}

/// Takes a message in, apart from the halves as well, and sends it again.
fn turn<M: MessageOf<Typed>>(client: &mut Peer, sent: &[u8]) -> Result<Vec<u8>, Invalid> {
    // Behind the length, the head and the number.
    let before = 3 + sent.iter().take_while(|byte| **byte > 0x7f).count();
    let apart = decode::<M::View<'_>>(&sent[before..]).map(|_| ());
    let (player, mut input) = (&mut client.player, sent);
    let Some(Event::Message(lent)) = player.rx.next(player.now, &mut player.tx, &mut input) else {
        panic!("no message: {:?}", player.tx.connection());
    };
    match lent.decode::<M::View<'_>>() {
        Some((value, handling)) => {
            player.tx.send(M::NUMBER, &value).unwrap();
            handling.done(Ok(()));
            assert_eq!(apart, Ok(()));
        }
        None => assert!(apart.is_err()),
    }
    let again = client.take();
    apart.map(|()| again)
}
