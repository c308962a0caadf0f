//! The phases of a connection and the only table that says what may happen in each.
//!
//! The table is normative: PROTOCOL.md, part T, holds the same in two, and a test compares
//! them.

use crate::status::Code;
use crate::wire::frame::Kind;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Phase {
    /// Client: has proposed and waits for the answer.
    Proposing,
    /// Client: describes its catalog and waits for the answer.
    Describing,
    /// Client without a catalog: has proposed and takes that of the service.
    Adopting,
    /// Service: waits for the proposal.
    Awaiting,
    /// Service: the application decides on the proposal.
    Admitting,
    /// Service: has admitted the client and waits for its definitions.
    Asking,
    /// Messages travel both ways.
    Open,
    /// This side has said go-away; it takes what is still under way, and answers it.
    Leaving,
    /// The peer has said go-away; what waits here still leaves, and what came before is answered.
    Draining,
    /// The end is being told to the peer.
    Closing,
    /// Nothing more happens.
    Closed,
}

/// What can happen to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// A frame of this kind came.
    Frame(Kind),
    /// What came is no frame.
    Malformed,
    /// The phase has lasted as long as it may.
    Deadline,
    /// Nothing came for one and a half times the longest silence.
    Silence,
    /// The transport ended.
    Eof,
    /// Everything that waited has been transmitted.
    Flushed,
    /// The application admits the client.
    Accept,
    /// The application refuses the client.
    Refuse,
    /// The application sends a message.
    Send,
    /// The application says go-away.
    GoAway,
    /// The application, or a check, ends the connection.
    Disconnect,
}

/// What follows from an input in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Deal with it and stay.
    Take,
    /// Deal with it and go on to this phase.
    To(Phase),
    /// Nothing.
    Skip,
    /// The peer broke a rule: tell it and close.
    Fault(Code),
    /// The call has no place here.
    Misuse,
}

/// The table (PROTOCOL T-1, T-2). `Accept` and `Definitions` may stay a phase short when definitions are
/// still to come, and after a go-away messages are taken only as G-1 and G-2 say; everything else is as it
/// stands here.
pub(crate) const fn step(phase: Phase, input: Input) -> Step {
    match (phase, input) {
        (Phase::Closed, Input::Accept | Input::Refuse | Input::Send | Input::GoAway)
        | (Phase::Closing, Input::Accept | Input::Refuse | Input::Send | Input::GoAway) => Step::Misuse,
        (Phase::Closed, _) => Step::Skip,
        (Phase::Closing, Input::Deadline | Input::Eof) => Step::To(Phase::Closed),
        (Phase::Closing, _) => Step::Skip,

        // The same in every phase that lives.
        (_, Input::Eof) => Step::To(Phase::Closed),
        (_, Input::Disconnect | Input::Deadline | Input::Frame(Kind::Error)) => Step::To(Phase::Closing),
        (_, Input::Frame(Kind::Ignorable)) => Step::Skip,
        (_, Input::Frame(Kind::Unknown)) => Step::Fault(Code::UnknownKind),
        (_, Input::Malformed) => Step::Fault(Code::FrameMalformed),

        (Phase::Proposing, Input::Frame(Kind::Describe)) => Step::To(Phase::Describing),
        (Phase::Adopting, Input::Frame(Kind::Catalog)) => Step::Take,
        (Phase::Proposing | Phase::Describing | Phase::Adopting, Input::Frame(Kind::Acceptance)) => {
            Step::To(Phase::Open)
        }
        (Phase::Proposing | Phase::Describing | Phase::Adopting, Input::Frame(Kind::Refusal)) => {
            Step::To(Phase::Closing)
        }

        (Phase::Awaiting, Input::Frame(Kind::Proposal)) => Step::To(Phase::Admitting),
        (Phase::Admitting, Input::Accept) => Step::To(Phase::Open),
        (Phase::Admitting, Input::Refuse) => Step::To(Phase::Closing),
        (Phase::Asking, Input::Frame(Kind::Definitions)) => Step::To(Phase::Open),

        (Phase::Open, Input::Send) => Step::Take,
        (Phase::Open, Input::GoAway) => Step::To(Phase::Leaving),
        // In Leaving and Draining as far as PROTOCOL G-1 and G-2 go: see `Core::may_speak` and `Core::may_hear`.
        (Phase::Leaving | Phase::Draining, Input::Send) => Step::Take,
        (Phase::Open | Phase::Leaving | Phase::Draining, Input::Frame(Kind::Message | Kind::Acked | Kind::Next)) => {
            Step::Take
        }
        (Phase::Open | Phase::Leaving, Input::Frame(Kind::GoAway)) => Step::To(Phase::Draining),
        (Phase::Leaving | Phase::Draining, Input::GoAway) => Step::Take,
        (
            Phase::Open | Phase::Leaving | Phase::Draining,
            Input::Frame(
                Kind::Credit | Kind::Ack | Kind::OutcomesRead | Kind::NextKey | Kind::KeepAlive | Kind::KeepAliveAnswer,
            ),
        ) => Step::Take,
        (Phase::Open | Phase::Leaving | Phase::Draining, Input::Silence) => Step::To(Phase::Closing),
        (Phase::Draining, Input::Flushed) => Step::To(Phase::Closing),

        (_, Input::Frame(_)) => Step::Fault(Code::Unexpected),
        (_, Input::Silence | Input::Flushed) => Step::Skip,
        (_, Input::Accept | Input::Refuse | Input::Send | Input::GoAway) => Step::Misuse,
    }
}

