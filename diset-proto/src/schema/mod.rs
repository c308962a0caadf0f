//! What may be said: definitions of messages and of what else a catalog has, the catalog of a service, verdicts.
//!
//! Definitions are plain types with serde's derives and postcard-schema's
//! [`Schema`]; [`define_service!`](crate::define_service) lists those of a service once.
//! Nothing here knows a connection.

pub(crate) mod agree;
pub(crate) mod canonical;
mod cursor;
pub(crate) mod decode;
pub(crate) mod digest;
pub(crate) mod invalid;
#[cfg(feature = "alloc")]
pub(crate) mod learned;
#[cfg(feature = "alloc")]
pub(crate) mod told;
pub(crate) mod walk;

use postcard_schema::Schema;
use postcard_schema::schema::NamedType;
use serde::{Deserialize, Serialize};

use crate::definition::{Digest, Direction, EntryKind, Key};
use crate::id::ServiceName;
use crate::limits::{MAX_CATALOG, MAX_MESSAGE_NAME, MAX_MESSAGES};
use crate::wire::definitions::Definition;

/// The definition of one entry of a catalog, mostly a message, without its structures: those are in
/// [`ServiceDef::STRUCTURES`] and [`ServiceDef::ANSWERS`], so that a chip which never prints them does not carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageDef {
    name: &'static str,
    direction: Direction,
    kind: EntryKind,
    structure: Key,
    key: Key,
    size: usize,
}

impl MessageDef {
    /// The definition of `T` under `name`, a message.
    ///
    /// # Panics
    /// When the definition cannot work (PROTOCOL S-1): a name that is empty or too long, `usize`
    /// or `isize`, nesting, arrays or names beyond the limits, sequences of elements that
    /// may be empty. In a constant, as [`define_service!`](crate::define_service) builds
    /// it, that is an error of the compiler.
    pub const fn new<T: Schema + ?Sized>(name: &'static str, direction: Direction) -> Self {
        Self::of(EntryKind::Message, name, direction, T::SCHEMA, None)
    }

    /// The definition of a call, a stream or a transfer under `name`: `Q` asks, and is answered with `A`, or with items of
    /// it. For transfers these are what describes the bytes, and what is said when they are there.
    ///
    /// This version has no calls yet: such an entry has its place in the catalog and its verdict, and that is all.
    ///
    /// # Panics
    /// As for [`new`](Self::new), and when `kind` is that of a message.
    pub const fn asked<Q: Schema + ?Sized, A: Schema + ?Sized>(
        kind: EntryKind,
        name: &'static str,
        direction: Direction,
    ) -> Self {
        assert!(kind.has_answer(), "a message has no answer");
        Self::of(kind, name, direction, Q::SCHEMA, Some(A::SCHEMA))
    }

    const fn of(
        kind: EntryKind,
        name: &'static str,
        direction: Direction,
        structure: &NamedType,
        answer: Option<&NamedType>,
    ) -> Self {
        assert!(!name.is_empty(), "a message needs a name");
        assert!(
            name.len() <= MAX_MESSAGE_NAME,
            "the name of a message is longer than 64 bytes"
        );
        let (structure, length) = digest::measured(structure);
        let size = canonical::head_len(name) + length;
        let (key, size) = match answer {
            None => (digest::entry_key(kind, name, &structure, None), size),
            Some(answer) => {
                let (answer, more) = digest::measured(answer);
                (digest::entry_key(kind, name, &structure, Some(&answer)), size + more)
            }
        };
        Self {
            name,
            direction,
            kind,
            structure,
            key,
            size,
        }
    }

    /// Stands in for a definition that was learned: no type is it.
    #[cfg(feature = "alloc")]
    pub(crate) const LEARNED: Self = Self {
        name: "",
        direction: Direction::Both,
        kind: EntryKind::Message,
        structure: Key([0; 16]),
        key: Key([0; 16]),
        size: 0,
    };

    /// The name, as the peers compare it.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Which way it may travel, or who may ask.
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// Whether it is a message, or what else it is.
    pub const fn kind(&self) -> EntryKind {
        self.kind
    }

