//! A client that is refused comes back, unless it was told not to; and how one that stops does so.

use core::future::Future;
use core::time::Duration;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use diset_std::{
    Client, ClientEvent, ClientState, Code, Conn, Counter, Ended, Identity, Refusal, Rule, Service, define_service,
};
use tokio::sync::{Semaphore, mpsc};

use crate::common::*;

const ALICE: Identity = Identity::from_bytes([0xa1; 16]);

define_service! {
    /// What was deployed by mistake.
    Elsewhere = "Framework/Elsewhere";
    both: [Note<'a>],
}

/// Who may come, as a file or a database would say.
#[derive(Clone, Default)]
struct List(Arc<Mutex<HashSet<Identity>>>);

impl List {
    fn add(&self, identity: Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(identity);
    }

    fn rule(&self) -> Rule<PingPong> {
        let list = self.clone();
        Rule::at_connect(move |conn: &Conn<PingPong>| list.0.lock().is_ok_and(|list| list.contains(&conn.identity())))
            .or_tell("not in the list")
    }
}

/// It waits for its next attempt, and for what reason.
async fn waits(client: &Client<PingPong>) -> Ended {
    let waiting = until(client, "it waits", |state| matches!(state, ClientState::Waiting { .. })).await;
    match waiting {
        ClientState::Waiting { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_list_that_was_wrong_is_mended_where_it_is_kept() -> TestResult {
    let (world, list) = (World::new()?, List::default());
    let running = world.serve(answering().allow_connect(list.rule())).await?;
    let alice = world.client(PingPong, &running, "alice")?.identity(ALICE).start()?;
    let why = waits(&alice).await;
    assert_eq!(why.code(), Some(Code::NotAdmitted), "{why}");
    assert_eq!(told(dropped(&why)).text(), "not in the list");
    list.add(ALICE);
    connected(&alice).await;
    let counters = running.handle.counters();
    assert!(counters.get(Counter::Refused(Code::NotAdmitted)) >= 1);
    assert_eq!(counters.get(Counter::Refused(Code::Busy)), 0, "that is for overload");
    Ok(())
}

#[tokio::test]
async fn a_refusal_says_its_own_code_and_text_and_is_counted_under_it() -> TestResult {
    type Refuse = fn() -> Refusal;
    const SOON: Duration = Duration::from_millis(5);
    let world = World::new()?;
    let rows: [(Refuse, Code, &str); 4] = [
        (|| Refusal::not_admitted("not listed"), Code::NotAdmitted, "not listed"),
        (
            || Refusal::not_admitted("loading").retry_after(SOON),
            Code::NotAdmitted,
            "loading",
        ),
        (|| Refusal::busy("full").retry_after(SOON), Code::Busy, "full"),
        (|| Refusal::busy("full up").permanently(), Code::Busy, "full up"),
    ];
    for (refusal, code, text) in rows {
        let running = world
            .serve(answering().on_connect(move |_| async move { Err(refusal()) }))
            .await?;
        let builder = world.client(PingPong, &running, "alice")?;
        let why = builder.connect().await.err().ok_or("it was admitted")?;
        let notice = told(dropped(&why)).clone();
        assert_eq!((notice.code(), notice.text()), (code, text));
        let asks = text == "loading" || text == "full";
        assert_eq!(notice.retry().map(|retry| retry.min()), asks.then_some(SOON), "{text}");
        assert_eq!(
            dropped(&why).cause().is_permanent(),
            text == "full up",
            "PROTOCOL R-4: {text}"
        );
        let counted = |code| running.handle.counters().get(Counter::Refused(code));
        within("it is counted", async {
            while counted(code) == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let other = if code == Code::Busy {
            Code::NotAdmitted
        } else {
            Code::Busy
        };
        assert_eq!(counted(other), 0, "{text}");
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_is_deployed_by_mistake_strands_nobody() -> TestResult {
    let world = World::new()?;
    let wrong = run(Service::new(Elsewhere)
        .bind("127.0.0.1:0", world.server.clone())
        .await?);
    let alice = Client::builder(PingPong, &wrong.address)
        .tls(world.tls("alice")?)
        .reconnect(QUICK)
        .start()?;
    assert_eq!(waits(&alice).await.code(), Some(Code::UnknownService), "PROTOCOL H-6");
    let port = wrong.address.rsplit_once(':').ok_or("no port")?.1.parse::<u16>()?;
    wrong.stop().await;
    let right = run(answering().bind(("127.0.0.1", port), world.server.clone()).await?);
    connected(&alice).await;
    alice.close().await;
    right.stop().await;
    Ok(())
}

/// Only compiles for what may be spawned.
fn spawnable<F: Future + Send + 'static>(future: F) -> F {
    future
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_awaits_the_end_learns_why_from_any_task() -> TestResult {
    let world = World::new()?;
    let running = world
        .serve(answering().on_connect(|_| async { Err(Refusal::not_admitted("retired").permanently()) }))
        .await?;
    let alice = world.client(PingPong, &running, "alice")?.start()?;
    let clone = alice.clone();
    let spawned = tokio::spawn(spawnable(alice.stopped()));
    let mut states = alice.watch();
    let watching = tokio::spawn(spawnable(async move {
        let mut seen = vec![states.now()];
        while let Some(state) = states.changed().await {
            seen.push(state);
        }
        let never = states
            .wait_for(|state| matches!(state, ClientState::Connected(_)))
            .await;
        (seen, never.err())
    }));
    let selecting = tokio::spawn(spawnable(async move {
        let mut states = clone.watch();
        tokio::select! {
            found = states.wait_for(|state| matches!(state, ClientState::Stopped(_))) => {
                // What was found is kept over a wait.
                tokio::task::yield_now().await;
                found
            }
            () = core::future::pending() => unreachable!(),
        }
    }));
    let (seen, never) = within("the states", watching).await?;
    let whys = [
        within("stopped", spawned).await?,
        within("stopped", alice.stopped()).await,
        never.ok_or("it was connected")?,
        alice.connected().await.err().ok_or("it was connected")?,
    ];
    for why in whys {
        assert_eq!(told(dropped(&why)).text(), "retired", "{why}");
    }
    assert!(matches!(seen.last(), Some(ClientState::Stopped(_))), "{seen:?}");
    assert!(matches!(within("found", selecting).await??, ClientState::Stopped(_)));
    // One that is dropped, and that nobody can ask any more.
    let bob = world.client(PingPong, &running, "bob")?.start()?;
    let end = bob.stopped();
    drop(bob);
    let why = within("the end", end).await;
    assert!(matches!(why, Ended::Closed | Ended::Dropped(_)), "{why}");
    Ok(())
}

/// A client whose handler of News holds a channel and waits at a gate; how it is told to end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    /// Its connection breaks, and the service does not want it back.
    Refused,
    /// Its connection breaks, and the program stops it.
    StoppedAway,
    /// The program stops it while it is connected.
    Stopped,
    /// The program drops it.
    Dropped,
}

#[tokio::test]
async fn a_client_that_stops_lets_its_handlers_finish() -> TestResult {
    let world = World::new()?;
    for in_session in [true, false] {
        for how in [How::Refused, How::StoppedAway, How::Stopped, How::Dropped] {
            let first = Count::default();
            let running = world
                .serve(
                    answering()
                        .on_connect(move |_| {
                            let again = how == How::Refused && first.add() > 0;
                            async move {
                                if again {
                                    return Err(Refusal::not_admitted("retired").permanently());
                                }
                                Ok(())
                            }
                        })
                        .on_connected(|conn: Conn<PingPong>| async move {
                            conn.send(&News {
                                text: String::from("hm"),
                            })
                            .await?;
                            Ok(())
                        }),
                )
                .await?;
            let gate = Arc::new(Semaphore::new(0));
            let (sender, mut channel) = mpsc::unbounded_channel();
            let held = Arc::clone(&gate);
            let mut builder = world.client(PingPong, &running, "alice")?.on(move |_, _: News| {
                let (gate, sender) = (Arc::clone(&held), sender.clone());
                async move {
                    sender.send("begins")?;
                    gate.acquire().await?.forget();
                    sender.send("has finished")?;
                    Ok(())
                }
            });
            if !in_session {
                builder = builder.without_session();
            }
            let alice = builder.connect().await?;
            assert_eq!(within("it runs", channel.recv()).await, Some("begins"), "{how:?}");
            let stopped = alice.stopped();
            tokio::pin!(stopped);
            let mut client = Some(alice);
            match how {
                How::Refused => client.as_ref().ok_or("gone")?.cut(),
                How::StoppedAway => {
                    let alice = client.as_ref().ok_or("gone")?;
                    alice.cut();
                    alice.stop();
                }
                How::Stopped => client.as_ref().ok_or("gone")?.stop(),
                How::Dropped => client = None,
            }
            if how == How::Refused && in_session {
                let refused = || running.handle.counters().get(Counter::Refused(Code::NotAdmitted));
                within("it is refused", async {
                    while refused() == 0 {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
            }
            assert!(futures_now(&mut stopped).is_none(), "{how:?}: a handler runs");
            gate.add_permits(1);
            let why = within("stopped", stopped).await;
            assert_eq!(channel.try_recv(), Ok("has finished"), "{how:?}: {why}");
            let for_good = matches!(&why, Ended::Dropped(dropped) if dropped.cause().is_permanent());
            assert_eq!(for_good, how == How::Refused, "{how:?}: {why}");
            if let (How::Refused, Some(alice)) = (how, &client) {
                // What the handler holds is there until the program lets go of it.
                assert_eq!(channel.try_recv(), Err(mpsc::error::TryRecvError::Empty), "{how:?}");
                alice.stop();
            }
            assert_eq!(within("let go", channel.recv()).await, None, "{how:?}");
            drop(client);
            running.stop().await;
        }
    }
    Ok(())
}

/// What a future that is polled once gives.
fn futures_now<F: Future>(future: &mut core::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut cx = core::task::Context::from_waker(core::task::Waker::noop());
    match future.as_mut().poll(&mut cx) {
        core::task::Poll::Ready(output) => Some(output),
        core::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn the_events_of_a_client_end_with_it() -> TestResult {
    let world = World::new()?;
    let first = Count::default();
    let running = world
        .serve(answering().on_connect(move |_| {
            let again = first.add() > 0;
            async move {
                if again {
                    return Err(Refusal::not_admitted("retired").permanently());
                }
                Ok(())
            }
        }))
        .await?;
    let (alice, mut events) = world.client(PingPong, &running, "alice")?.events(1)?;
    let event = within("connected", events.next()).await;
    assert!(matches!(event, Some(ClientEvent::Connected(_))), "{event:?}");
    alice.cut();
    // It is kept until it is read, also when the client has stopped meanwhile.
    let why = within("stopped", alice.stopped()).await;
    assert_eq!(why.code(), Some(Code::NotAdmitted), "{why}");
    let event = within("dropped", events.next()).await;
    assert!(matches!(event, Some(ClientEvent::Dropped(_))), "{event:?}");
    assert!(within("the end", events.next()).await.is_none());
    Ok(())
}