impl Phase {
    /// Whether the handshake is still going on.
    pub const fn is_handshake(self) -> bool {
        matches!(
            self,
            Self::Proposing | Self::Describing | Self::Adopting | Self::Awaiting | Self::Admitting | Self::Asking
        )
    }

    /// Whether the connection is over or about to be.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closing | Self::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::fmt::Write;

    const SHAKING: [Phase; 6] = [
        Phase::Proposing,
        Phase::Describing,
        Phase::Adopting,
        Phase::Awaiting,
        Phase::Admitting,
        Phase::Asking,
    ];

    const LINKED: [Phase; 5] = [
        Phase::Open,
        Phase::Leaving,
        Phase::Draining,
        Phase::Closing,
        Phase::Closed,
    ];

    /// Frames of the handshake, and those of an open link that go the same way.
    const SHAKES: [Input; 6] = [
        Input::Frame(Kind::Proposal),
        Input::Frame(Kind::Acceptance),
        Input::Frame(Kind::Refusal),
        Input::Frame(Kind::Describe),
        Input::Frame(Kind::Definitions),
        Input::Frame(Kind::Catalog),
    ];
    const MESSAGES: [Input; 3] = [
        Input::Frame(Kind::Message),
        Input::Frame(Kind::Acked),
        Input::Frame(Kind::Next),
    ];
    const CALLS: [Input; 6] = [
        Input::Frame(Kind::Request),
        Input::Frame(Kind::Reply),
        Input::Frame(Kind::Cancel),
        Input::Frame(Kind::ItemCredit),
        Input::Frame(Kind::Part),
        Input::Frame(Kind::PartCredit),
    ];
    const TALK: [Input; 6] = [
        Input::Frame(Kind::Ack),
        Input::Frame(Kind::OutcomesRead),
        Input::Frame(Kind::Credit),
        Input::Frame(Kind::NextKey),
        Input::Frame(Kind::KeepAlive),
        Input::Frame(Kind::KeepAliveAnswer),
    ];
    const GOING: Input = Input::Frame(Kind::GoAway);
    /// The same in each phase that lives, in both tables.
    const ALWAYS: [Input; 6] = [
        Input::Frame(Kind::Error),
        Input::Frame(Kind::Ignorable),
        Input::Frame(Kind::Unknown),
        Input::Malformed,
        Input::Deadline,
        Input::Eof,
    ];

    /// A row of a table: its name, and the inputs that all behave like this.
    type Row = (String, Vec<Input>);