    /// What peers compare.
    pub(crate) const fn entry(&self) -> Definition<'static> {
        Definition {
            name: self.name,
            key: self.key,
            direction: self.direction,
            kind: self.kind,
        }
    }

    /// What stands for name and structures.
    pub const fn key(&self) -> Key {
        self.key
    }

    /// How many bytes its description takes (PROTOCOL S-7).
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// What stands for the structure of the message alone.
    pub(crate) const fn structure(&self) -> Key {
        self.structure
    }
}

/// All messages of a service, each way, and what else it defines, in the order of their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Catalog {
    service: ServiceName<'static>,
    messages: &'static [MessageDef],
    digest: Digest,
}

/// Its digest says all.
impl core::hash::Hash for Catalog {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Catalog {
    /// The catalog of `service`, a name of the form `System/Name`.
    ///
    /// # Panics
    /// When the name is not of that form, when there are more than [`MAX_MESSAGES`], when
    /// two messages have one name, or when all descriptions together take more than
    /// [`MAX_CATALOG`] (PROTOCOL S-2). In a constant that is an error of the compiler.
    #[allow(clippy::panic, reason = "documented, and while compiling when in a constant")]
    pub const fn new(service: &'static str, messages: &'static [MessageDef]) -> Self {
        let Some(service) = ServiceName::parse(service) else {
            panic!("a service name is System/Name, of letters, digits, _, - and .");
        };
        assert!(
            messages.len() <= MAX_MESSAGES,
            "a service may define at most 128 messages, calls, streams and transfers together"
        );
        let (mut rest, mut size) = (messages, 0);
        while let [first, tail @ ..] = rest {
            size += first.size();
            let mut others = tail;
            while let [other, more @ ..] = others {
                assert!(
                    !same_text(first.name, other.name),
                    "two messages of the service have the same name"
                );
                others = more;
            }
            rest = tail;
        }
        assert!(
            size <= MAX_CATALOG,
            "the descriptions of all messages take more than 64 KiB"
        );
        Self {
            service,
            messages,
            digest: digest::catalog(service.as_str(), messages),
        }
    }

    /// The name of the service.
    pub const fn service(&self) -> ServiceName<'static> {
        self.service
    }

    /// The definitions, of whatever [kind](EntryKind); the number of each is its place.
    pub const fn messages(&self) -> &'static [MessageDef] {
        self.messages
    }

    /// What stands for the whole catalog.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The definition of the message with this number; an entry of another kind is none.
    pub(crate) fn message(&self, number: u8) -> Option<&'static MessageDef> {
        let def = self.messages.get(usize::from(number))?;
        (!def.kind.has_answer()).then_some(def)
    }

    /// Stands in for a catalog that was learned, or is not there yet.
    pub(crate) const LEARNED: Self = Self::new("Learned/Catalog", &[]);

    /// How many messages there are; at most [`MAX_MESSAGES`].
    #[allow(clippy::cast_possible_truncation, reason = "`new` refuses more than 128")]
    pub(crate) const fn count(&self) -> u8 {
        self.messages.len() as u8
    }
}

const fn same_text(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while let ([a, one_rest @ ..], [b, other_rest @ ..]) = (one, other) {
        if *a != *b {
            return false;
        }
        (one, other) = (one_rest, other_rest);
    }
    one.is_empty() && other.is_empty()
}

/// A service as its clients and its authors know it: the catalog as a type. Made by
/// [`define_service!`](crate::define_service).
pub trait ServiceDef: Send + Sync + 'static {
    /// Names, directions and keys.
    const CATALOG: &'static Catalog;
    /// The structure of each message, or of what asks, in the order of the catalog; for tools that print
    /// or build messages they were not compiled with.
    const STRUCTURES: &'static [&'static NamedType];
    /// The structures of the answers, of those entries that have one, in the order of the catalog.
    const ANSWERS: &'static [&'static NamedType] = &[];
}

