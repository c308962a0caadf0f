//! One seed from its first message to its last outcome.

use core::time::Duration;
use std::sync::Arc;

use diset_std::tls::ClientTls;
use diset_std::tls::throwaway::ThrowawayCa;
use diset_std::{Client, ClientState, Receipt, ReconnectPolicy, WaitError};
use tokio::time::timeout;

use super::SOON;
use super::ends::{Error, Host, Opening, limits};
use super::handlers::handle;
use super::oracle::{Seen, Told, Verdict, Way};
use super::plan::{Act, Kind, Plan};
use crate::common::*;

/// Connections come back so soon that a seed is short.
const AT_ONCE: ReconnectPolicy = ReconnectPolicy {
    base: Duration::from_millis(2),
    max: Duration::from_millis(10),
    useful: Duration::from_millis(20),
    max_asked: Duration::from_millis(20),
    refused: Duration::from_millis(10),
};
/// A handler that hangs has 30 s after the end of its connection.
const GRACE: Duration = Duration::from_secs(35);

/// Plays a seed, and judges it.
pub(crate) async fn play(plan: &Plan, authority: &ThrowawayCa) -> Verdict {
    let (plan, seen) = (Arc::new(plan.clone()), Seen::new());
    match timeout(SOON * 20, tell(&plan, &seen, authority)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => seen.wrong(error.to_string()),
        Err(_) => seen.stuck(),
    }
    seen.judge(&plan)
}

async fn tell(plan: &Arc<Plan>, seen: &Arc<Seen>, authority: &ThrowawayCa) -> Result<(), Error> {
    let folder = tempfile::tempdir()?;
    seen.stage("as the service starts");
    let host = Host::new(plan, seen, authority, folder.path().join("sessions.redb")).await?;
    let client = client(plan, seen, authority, &host)?;
    seen.stage("as messages are sent");
    let ender = tokio::spawn(harm(
        Arc::clone(plan),
        Arc::clone(seen),
        Arc::clone(&host),
        client.clone(),
    ));
    let (up, down) = tokio::join!(send_up(plan, seen, &host, &client), send_down(plan, seen, &host));
    let (up, down) = (up?, down?);
    seen.stage("as outcomes are awaited");
    let patience = if plan.kind == Kind::Hangs { GRACE + SOON } else { SOON };
    tokio::join!(
        outcomes(seen, Way::Up, up, patience),
        outcomes(seen, Way::Down, down, patience)
    );
    seen.stage("as the last end happens");
    ender.await??;
    // What an end has interrupted comes to its end as well.
    seen.stage("as the client connects for the last time");
    let mut states = client.watch();
    let connected = states.wait_for(|state| matches!(state, ClientState::Connected(_)));
    if timeout(SOON, connected).await.is_err() {
        seen.wrong(format!("the client stays {:?}", client.state()));
    }
    if client.stored() > 0 {
        seen.wrong(format!("the client still stores {} messages", client.stored()));
    }
    seen.stage("as the service empties its store");
    if timeout(SOON, host.emptied()).await.is_err() {
        seen.wrong("the service still stores messages".to_owned());
    }
    seen.stage("as the client closes");
    timeout(SOON, client.close())
        .await
        .map_err(|_| "the client does not close")?;
    seen.stage("as the service stops");
    host.stop(false).await?;
    host.look_at_effects().await
}

fn client(plan: &Arc<Plan>, seen: &Arc<Seen>, authority: &ThrowawayCa, host: &Host) -> Result<Client<PingPong>, Error> {
    let (noted, of) = (Arc::clone(seen), Arc::clone(plan));
    let (notes, its) = (Arc::clone(seen), Arc::clone(plan));
    let (told, opening) = (Arc::clone(seen), Opening::new(plan));
    let (dropping, began, dropped) = (opening.clone(), Arc::clone(seen), Arc::clone(seen));
    let client = Client::builder(PingPong, &host.line.address)
        .tls(ClientTls::new(authority.client("chaos")?, authority.authorities())?)
        .identity(host.identity)
        .limits(limits())
        .reconnect(AT_ONCE)
        .seed(plan.seed)
        .drain_time(plan.drain())
        .on(move |client: Client<PingPong>, pong: Pong| {
            let marked = client.received().is_some_and(|received| received.maybe_repeated);
            let message = (Way::Down, pong.id, marked);
            handle(Arc::clone(&noted), Arc::clone(&of), message, client)
        })
        .on_ref::<Note<'_>>(move |_, note| {
            notes.note(Way::Down, note.text, &its);
            Ok(())
        })
        .on_ref::<News>(|_, _| Ok(()))
        .on_connected(move |client| {
            began.connected(Way::Down, client.resumption());
            opening.clone().on_connected()
        })
        .on_drop(move |_, why| {
            dropped.dropped(Way::Up, &why);
            dropping.clone().on_drop()
        })
        .on_outcome(move |_, number, outcome| told.outcome(Way::Up, 0, number, outcome))
        .start()?;
    Ok(client)
}