    fn name(input: Input) -> String {
        match input {
            Input::Frame(kind) => format!("{kind:?}"),
            Input::Accept | Input::Refuse | Input::Send | Input::GoAway | Input::Disconnect => {
                format!("call {input:?}")
            }
            other => format!("*{other:?}*"),
        }
    }

    fn row(inputs: &[Input]) -> Row {
        let names: Vec<String> = inputs.iter().copied().map(name).collect();
        (names.join(", "), inputs.to_vec())
    }

    fn cell(phase: Phase, input: Input) -> String {
        match step(phase, input) {
            Step::Take => "take".to_owned(),
            Step::To(next) => format!("→ {next:?}"),
            Step::Skip => "–".to_owned(),
            Step::Fault(code) => format!("✗ {}", code.number()),
            Step::Misuse => "misuse".to_owned(),
        }
    }

    /// The tables as PROTOCOL.md shows them, each with all that can happen.
    fn tables() -> [String; 2] {
        let others = MESSAGES.into_iter().chain(CALLS).chain(TALK).chain([GOING]).collect();
        let mut shaking: Vec<Row> = SHAKES.map(|frame| row(&[frame])).into();
        shaking.push(("any other frame".to_owned(), others));
        shaking.extend(ALWAYS.map(|input| row(&[input])));
        shaking.push(row(&[Input::Silence, Input::Flushed]));
        shaking.extend([Input::Accept, Input::Refuse].map(|call| row(&[call])));
        shaking.push(row(&[Input::Send, Input::GoAway]));
        shaking.push(row(&[Input::Disconnect]));

        let mut linked = vec![row(&MESSAGES), row(&CALLS), row(&TALK), row(&[GOING])];
        linked.push(("frames of the handshake".to_owned(), SHAKES.into()));
        linked.extend(ALWAYS.map(|input| row(&[input])));
        let rest = [Input::Silence, Input::Flushed, Input::Send, Input::GoAway];
        linked.extend(rest.map(|input| row(&[input])));
        linked.push(row(&[Input::Accept, Input::Refuse]));
        linked.push(row(&[Input::Disconnect]));
        for rows in [&shaking, &linked] {
            let count: usize = rows.iter().map(|(_, inputs)| inputs.len()).sum();
            assert_eq!(count, 35, "each input stands in a row");
        }
        [table(&SHAKING, &shaking), table(&LINKED, &linked)]
    }

    fn table(phases: &[Phase], rows: &[Row]) -> String {
        let mut table = String::from("| |");
        for phase in phases {
            write!(table, " {phase:?} |").unwrap();
        }
        table.push_str("\n|---|");
        table.push_str(&"---|".repeat(phases.len()));
        for (name, inputs) in rows {
            write!(table, "\n| {name} |").unwrap();
            for phase in phases {
                let first = cell(*phase, inputs[0]);
                for input in inputs {
                    assert_eq!(
                        cell(*phase, *input),
                        first,
                        "{phase:?}: {input:?} needs a row of its own"
                    );
                }
                write!(table, " {first} |").unwrap();
            }
        }
        table
    }

    #[test]
    fn the_tables_are_those_in_the_protocol() {
        let protocol = include_str!("../../../PROTOCOL.md");
        for (table, rule) in tables().iter().zip(["T-1", "T-2"]) {
            println!("{table}\n");
            assert!(
                protocol.contains(table),
                "PROTOCOL {rule}: put the table printed above into PROTOCOL.md, part T"
            );
        }
    }

    #[test]
    fn every_phase_that_lives_can_end() {
        for phase in SHAKING.into_iter().chain(LINKED) {
            assert!(matches!(step(phase, Input::Eof), Step::To(Phase::Closed) | Step::Skip));
            if !phase.is_over() {
                assert_eq!(step(phase, Input::Disconnect), Step::To(Phase::Closing));
                assert_eq!(step(phase, Input::Deadline), Step::To(Phase::Closing));
            }
        }
    }
}
