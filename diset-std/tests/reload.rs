//! TLS settings that change while service and client run: who gets in from then on, what becomes of live connections and of tickets, what
//! a watch of files takes, and clients whose certificates end.

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use diset_std::tls::throwaway::{ThrowawayCa, expired, lists_to_pem, to_pem};
use diset_std::tls::{
    Authorities, Certificate, ClientTls, Credentials, Revocations, ServerTls, TlsChange, TlsError, TlsFiles,
};
use diset_std::{Cause, Code, Service, Trid};
use tracing::Level;

use crate::common::guest::{Guest, refused};
use crate::common::lines::lines;
use crate::common::*;

/// A connection's end as the service is told of it: code and words.
type Farewell = (Trid, Option<Code>, String);

/// A service that tells of each.
fn counting_drops() -> (Service<PingPong>, Seen<Farewell>) {
    let (drops, seen) = log();
    let service = answering().on_drop(move |conn, dropped| {
        drops.add((conn.trid(), dropped.code(), dropped.to_string()));
        async {}
    });
    (service, seen)
}

fn both(one: &ThrowawayCa, other: &ThrowawayCa) -> Result<Authorities, TlsError> {
    let lists = [one.authorities(), other.authorities()];
    Authorities::from_der(lists.iter().flat_map(Authorities::certificates).cloned().collect())
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_everything_stays() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let mut alice = Guest::connect(&running, world.tls("alice")?).await?;
    let trid = alice.client.trid();
    let tls = &world.server;

    let (chain, _) = to_pem(&world.ca.server(&["localhost"])?);
    let (_, key) = to_pem(&world.ca.server(&["localhost"])?);
    let mismatched = Certificate::from_pem(chain.as_bytes(), key.as_bytes())?;
    let result = tls.change(|now| now.certificate(mismatched));
    assert!(matches!(result, Err(TlsError::KeyMismatch { .. })), "{result:?}");
    let old = world.ca.server_valid(&["localhost"], expired())?;
    let result = tls.change(|now| now.certificate(old));
    assert!(matches!(result, Err(TlsError::Expired { .. })), "{result:?}");
    let junk = Revocations::from_der(vec![vec![0x30, 0].into()])?;
    // Nothing of a change is taken when a part of it does not fit.
    let nobody = ThrowawayCa::new()?.authorities();
    let result = tls.change(|now| now.authorities(nobody).revocations(junk));
    assert!(matches!(result, Err(TlsError::BadRevocations { .. })), "{result:?}");

    alice.goes_on(trid, 1).await?;
    Guest::connect(&running, world.tls("bob")?).await?.client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn authorities_come_and_go_and_live_connections_stay_until_they_are_looked_at() -> TestResult {
    let (world, other) = (World::new()?, ThrowawayCa::new()?);
    let (service, mut drops) = counting_drops();
    let running = world.serve(service).await?;
    let mut alice = Guest::connect(&running, world.tls("alice")?).await?;
    let alices = alice.client.trid();

    let newcomer = ClientTls::new(other.client("newcomer")?, world.ca.authorities())?;
    refused(&running, newcomer.clone()).await;
    let authorities = both(&world.ca, &other)?;
    world.server.change(|now| now.authorities(authorities))?;
    let mut newcomer = Guest::connect(&running, newcomer).await?;
    let newcomers = newcomer.client.trid();
    assert_eq!(
        running.handle.recheck_credentials().await,
        0,
        "both authorities are trusted"
    );

    world.server.change(|now| now.authorities(other.authorities()))?;
    let reason = refused(&running, world.tls("late")?).await;
    assert!(reason.contains("does not trust the authority"), "{reason}");
    alice.goes_on(alices, 1).await?;
    newcomer.goes_on(newcomers, 2).await?;
    assert_eq!(drops.now(), None, "a change ends no connection");

    assert_eq!(running.handle.recheck_credentials().await, 1, "PROTOCOL X-7");
    let ended = alice.drops.next().await;
    assert!(
        matches!(ended.cause(), Cause::PeerError(notice)
            if notice.code() == Code::CredentialsEnd && notice.text().contains("not trusted")),
        "PROTOCOL X-7: {ended}"
    );
    let (trid, code, words) = drops.next().await;
    assert_eq!((Some(trid), code), (alices, Some(Code::CredentialsEnd)), "{words}");
    newcomer.goes_on(newcomers, 3).await?;
    assert_eq!(running.handle.recheck_credentials().await, 0);
    alice.is_refused().await;
    drop((alice, newcomer));
    running.stop().await;
    // The newcomer's own end, and no second one of alice.
    assert_eq!(drops.next().await.0, newcomers.ok_or("connected")?);
    assert_eq!(drops.now(), None, "each connection is dropped once");
    Ok(())
}

#[tokio::test]
async fn a_revoked_client_is_ended_on_call_and_the_others_never_notice() -> TestResult {
    let world = World::new()?;
    let (service, mut drops) = counting_drops();
    let running = world.serve(service).await?;
    let stolen = world.ca.client("stolen")?;
    let thief = Guest::connect(&running, ClientTls::new(stolen.clone(), world.ca.authorities())?).await?;
    let thiefs = thief.client.trid();
    let mut others = Vec::new();
    for name in ["alice", "bob", "carol"] {
        others.push(Guest::connect(&running, world.tls(name)?).await?);
    }
    let trids: Vec<_> = others.iter().map(|guest| guest.client.trid()).collect();

    let lists = world.ca.revoke(&[&stolen])?;
    world.server.change(|now| now.revocations(lists))?;
    // Calls that overlap: each knows, when it is over, that the thief is out.
    let ended = tokio::join!(
        running.handle.recheck_credentials(),
        running.handle.recheck_credentials(),
        running.handle.recheck_credentials()
    );
    assert_eq!(ended, (1, 1, 1), "PROTOCOL X-7");
    let (trid, code, words) = drops.next().await;
    assert_eq!((Some(trid), code), (thiefs, Some(Code::CredentialsEnd)));
    assert!(words.contains("revoked"), "{words}");
    // Its ticket is of no use either.
    let reason = thief.is_refused().await;
    assert!(reason.contains("has been revoked"), "{reason}");
    for (id, (guest, trid)) in (0..).zip(others.iter_mut().zip(trids)) {
        guest.goes_on(trid, id).await?;
        assert!(guest.drops.now().is_none());
    }
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_ticket_from_before_a_change_leads_to_a_full_handshake() -> TestResult {
    let (_guard, mut seen) = lines(Level::DEBUG);
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let mut alice = Guest::connect(&running, world.tls("alice")?).await?;
    for (resumed, then_change) in [(false, false), (true, true), (false, false), (true, false)] {
        // The service's line has the client's address.
        let line = seen
            .find(|line| line.contains("the transport is up") && line.contains("peer="))
            .await;
        assert!(line.contains(&format!("resumed={resumed}")), "PROTOCOL X-6: {line}");
        let trid = alice.client.trid();
        alice.goes_on(trid, 1).await?;
        if then_change {
            world.server.change(|now| now)?;
        }
        assert!(running.handle.disconnect(trid.ok_or("connected")?, "once more"));
        alice.comes_back(trid).await;
    }
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_client_renews_its_certificate_without_losing_its_connection() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let tls = world.tls("alice")?;
    let mut alice = Guest::connect(&running, tls.clone()).await?;
    let trid = alice.client.trid();
    let renewed = world.ca.client("alice the second")?;
    tls.change(|now| now.certificate(renewed))?;
    alice.goes_on(trid, 1).await?;
    assert_eq!(subject(&running, trid), "CN=alice,O=diset throwaway");
    // The session of the old certificate is not resumed: that would bring the old one back.
    assert!(running.handle.disconnect(trid.ok_or("connected")?, "once more"));
    let next = alice.comes_back(trid).await;
    assert_eq!(subject(&running, next), "CN=alice the second,O=diset throwaway");
    alice.goes_on(next, 2).await?;
    running.stop().await;
    Ok(())
}

fn credentials(running: &Running<PingPong>, trid: Option<Trid>) -> Credentials {
    let conn = trid
        .and_then(|trid| running.handle.find(trid))
        .expect("a live connection");
    conn.credentials().clone()
}

fn subject(running: &Running<PingPong>, trid: Option<Trid>) -> String {
    let credentials = credentials(running, trid);
    credentials
        .certificate()
        .map_or("", |certificate| certificate.subject())
        .to_owned()
}

/// From a minute ago, until then.
fn until_in(span: Duration) -> core::ops::Range<SystemTime> {
    let now = SystemTime::now();
    now - Duration::from_secs(60)..now + span
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_client_whose_certificate_ends_soon_is_sent_to_renew_it_and_comes_back() -> TestResult {
    let world = World::new()?;
    // So the hour has a margin of four or five seconds.
    let margin = HOUR - Duration::from_secs(4);
    let running = world.serve(answering().credentials_margin(margin)).await?;
    let short = world.ca.client_valid("alice", until_in(HOUR))?;
    let tls = ClientTls::new(short, world.ca.authorities())?;
    let mut alice = Guest::connect(&running, tls.clone()).await?;
    let (trid, identity) = (alice.client.trid(), alice.client.identity());
    let first = credentials(&running, trid);
    alice.goes_on(trid, 1).await?;
    tls.change(|now| now.certificate(world.ca.client("alice").expect("a certificate")))?;

    let ended = alice.drops.next().await;
    assert!(
        matches!(ended.cause(), Cause::WentAway(notice)
            if notice.code() == Code::CredentialsEnd && notice.retry().is_some()),
        "PROTOCOL G-5: {ended}"
    );
    assert_eq!(ended.unconfirmed(), 0, "PROTOCOL G-4");
    let next = alice.comes_back(trid).await;
    assert_eq!(alice.client.identity(), identity, "PROTOCOL R-6");
    let (first, renewed) = (first.certificate(), credentials(&running, next));
    let ends = renewed.certificate().map(|certificate| certificate.not_after());
    assert!(ends > first.map(|certificate| certificate.not_after()));
    alice.goes_on(next, 2).await?;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_certificate_that_ends_ends_the_connection_and_its_ticket_is_of_no_use() -> TestResult {
    let (_guard, mut warnings) = lines(Level::WARN);
    let world = World::new()?;
    let (service, mut drops) = counting_drops();
    let running = world.serve(service).await?;
    // Less than the margin: no go-away, or it would go round in circles.
    let short = world.ca.client_valid("alice", until_in(Duration::from_secs(4)))?;
    let mut alice = Guest::connect(&running, ClientTls::new(short, world.ca.authorities())?).await?;
    let mut bob = Guest::connect(&running, world.tls("bob")?).await?;
    let (alices, bobs) = (alice.client.trid(), bob.client.trid());
    alice.goes_on(alices, 1).await?;

    let ended = alice.drops.next().await;
    assert!(
        matches!(ended.cause(), Cause::PeerError(notice)
            if notice.code() == Code::CredentialsEnd && notice.text() == "the certificate has ended"),
        "PROTOCOL G-5: {ended}"
    );
    assert_eq!(drops.next().await.0, alices.ok_or("connected")?);
    // The tickets of the service are as before: what one brings back is checked again.
    let line = warnings.find(|line| line.contains("a TLS handshake failed")).await;
    assert!(
        line.contains("not acceptable any more: it has expired"),
        "PROTOCOL X-5: {line}"
    );
    alice.is_refused().await;
    bob.goes_on(bobs, 2).await?;
    running.stop().await;
    Ok(())
}

/// Certificate files in a folder that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, std::io::Error> {
        let path = std::env::temp_dir().join(format!("diset-reload-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), std::io::Error> {
        std::fs::write(self.0.join(name), text)
    }

    /// The files of a service, looked at often.
    fn files(&self) -> TlsFiles {
        let file = |name: &str| self.0.join(name);
        TlsFiles::new(file("chain.pem"), file("key.pem"), file("ca.pem"))
            .revocations(file("crl.pem"))
            .every(Duration::from_millis(10))
    }

    /// All of them: a certificate of this authority, who is trusted, and who is revoked.
    fn fill(&self, own: &ThrowawayCa, revoked: &[&Certificate]) -> TestResult {
        let (chain, key) = to_pem(&own.server(&["localhost"])?);
        self.write("chain.pem", &chain)?;
        self.write("key.pem", &key)?;
        self.write("ca.pem", &own.pem())?;
        self.write("crl.pem", &lists_to_pem(&own.revoke(revoked)?))?;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Runs a service from files, with a watch that tells what it took.
async fn watched(files: TlsFiles) -> Result<(Running<PingPong>, Seen<TlsChange>), Box<dyn core::error::Error>> {
    let tls = ServerTls::from_files(&files)?;
    let mut watch = tls.watch(files);
    let (changes, seen) = log();
    tokio::spawn(async move {
        while let Some(change) = watch.changed().await {
            changes.add(change);
        }
    });
    Ok((run(answering().bind("127.0.0.1:0", tls).await?), seen))
}

#[tokio::test]
async fn a_watch_outlives_half_written_files_and_takes_the_whole_ones() -> TestResult {
    let (_guard, mut seen) = lines(Level::INFO);
    let (folder, ca, next) = (Folder::new("half")?, ThrowawayCa::new()?, ThrowawayCa::new()?);
    folder.fill(&ca, &[])?;
    let (running, mut changes) = watched(folder.files()).await?;
    let alice = || ClientTls::new(ca.client("alice")?, both(&ca, &next)?).map_err(Box::<dyn core::error::Error>::from);
    let demanding = ClientTls::new(ca.client("demanding")?, next.authorities())?;

    // The new certificate is there, its key is not yet.
    let (chain, key) = to_pem(&next.server(&["localhost"])?);
    folder.write("chain.pem", &chain)?;
    let line = seen.find(|line| line.contains("do not fit")).await;
    assert!(line.contains("chain.pem") && line.contains("does not belong"), "{line}");
    assert!(!line.contains(key.lines().nth(1).ok_or("a key")?));
    for _ in 0..3 {
        Guest::connect(&running, alice()?).await?.client.close().await;
    }
    refused(&running, demanding.clone()).await;
    folder.write("key.pem", &key)?;
    let change = changes.next().await;
    assert!(
        change.certificate && !change.authorities && !change.revocations,
        "{change}"
    );
    let line = seen.find(|line| line.contains("the TLS ")).await;
    assert!(
        line.contains("settings have changed") && line.contains("new=certificate"),
        "told once, then: {line}"
    );
    Guest::connect(&running, demanding).await?.client.close().await;

    // Nobody uses the settings any more.
    running.stop().await;
    assert_eq!(changes.rest().await, []);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_watch_takes_folders_that_are_swapped_and_the_service_ends_who_is_revoked() -> TestResult {
    let (folder, ca) = (Folder::new("swap")?, ThrowawayCa::new()?);
    let stolen = ca.client("stolen")?;
    // As Kubernetes does it: files are links into a folder that is itself a link.
    let (old, new) = (Folder(folder.0.join("v1")), Folder(folder.0.join("v2")));
    for (version, revoked) in [(&old, &[][..]), (&new, &[&stolen][..])] {
        std::fs::create_dir(&version.0)?;
        version.fill(&ca, revoked)?;
    }
    let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, folder.0.join(name));
    link(&old.0, "data")?;
    for name in ["chain.pem", "key.pem", "ca.pem", "crl.pem"] {
        link(&Path::new("data").join(name), name)?;
    }
    let (running, mut changes) = watched(folder.files()).await?;
    let mut thief = Guest::connect(&running, ClientTls::new(stolen, ca.authorities())?).await?;
    let mut alice = Guest::connect(&running, ClientTls::new(ca.client("alice")?, ca.authorities())?).await?;
    let trid = alice.client.trid();

    link(&new.0, "data.new")?;
    std::fs::rename(folder.0.join("data.new"), folder.0.join("data"))?;
    let change = changes.next().await;
    assert_eq!(change.to_string(), "certificate, revocation lists");
    assert_eq!(running.handle.recheck_credentials().await, 1, "PROTOCOL X-7");
    assert_eq!(thief.drops.next().await.code(), Some(Code::CredentialsEnd));
    alice.goes_on(trid, 1).await?;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn files_are_read_again_on_call() -> TestResult {
    let (folder, ca) = (Folder::new("call")?, ThrowawayCa::new()?);
    let alice = ca.client("alice")?;
    folder.fill(&ca, &[])?;
    let files = folder.files();
    let tls = ServerTls::from_files(&files)?;
    let running = run(answering().bind("127.0.0.1:0", tls.clone()).await?);
    let client = ClientTls::new(alice.clone(), ca.authorities())?;
    Guest::connect(&running, client.clone()).await?.client.close().await;

    assert!(tls.reload(&files)?.is_nothing(), "the same files");
    folder.write("crl.pem", &lists_to_pem(&ca.revoke(&[&alice])?))?;
    assert_eq!(tls.reload(&files)?.to_string(), "revocation lists");
    let reason = refused(&running, client.clone()).await;
    assert!(reason.contains("has been revoked"), "{reason}");
    folder.write("crl.pem", "")?;
    let error = tls.reload(&files).expect_err("no list");
    assert!(error.to_string().contains("crl.pem"), "{error}");
    refused(&running, client).await;
    running.stop().await;
    Ok(())
}
