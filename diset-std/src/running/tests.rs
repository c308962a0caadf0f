//! One place for handlers: what it keeps, and what it lets go.

use core::future::{pending, ready};
use core::task::Waker;
use std::sync::Arc;

use diset_proto::drive::Running as _;

use super::*;

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Where its future lies.
fn address(running: &Running) -> *const () {
    let future = running.future.as_ref().expect("a future");
    core::ptr::from_ref(&**future).cast()
}

/// A future of one type, whatever it comes to.
async fn waits_once(result: HandlerResult, held: Arc<()>) -> HandlerResult {
    tokio::task::yield_now().await;
    drop(held);
    result
}

#[test]
fn one_allocation_serves_all_messages_with_the_same_handler() {
    let mut running = Running::default();
    let held = Arc::new(());
    running.start(|| waits_once(Ok(()), Arc::clone(&held)));
    let first = address(&running);
    for _ in 0..3 {
        while running.poll(&mut cx()).is_pending() {}
        assert_eq!(Arc::strong_count(&held), 1, "what it held is dropped when it is done");
        running.start(|| waits_once(Ok(()), Arc::clone(&held)));
        assert_eq!(address(&running), first, "it lies where the first one lay");
    }
    running.rest();
    assert!(
        running.poll(&mut cx()).is_pending() || running.future.is_some(),
        "it runs on"
    );
    while running.poll(&mut cx()).is_pending() {}
    running.rest();
    assert!(running.future.is_none(), "the memory is given back");
    // One of another type has other memory.
    running.start(|| ready(Ok(())));
    assert!(running.poll(&mut cx()).is_ready());
}

#[test]
fn what_a_handler_says_is_told_once_and_only_if_it_may_be() {
    let mut running = Running::default();
    running.call(|| Err(Failure::told("for all")));
    assert_eq!(
        running.poll(&mut cx()),
        Poll::Ready(Err(drive::Failure::new(Code::HandlerFailed)))
    );
    assert_eq!(running.told(), "for all");
    assert_eq!(
        running.take_failure().map(|failure| failure.to_string()).as_deref(),
        Some("for all")
    );
    running.call(|| Err(Failure::new("for this side")));
    assert!(running.poll(&mut cx()).is_ready());
    assert_eq!(running.told(), "");
    running.call(|| Err(diset_proto::SendError::GoingAway.into()));
    assert_eq!(running.poll(&mut cx()), Poll::Ready(Err(drive::Failure::UNSENT)));
}

#[test]
fn a_panic_is_a_failure_wherever_it_happens() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as it is dropped");
        }
    }
    let failed = Poll::Ready(Err(drive::Failure::new(Code::HandlerFailed)));
    let mut running = Running::default();
    running.call(|| panic!("at once"));
    assert_eq!(running.poll(&mut cx()), failed);
    running.start(|| -> core::future::Ready<HandlerResult> { panic!("before there is a future") });
    assert_eq!(running.poll(&mut cx()), failed);
    running.start(|| async { panic!("in the future") });
    assert_eq!(running.poll(&mut cx()), failed);
    assert!(!is_running(), "nothing runs any more");
    let bomb = Bomb;
    running.start(|| async move {
        let _bomb = bomb;
        pending().await
    });
    assert!(running.poll(&mut cx()).is_pending());
    assert_eq!(running.abandon(), failed, "and the next one has a place");
    running.start(|| ready(Ok(())));
    assert_eq!(running.poll(&mut cx()), Poll::Ready(Ok(())));
}

#[test]
fn a_handler_that_is_given_up_is_dropped() {
    let mut running = Running::default();
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    running.start(|| async move {
        let _holds = holds;
        pending().await
    });
    assert!(running.poll(&mut cx()).is_pending());
    assert_eq!(Arc::strong_count(&held), 2);
    assert_eq!(
        running.abandon(),
        Poll::Ready(Err(drive::Failure::new(Code::HandlerFailed)))
    );
    assert_eq!(Arc::strong_count(&held), 1);
    assert_eq!(running.poll(&mut cx()), Poll::Ready(Err(drive::Failure::ABANDONED)));
}