/// Lets happen what is planned, each when so many messages have been handled, or nothing moves.
async fn harm(plan: Arc<Plan>, seen: Arc<Seen>, host: Arc<Host>, client: Client<PingPong>) -> Result<(), Error> {
    let mut progress = seen.progress.subscribe();
    // A client that has not read its first acceptance is a new one when it comes again.
    client.connected().await?;
    for (after, end) in &plan.ends {
        let target = *progress.borrow() + after;
        // Otherwise it happens anyway.
        let _ = timeout(
            Duration::from_millis(400),
            progress.wait_for(|progress| *progress >= target),
        )
        .await;
        host.end(*end, &client).await?;
    }
    Ok(())
}

type Receipts = Vec<(i64, Receipt)>;

async fn send_up(plan: &Plan, seen: &Seen, host: &Host, client: &Client<PingPong>) -> Result<Receipts, Error> {
    let mut receipts = Vec::new();
    for id in 0..plan.up {
        let receipt = match host.nobody_takes(id, Way::Up) {
            Some(Act::Forbidden) => client.send_acked(&Shout { text: id.to_string() }).await?,
            Some(_) => client.send_acked(&Blob { bytes: vec![1] }).await?,
            None => client.send_acked(&Ping { id }).await?,
        };
        seen.sent(Way::Up, 0, receipt.number(), id);
        receipts.push((id, receipt));
        if plan.has_plain(id) {
            // At most once: there may be no connection.
            let said = client.try_send(&Note { text: &id.to_string() });
            seen.said(Way::Up, said);
        }
    }
    Ok(receipts)
}

async fn send_down(plan: &Plan, seen: &Seen, host: &Host) -> Result<Receipts, Error> {
    let mut receipts = Vec::new();
    let (mut handles, mut sessions) = (host.handle.subscribe(), host.session.subscribe());
    for id in 0..plan.down {
        loop {
            let found = sessions.wait_for(Option::is_some).await?.ok_or("a session")?;
            let (life, handle) = handles.wait_for(Option::is_some).await?.clone().ok_or("a service")?;
            let stored = match host.nobody_takes(id, Way::Down) {
                Some(_) => handle.send_acked(found, &Blob { bytes: vec![1] }).await,
                None => handle.send_acked(found, &Pong { id }).await,
            };
            // The service has ended, or the client is not back there yet.
            let Ok(receipt) = stored else {
                // A handle would keep the file of the service from the next one.
                drop(handle);
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            seen.sent(Way::Down, life, receipt.number(), id);
            receipts.push((id, receipt));
            if plan.has_plain(id) {
                let said = handle.send_to_session(found, &Note { text: &id.to_string() }).await;
                seen.said(Way::Down, said);
            }
            break;
        }
    }
    Ok(receipts)
}

/// Waits for the outcome of each, as long as anything moves.
async fn outcomes(seen: &Seen, way: Way, receipts: Receipts, patience: Duration) {
    for (id, receipt) in receipts {
        let told = loop {
            let before = *seen.progress.borrow();
            match timeout(patience, receipt.processed()).await {
                Ok(Ok(outcome)) => break Told::Outcome(outcome),
                Ok(Err(WaitError::Over)) => break Told::Over,
                Ok(Err(error)) => {
                    seen.wrong(format!("{way:?} {id}: {error}"));
                    break Told::Nothing;
                }
                Err(_) if *seen.progress.borrow() == before => break Told::Nothing,
                Err(_) => {}
            }
        };
        let is_stuck = told == Told::Nothing;
        seen.told(way, id, told);
        if is_stuck {
            // None of those behind it has an outcome either.
            return;
        }
    }
}