/// A type that is a message of the service `S`.
pub trait MessageOf<S: ServiceDef>: Schema + Serialize {
    /// Its number in the catalog of `S`.
    const NUMBER: u8;
    /// The type with its borrowed parts living for `'f`; the type itself when it borrows
    /// nothing.
    type View<'f>: Schema + Serialize + Deserialize<'f>;
}

/// A message that a client of `S` may send.
#[diagnostic::on_unimplemented(
    message = "a client of `{S}` cannot send `{Self}`",
    label = "not among the messages that clients of `{S}` send",
    note = "list it under `from_client` or `both` in the `define_service!` of `{S}`"
)]
pub trait FromClient<S: ServiceDef>: MessageOf<S> {}

/// A message that the service `S` may send.
#[diagnostic::on_unimplemented(
    message = "the service `{S}` cannot send `{Self}`",
    label = "not among the messages that `{S}` sends",
    note = "list it under `from_service` or `both` in the `define_service!` of `{S}`"
)]
pub trait FromService<S: ServiceDef>: MessageOf<S> {}

/// Lists the messages of a service, once, for its clients and itself.
///
/// Defines a type of the given name that implements [`ServiceDef`], and implements
/// [`FromClient`] or [`FromService`] for each message. The name of a message is the name
/// of its type; a message that borrows names its lifetime.
///
/// ```
/// use diset_proto::{Schema, ServiceDef, define_service};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Schema)]
/// struct Ping { id: i64 }
/// #[derive(Serialize, Deserialize, Schema)]
/// struct Pong { id: i64 }
/// #[derive(Serialize, Deserialize, Schema)]
/// struct Note<'a> { text: &'a str }
///
/// define_service! {
///     /// Answers each Ping with a Pong.
///     pub PingPong = "Framework/PingPong";
///     from_client: [Ping],
///     from_service: [Pong],
///     both: [Note<'a>],
/// }
/// assert_eq!(PingPong::CATALOG.messages().len(), 3);
/// ```
///
/// What cannot work does not compile, for instance `usize`, whose size the peers may not
/// share:
///
/// ```compile_fail
/// # use diset_proto::{Schema, define_service};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize, Schema)]
/// struct Count { n: usize }
/// define_service! { pub Counter = "Demo/Counter"; from_client: [Count] }
/// ```
#[macro_export]
macro_rules! define_service {
    (
        $(#[$meta:meta])*
        $vis:vis $service:ident = $name:literal;
        $(from_client: [$($up:ident $(<$up_lt:lifetime>)?),* $(,)?] $(,)?)?
        $(from_service: [$($down:ident $(<$down_lt:lifetime>)?),* $(,)?] $(,)?)?
        $(both: [$($both:ident $(<$both_lt:lifetime>)?),* $(,)?] $(,)?)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default)]
        $vis struct $service;

        // Hashing definitions of some kilobytes; MAX_CATALOG bounds it.
        #[allow(long_running_const_eval)]
        const _: () = {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
            enum __Numbers { $($($up,)*)? $($($down,)*)? $($($both,)*)? }

            const MESSAGES: &[$crate::MessageDef] = &[
                $($($crate::__message_def!(FromClient, $up $(<$up_lt>)?),)*)?
                $($($crate::__message_def!(FromService, $down $(<$down_lt>)?),)*)?
                $($($crate::__message_def!(Both, $both $(<$both_lt>)?),)*)?
            ];
            const CATALOG: &$crate::Catalog = &$crate::Catalog::new($name, MESSAGES);

            impl $crate::ServiceDef for $service {
                const CATALOG: &'static $crate::Catalog = CATALOG;
                const STRUCTURES: &'static [&'static $crate::__private::NamedType] = &[
                    $($($crate::__structure!($up $(<$up_lt>)?),)*)?
                    $($($crate::__structure!($down $(<$down_lt>)?),)*)?
                    $($($crate::__structure!($both $(<$both_lt>)?),)*)?
                ];
            }

            $($(
                $crate::__message_of!($service, $up $(<$up_lt>)?);
                $crate::__sent_by!(FromClient, $service, $up $(<$up_lt>)?);
            )*)?
            $($(
                $crate::__message_of!($service, $down $(<$down_lt>)?);
                $crate::__sent_by!(FromService, $service, $down $(<$down_lt>)?);
            )*)?
            $($(
                $crate::__message_of!($service, $both $(<$both_lt>)?);
                $crate::__sent_by!(FromClient, $service, $both $(<$both_lt>)?);
                $crate::__sent_by!(FromService, $service, $both $(<$both_lt>)?);
            )*)?
        };
    };
}

