//! Flushing while the transport takes nothing, with input that has been read and not taken.

use core::time::Duration;

use diset_embedded::Cause;

use super::agent::{Agent, Seen, with_each};
use super::world::SECOND;

/// Something to write to a transport that takes nothing, and in large pieces a message that was read with another.
fn stuck(agent: &mut dyn Agent) {
    agent.connected();
    agent.world().push("one");
    agent.world().push("two");
    assert_eq!(agent.next(), Seen::Note("one".into()));
    agent.world().0.borrow_mut().room = 0;
    agent.ping(7).unwrap();
}

#[test]
fn a_flush_waits_for_the_transport_and_not_for_what_was_read() {
    with_each(|agent| {
        stuck(agent);
        assert!(!agent.flush(Duration::ZERO), "nothing has left");
        assert!(!agent.flush(SECOND * 20), "nor has it later");
        agent.world().0.borrow_mut().room = usize::MAX;
        assert!(agent.flush(Duration::ZERO));
        assert_eq!(agent.next(), Seen::Note("two".into()));
        assert_eq!(agent.next(), Seen::Pong(7));
    });
}

#[test]
fn a_flush_ends_with_the_connection() {
    with_each(|agent| {
        stuck(agent);
        agent.world().0.borrow_mut().frozen = true;
        let begun = agent.world().now();
        assert!(agent.flush(SECOND * 100));
        let took = agent.world().now().since(begun);
        assert!(took >= SECOND * 89 && took <= SECOND * 93, "{took:?}");
        assert!(agent.flush(Duration::ZERO), "it is over");
        assert_eq!(agent.dropped().cause(), &Cause::Silent, "PROTOCOL K-4");
        assert!(agent.flush(Duration::ZERO), "there is no connection");
    });
}

#[test]
fn a_flush_ends_when_nothing_can_be_written() {
    with_each(|agent| {
        stuck(agent);
        assert!(!agent.flush(Duration::ZERO));
        agent.world().0.borrow_mut().writes_fail = true;
        assert!(agent.flush(Duration::ZERO));
        assert_eq!(agent.next(), Seen::Note("two".into()), "PROTOCOL E-5");
        assert_eq!(agent.dropped().error(), Some(embedded_io::ErrorKind::BrokenPipe));
    });
}
