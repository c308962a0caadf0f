//! The halves against a connection that is driven by hand: the same bytes leave, and the same is told, in the same order.

mod by_hand;

use diset_proto::drive::Failure;
use diset_proto::{Code, Phase};

use self::by_hand::ByHand;
use super::Bytes;
use super::call::Call;
use super::engine::{Engine, FROM_CLIENT, FROM_SERVICE, Step, client_of};

/// A connection that is driven by hand and one by the halves, to which the same happens.
struct Both {
    hand: ByHand,
    halves: Engine,
}

impl Both {
    fn new(mut hand: ByHand, mut halves: Engine) -> Self {
        for how in [&mut hand.how, &mut halves.how] {
            how.seen = Some(Vec::new());
        }
        Self { hand, halves }
    }

    fn step(&mut self, step: &Step<'_>) {
        match step {
            // Whoever drives by hand must have done it: these are no calls of a connection.
            Step::Settle(..) => return,
            Step::Call(Call::Done(Err(failure))) if *failure != Failure::new(Code::HandlerFailed) => return,
            step => {
                self.hand.step(step);
                self.halves.step(step);
            }
        }
        let player = &mut self.halves.player;
        assert_eq!(self.hand.how.seen, self.halves.how.seen, "by hand, by the halves");
        assert_eq!(self.hand.wire, player.wire, "by hand, by the halves");
        self.hand.wire.clear();
        player.wire.clear();
        if let Step::Call(Call::Wrote(_) | Call::Later(_)) = step {
            let conn = player.tx.connection();
            assert_eq!(self.hand.conn.phase(), conn.phase());
            assert_eq!(self.hand.conn.wake(), conn.wake());
            assert_eq!(self.hand.waits(), player.waits());
            // Last, as it transmits: what has been written may be all.
            assert_eq!(self.hand.output(), player.tx.output(), "by hand, by the halves");
        }
    }
}

/// Whatever happens, the halves tell and write what a connection does that is driven by hand. The first byte chooses a
/// service, to which the same happens as in `service_ops`, or a client, as in `client_ops`.
pub fn halves(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (mut both, canned) = if bytes.byte().is_multiple_of(2) {
        (Both::new(ByHand::new(None), Engine::service()), &*FROM_CLIENT)
    } else {
        let (origin, keeps) = client_of(bytes.byte());
        let hand = ByHand::new(Some((origin, keeps)));
        (Both::new(hand, Engine::client(origin, keeps)), &*FROM_SERVICE)
    };
    while let Some(step) = Step::read(&mut bytes, canned) {
        both.step(&step);
    }
    for call in [
        Call::Wrote(usize::MAX),
        Call::Ended,
        Call::Expire,
        Call::Wrote(usize::MAX),
    ] {
        both.step(&Step::Call(call));
    }
    assert_eq!(both.hand.conn.phase(), Phase::Closed);
    both.halves.finish();
}