/// The definition of one listed message.
#[doc(hidden)]
#[macro_export]
macro_rules! __message_def {
    ($direction:ident, $name:ident) => {
        $crate::MessageDef::new::<$name>(stringify!($name), $crate::Direction::$direction)
    };
    ($direction:ident, $name:ident<$lt:lifetime>) => {
        $crate::MessageDef::new::<$name<'static>>(stringify!($name), $crate::Direction::$direction)
    };
}

/// The structure of one listed message.
#[doc(hidden)]
#[macro_export]
macro_rules! __structure {
    ($name:ident) => {
        <$name as $crate::Schema>::SCHEMA
    };
    ($name:ident<$lt:lifetime>) => {
        <$name<'static> as $crate::Schema>::SCHEMA
    };
}

/// Makes one listed type a message of the service.
#[doc(hidden)]
#[macro_export]
macro_rules! __message_of {
    ($service:ident, $name:ident) => {
        impl $crate::MessageOf<$service> for $name {
            const NUMBER: u8 = __Numbers::$name as u8;
            type View<'f> = $name;
        }
    };
    ($service:ident, $name:ident<$lt:lifetime>) => {
        impl<$lt> $crate::MessageOf<$service> for $name<$lt> {
            const NUMBER: u8 = __Numbers::$name as u8;
            type View<'f> = $name<'f>;
        }
    };
}

/// Says who may send one listed message.
#[doc(hidden)]
#[macro_export]
macro_rules! __sent_by {
    ($direction:ident, $service:ident, $name:ident) => {
        impl $crate::$direction<$service> for $name {}
    };
    ($direction:ident, $service:ident, $name:ident<$lt:lifetime>) => {
        impl<$lt> $crate::$direction<$service> for $name<$lt> {}
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(service: &'static str, messages: Vec<MessageDef>) -> bool {
        std::panic::catch_unwind(move || Catalog::new(service, messages.leak())).is_err()
    }

    #[test]
    fn catalogs_that_cannot_work_are_refused() {
        let def = |number: usize| MessageDef::new::<u8>(format!("M{number}").leak(), Direction::Both);
        let many: Vec<_> = (0..129).map(def).collect();
        assert!(!refused("A/B", many[..128].to_vec()), "PROTOCOL S-2");
        assert!(refused("A/B", many), "PROTOCOL S-2: more than 128");
        assert!(refused("A/B", vec![def(1), def(2), def(1)]), "PROTOCOL S-2: twice");
        assert!(refused("AB", vec![def(1)]), "PROTOCOL H-3");
        // 4 bytes and the name, then 3 for each tuple.
        type Wide = ([[[u8; 256]; 84]; 3], [u8; 236]);
        let wide = MessageDef::new::<Wide>("Wide", Direction::Both);
        assert_eq!(wide.size(), 65_536 - 6);
        assert!(!refused("A/B", vec![wide, MessageDef::new::<u8>("Q", Direction::Both)]));
        assert!(
            refused("A/B", vec![wide, MessageDef::new::<u8>("Qq", Direction::Both)]),
            "PROTOCOL S-2: more than 64 KiB"
        );
        let named = |length: usize| {
            std::panic::catch_unwind(move || MessageDef::new::<u8>("x".repeat(length).leak(), Direction::Both)).is_ok()
        };
        assert_eq!([0, 1, 64, 65].map(named), [false, true, true, false], "PROTOCOL S-2");
    }
}
