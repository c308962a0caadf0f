//! Revocation lists as they are found in the field: several of one authority, of changed keys, for parts of the certificates, and such as cannot be
//! used; at the start, and while a service runs with clients that they revoke.

mod lists;

use core::time::Duration;
use std::path::PathBuf;

use diset_std::tls::throwaway::to_pem;
use diset_std::tls::{Authorities, Certificate, ClientTls, Revocations, ServerTls, TlsChange, TlsError, TlsFiles};
use diset_std::{Code, Ended};
use tracing::Level;

use self::lists::*;
use crate::common::guest::{Guest, refused};
use crate::common::lines::lines;
use crate::common::*;

/// The settings of a service with these authorities and lists, in PEM.
fn settings(own: &Authority, trusted: &[&Authority], lists: &str) -> Result<ServerTls, Box<dyn core::error::Error>> {
    let lists = Revocations::from_pem(lists.as_bytes())?;
    Ok(ServerTls::builder(own.server()?, trusting(trusted)?)
        .revocations(lists)
        .build()?)
}

async fn serve(tls: ServerTls) -> Result<Running<PingPong>, Box<dyn core::error::Error>> {
    Ok(run(answering().bind("127.0.0.1:0", tls).await?))
}

/// A client with this certificate, of a service of that authority.
fn client(certificate: &Certificate, service: &Authority) -> Result<ClientTls, TlsError> {
    let authorities = Authorities::from_der(vec![service.der()])?;
    ClientTls::new(certificate.clone(), authorities)
}

async fn gets_in(running: &Running<PingPong>, certificate: &Certificate, service: &Authority) -> TestResult {
    let mut guest = Guest::connect(running, client(certificate, service)?).await?;
    let trid = guest.client.trid();
    guest.goes_on(trid, 1).await?;
    guest.client.close().await;
    Ok(())
}

async fn is_refused(
    running: &Running<PingPong>,
    certificate: &Certificate,
    service: &Authority,
    why: &str,
) -> TestResult {
    let reason = refused(running, client(certificate, service)?).await;
    assert!(reason.contains(why), "{reason}");
    Ok(())
}

const REVOKED: &str = "has been revoked";

/// What the peer says of a certificate that no list covers.
const NOT_COVERED: &str = "certificate";

fn message<T>(result: Result<T, Box<dyn core::error::Error>>) -> String {
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[tokio::test]
async fn of_several_lists_the_newest_counts_in_any_order() -> TestResult {
    let ca = Authority::new("CA")?;
    let (stolen, returned, alice) = (ca.client("stolen")?, ca.client("returned")?, ca.client("alice")?);
    let old = ca.list(1, 3).revoking(&returned).pem()?;
    let new = ca.list(2, 5).revoking(&stolen).pem()?;
    let newer_of_the_same_number = ca.list(1, 5).revoking(&stolen).pem()?;
    for lists in [
        [&old, &new],
        [&new, &old],
        [&old, &newer_of_the_same_number],
        [&newer_of_the_same_number, &old],
    ] {
        let text = lists.map(String::as_str).concat();
        let running = serve(settings(&ca, &[&ca], &text)?).await?;
        is_refused(&running, &stolen, &ca, REVOKED).await?;
        gets_in(&running, &returned, &ca).await?;
        gets_in(&running, &alice, &ca).await?;
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn when_number_and_date_contradict_each_other_both_lists_count() -> TestResult {
    let ca = Authority::new("CA")?;
    let (one, other, alice) = (ca.client("one")?, ca.client("other")?, ca.client("alice")?);
    // The authority was set up again and began to count anew; or its clock was wrong.
    let higher = ca.list(9, 3).revoking(&one).pem()?;
    let later = ca.list(1, 5).revoking(&other).pem()?;
    let same = ca.list(1, 5).revoking(&one).pem()?;
    for text in [
        higher.clone() + &later,
        later.clone() + &higher,
        later.clone() + &same,
        same + &later,
    ] {
        let (_guard, mut seen) = lines(Level::WARN);
        let running = serve(settings(&ca, &[&ca], &text)?).await?;
        let line = seen.find(|line| line.contains("numbers and dates")).await;
        contains(&line, &["list 1 in", "list 2 in", "CN=CA"]);
        is_refused(&running, &one, &ca, REVOKED).await?;
        is_refused(&running, &other, &ca, REVOKED).await?;
        gets_in(&running, &alice, &ca).await?;
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn after_a_change_of_keys_each_list_serves_its_key() -> TestResult {
    // The same name, two keys.
    let (former, now) = (Authority::new("CA")?, Authority::new("CA")?);
    let (ann, bob) = (former.client("ann")?, former.client("bob")?);
    let (cid, dan) = (now.client("cid")?, now.client("dan")?);
    // Neither number nor date says anything across keys.
    let of_former = former.list(7, 3).revoking(&ann).pem()?;
    let of_now = now.list(1, 9).revoking(&dan).pem()?;
    let both = [&former, &now];
    for text in [of_former.clone() + &of_now, of_now.clone() + &of_former] {
        let running = serve(settings(&now, &both, &text)?).await?;
        is_refused(&running, &ann, &now, REVOKED).await?;
        gets_in(&running, &bob, &now).await?;
        gets_in(&running, &cid, &now).await?;
        is_refused(&running, &dan, &now, REVOKED).await?;
        running.stop().await;
    }
    // A list of one key says nothing of certificates of the other; that is told at the start.
    let (_guard, mut seen) = lines(Level::WARN);
    let running = serve(settings(&now, &both, &of_now)?).await?;
    let line = seen.find(|line| line.contains("no revocation list")).await;
    contains(&line, &["CN=CA", "is refused"]);
    is_refused(&running, &bob, &now, NOT_COVERED).await?;
    gets_in(&running, &cid, &now).await?;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn clients_judge_services_in_the_same_way() -> TestResult {
    let (former, now) = (Authority::new("CA")?, Authority::new("CA")?);
    let (old, new) = (former.server()?, now.server()?);
    let text = [former.list(1, 3), former.list(2, 4).revoking(&old), now.list(1, 9)]
        .iter()
        .map(ListMaker::pem)
        .collect::<Result<String, _>>()?;
    let authorities = trusting(&[&former, &now])?;
    let tls = ClientTls::builder(now.client("alice")?, authorities.clone())
        .revocations(Revocations::from_pem(text.as_bytes())?)
        .build()?;
    let running = serve(ServerTls::new(old, authorities.clone())?).await?;
    let reason = refused(&running, tls.clone()).await;
    contains(&reason, &["revoked"]);
    running.stop().await;
    let running = serve(ServerTls::new(new, authorities)?).await?;
    Guest::connect(&running, tls).await?.client.close().await;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn lists_may_be_for_a_part_of_the_certificates() -> TestResult {
    let (a, b, c) = ("http://crl/a", "http://crl/b", "http://crl/c");
    let ca = Authority::new("CA")?;
    let (sub, gone) = (ca.below("Sub")?, ca.below("Gone")?);
    let (ann, bob) = (ca.client_at("ann", &[a])?, ca.client_at("bob", &[a, b])?);
    let (cid, dan) = (ca.client_at("cid", &[c])?, ca.client("dan")?);
    let (eve, fay) = (sub.client("eve")?, gone.client("fay")?);
    // Users in two parts, each with an older list; authorities in one; and the list of the authority below.
    let text = [
        ca.list(3, 9).scoped(&[&at(a), USERS_ONLY]).revoking(&ann),
        ca.list(2, 8).scoped(&[&at(a), USERS_ONLY]),
        ca.list(9, 9).scoped(&[&at(b), USERS_ONLY]).revoking(&dan),
        ca.list(1, 1).scoped(&[AUTHORITIES_ONLY]),
        ca.list(2, 2).scoped(&[AUTHORITIES_ONLY]).revoking_authority(&gone),
        sub.list(1, 1),
        gone.list(1, 1),
    ];
    let text = text.iter().map(ListMaker::pem).collect::<Result<String, _>>()?;
    let running = serve(settings(&ca, &[&ca], &text)?).await?;
    is_refused(&running, &ann, &ca, REVOKED).await?;
    gets_in(&running, &bob, &ca).await?;
    is_refused(&running, &cid, &ca, NOT_COVERED).await?;
    is_refused(&running, &dan, &ca, REVOKED).await?;
    gets_in(&running, &eve, &ca).await?;
    is_refused(&running, &fay, &ca, REVOKED).await?;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn lists_of_authorities_that_only_peers_show_count_by_the_same_rules() -> TestResult {
    let ca = Authority::new("CA")?;
    let (former, now) = (ca.below("Sub")?, ca.below("Sub")?);
    let (ann, bob, cid) = (former.client("ann")?, former.client("bob")?, now.client("cid")?);
    let text = [
        former.list(1, 1),
        now.list(1, 9),
        former.list(2, 2).revoking(&ann),
        ca.list(1, 1),
    ];
    let text = text.iter().map(ListMaker::pem).collect::<Result<String, _>>()?;
    let (_guard, mut seen) = lines(Level::WARN);
    let running = serve(settings(&ca, &[&ca], &text)?).await?;
    let line = seen.find(|line| line.contains("not among those given")).await;
    contains(&line, &["CN=Sub", "counts only for peers"]);
    is_refused(&running, &ann, &ca, REVOKED).await?;
    gets_in(&running, &bob, &ca).await?;
    gets_in(&running, &cid, &ca).await?;
    running.stop().await;
    Ok(())
}

/// Each kind that cannot be used, with words that tell which it is.
fn unusable(ca: &Authority) -> [(ListMaker<'_>, &'static str); 11] {
    let list = || ca.list(9, 9);
    [
        (list().delta(), "it is a delta list"),
        (list().scoped(&[INDIRECT]), "it is an indirect list"),
        (list().scoped(&[SOME_REASONS]), "for some reasons only"),
        (list().scoped(&[ATTRIBUTES_ONLY]), "attribute certificates only"),
        (
            list().scoped(&[&der(0xa0, &[&der(0xa1, &[])])]),
            "in relation to its authority",
        ),
        (list().scoped(&[&[0x81, 1, 7]]), "in a malformed way"),
        (list().of_version_1(), "it is of version 1"),
        (list().without_number(), "it has no number"),
        (list().without_next(), "nextUpdate"),
        (
            list().extension(&[0x2a, 3, 4], true, &[5, 0]),
            "critical extension that is not known here, 1.2.3.4",
        ),
        (
            list().revoking_authority(ca).with_entry_extension(),
            "one of its entries has a critical extension",
        ),
    ]
}

#[tokio::test]
async fn lists_that_cannot_be_used_are_named_and_the_others_count() -> TestResult {
    let (ca, other) = (Authority::new("CA")?, Authority::new("Other")?);
    let (stolen, alice) = (ca.client("stolen")?, ca.client("alice")?);
    let bob = other.client("bob")?;
    let good = ca.list(2, 2).revoking(&stolen).pem()?;
    for (bad, words) in unusable(&ca) {
        let bad = bad.pem()?;
        let line_of_second = 1 + good.lines().count();
        for (text, place) in [
            (
                good.clone() + &bad,
                format!("list 2 in the data given by the program, line {line_of_second} of"),
            ),
            (
                bad.clone() + &good,
                "list 1 in the data given by the program, line 1 of".to_owned(),
            ),
        ] {
            let (_guard, mut seen) = lines(Level::WARN);
            let running = serve(settings(&ca, &[&ca], &text)?).await?;
            let line = seen
                .find(|line| line.contains("cannot be used, the others count"))
                .await;
            contains(&line, &[&place, "CN=CA", words]);
            is_refused(&running, &stolen, &ca, REVOKED).await?;
            gets_in(&running, &alice, &ca).await?;
            running.stop().await;
        }
        // Alone it is an error, at the start.
        let text = message(settings(&ca, &[&ca], &bad));
        contains(&text, &["list 1 in", "CN=CA", words]);
        for debug in ["Unsupported", "Invalid", "InvalidCrl", "Malformed", "BadDer"] {
            assert!(!text.contains(debug), "{text}");
        }
        // Beside lists of other authorities it leaves its own uncovered.
        let text = bad + &other.list(1, 1).pem()?;
        let running = serve(settings(&ca, &[&ca, &other], &text)?).await?;
        is_refused(&running, &alice, &ca, NOT_COVERED).await?;
        gets_in(&running, &bob, &ca).await?;
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn lists_of_strangers_are_named() -> TestResult {
    let (ca, imitator) = (Authority::new("CA")?, Authority::new("CA")?);
    let (alice, stolen) = (ca.client("alice")?, ca.client("stolen")?);
    let (_guard, mut seen) = lines(Level::WARN);
    // Newer, and not signed by the authority: it neither revokes nor pardons.
    let forged = imitator.list(99, 30).revoking(&alice).pem()?;
    let text = forged + &ca.list(1, 1).revoking(&stolen).pem()?;
    let running = serve(settings(&ca, &[&ca], &text)?).await?;
    let line = seen.find(|line| line.contains("was not signed with its key")).await;
    contains(&line, &["list 1 in", "CN=CA"]);
    gets_in(&running, &alice, &ca).await?;
    is_refused(&running, &stolen, &ca, REVOKED).await?;
    running.stop().await;
    Ok(())
}

#[test]
fn a_damaged_list_is_an_error_that_says_where() -> TestResult {
    let ca = Authority::new("CA")?;
    let good = ca.list(1, 1).der()?;
    let mut cut = good.clone();
    cut.truncate(cut.len() - 2);
    let certificate = ca.der().to_vec();
    let longer = [good.as_slice(), &[0]].concat();
    for (bad, words) in [
        (cut, "it is damaged"),
        (longer, "it is damaged"),
        (certificate, "it is a certificate"),
    ] {
        let lists = Revocations::from_der(vec![good.clone().into(), bad.into()])?;
        let built = ServerTls::builder(ca.server()?, trusting(&[&ca])?)
            .revocations(lists)
            .build();
        assert!(matches!(built, Err(TlsError::BadRevocations { .. })), "{built:?}");
        contains(
            &message(built.map_err(Into::into)),
            &["list 2 in", words, "fetch them anew"],
        );
    }
    Ok(())
}

#[test]
fn of_fresh_lists_only_those_that_count_must_be_fresh() -> TestResult {
    let ca = Authority::new("CA")?;
    let build = |text: String| -> Result<ServerTls, Box<dyn core::error::Error>> {
        Ok(ServerTls::builder(ca.server()?, trusting(&[&ca])?)
            .revocations(Revocations::from_pem(text.as_bytes())?)
            .require_fresh_revocations(true)
            .build()?)
    };
    let (old, fresh) = (ca.list(1, 1).until("260102000000Z").pem()?, ca.list(2, 2).pem()?);
    let stale = ca.list(3, 3).until("260104000000Z").pem()?;
    build(old.clone() + &fresh)?;
    build(fresh.clone() + &old)?;
    contains(
        &message(build(old + &fresh + &stale)),
        &["revocation list 3", "was to be replaced by"],
    );
    Ok(())
}

/// Certificate files in a folder that goes away with the value.
struct Folder(tempfile::TempDir);

impl Folder {
    /// With the certificate of a service, and these lists.
    fn new(own: &Authority, trusted: &[&Authority], lists: &str) -> Result<Self, Box<dyn core::error::Error>> {
        let folder = Self(tempfile::tempdir()?);
        let (chain, key) = to_pem(&own.server()?);
        folder.write("own.pem", &(chain + &key))?;
        folder.write("ca.pem", &trusted.iter().map(|one| one.pem()).collect::<String>())?;
        folder.write("crl.pem", lists)?;
        Ok(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> std::io::Result<()> {
        std::fs::write(self.file(name), text)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles::new(self.file("own.pem"), self.file("own.pem"), self.file("ca.pem"))
            .revocations(self.file("crl.pem"))
            .every(Duration::from_millis(10))
    }
}

/// A service that lets go of clients as soon as its files revoke them, and tells each change.
async fn watched(files: TlsFiles) -> Result<(Running<PingPong>, Seen<TlsChange>), Box<dyn core::error::Error>> {
    let tls = ServerTls::from_files(&files)?;
    let mut watch = tls.watch(files);
    let running = serve(tls).await?;
    let (handle, (changes, seen)) = (running.handle.clone(), log());
    tokio::spawn(async move {
        while let Some(change) = watch.changed().await {
            handle.recheck_credentials().await;
            changes.add(change);
        }
    });
    Ok((running, seen))
}

#[tokio::test]
async fn a_list_that_is_added_to_the_file_ends_who_it_revokes() -> TestResult {
    for is_appended in [true, false] {
        let ca = Authority::new("CA")?;
        let (stolen, alice) = (ca.client("stolen")?, ca.client("alice")?);
        let old = ca.list(1, 1).pem()?;
        let folder = Folder::new(&ca, &[&ca], &old)?;
        let (running, mut changes) = watched(folder.files()).await?;
        let mut thief = Guest::connect(&running, client(&stolen, &ca)?).await?;
        let mut other = Guest::connect(&running, client(&alice, &ca)?).await?;
        let trids = (thief.client.trid(), other.client.trid());
        thief.goes_on(trids.0, 1).await?;

        let new = ca.list(2, 2).revoking(&stolen).pem()?;
        let both = if is_appended { old + &new } else { new + &old };
        folder.write("crl.pem", &both)?;
        assert_eq!(changes.next().await.to_string(), "revocation lists");
        let dropped = thief.drops.next().await;
        assert_eq!(dropped.code(), Some(Code::CredentialsEnd), "PROTOCOL X-7: {dropped}");
        // It does not come back, and nobody else does with its certificate.
        contains(&thief.is_refused().await, &["revoked"]);
        is_refused(&running, &stolen, &ca, REVOKED).await?;
        other.goes_on(trids.1, 2).await?;
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_bad_file_leaves_the_lists_in_force_and_says_so() -> TestResult {
    let ca = Authority::new("CA")?;
    let (stolen, alice) = (ca.client("stolen")?, ca.client("alice")?);
    let good = ca.list(2, 2).revoking(&stolen).pem()?;
    let newer = ca.list(3, 3).pem()?;
    let folder = Folder::new(&ca, &[&ca], &good)?;
    let tls = ServerTls::from_files(&folder.files())?;
    let running = serve(tls.clone()).await?;
    let cut = newer.get(..newer.len() / 2).ok_or("text")?;
    let alone = ca.list(9, 9).delta().pem()?;
    for (bad, words) in [
        (cut.to_owned(), "no matching END line"),
        (good.clone() + cut, "no matching END line"),
        (newer.replacen("MI", "M*", 1), "base64"),
        (alone, "it is a delta list"),
        (
            Authority::new("CA")?.list(9, 9).pem()?,
            "none was signed by an authority that is given",
        ),
        (
            Authority::new("Other")?.list(9, 9).pem()?,
            "they are of `O=Site, CN=Other`",
        ),
        (String::new(), "no revocation list"),
    ] {
        folder.write("crl.pem", &bad)?;
        contains(
            &message(tls.reload(&folder.files()).map_err(Into::into)),
            &["crl.pem", words],
        );
        is_refused(&running, &stolen, &ca, REVOKED).await?;
        gets_in(&running, &alice, &ca).await?;
    }
    folder.write("crl.pem", &newer)?;
    assert!(tls.reload(&folder.files())?.revocations);
    gets_in(&running, &stolen, &ca).await?;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_list_stays_when_what_comes_in_its_place_cannot_be_used() -> TestResult {
    let (ca, other) = (Authority::new("CA")?, Authority::new("Other")?);
    let (stolen, alice) = (ca.client("stolen")?, ca.client("alice")?);
    let (bob, bad) = (other.client("bob")?, ca.list(9, 9).of_version_1().pem()?);
    let of_ca = ca.list(2, 2).revoking(&stolen).pem()?;
    let folder = Folder::new(&ca, &[&ca, &other], &(of_ca.clone() + &other.list(1, 1).pem()?))?;
    let tls = ServerTls::from_files(&folder.files())?;
    let running = serve(tls.clone()).await?;
    gets_in(&running, &bob, &ca).await?;
    // The list of the other authority counts at once, that of this one stays; twice, with something new in between.
    for number in 2..4 {
        folder.write("crl.pem", &(bad.clone() + &other.list(number, 5).revoking(&bob).pem()?))?;
        let (_guard, mut seen) = lines(Level::WARN);
        assert!(tls.reload(&folder.files())?.revocations);
        contains(
            &seen.find(|line| line.contains("stays in force")).await,
            &["list 1 in file", "crl.pem"],
        );
        assert!(tls.reload(&folder.files())?.is_nothing());
        is_refused(&running, &bob, &ca, REVOKED).await?;
        is_refused(&running, &stolen, &ca, REVOKED).await?;
        gets_in(&running, &alice, &ca).await?;
    }
    // Until there is one that can be used.
    folder.write("crl.pem", &(ca.list(10, 10).pem()? + &other.list(9, 9).pem()?))?;
    assert!(tls.reload(&folder.files())?.revocations);
    gets_in(&running, &stolen, &ca).await?;
    gets_in(&running, &bob, &ca).await?;
    running.stop().await;
    Ok(())
}

/// Beside lists of the same name: of the authority's other key, and for other certificates.
#[tokio::test]
async fn a_list_stays_for_the_certificates_and_the_key_that_it_was_for() -> TestResult {
    let (former, now) = (Authority::new("CA")?, Authority::new("CA")?);
    let (ann, bob, dan) = (former.client("ann")?, former.client("bob")?, now.client("dan")?);
    let text = former.list(1, 1).revoking(&ann).pem()? + &now.list(1, 1).pem()?;
    let folder = Folder::new(&now, &[&former, &now], &text)?;
    let tls = ServerTls::from_files(&folder.files())?;
    let running = serve(tls.clone()).await?;
    for number in 2..4 {
        let text = former.list(9, 9).delta().pem()? + &now.list(number, 5).revoking(&dan).pem()?;
        folder.write("crl.pem", &text)?;
        assert!(tls.reload(&folder.files())?.revocations);
        is_refused(&running, &ann, &now, REVOKED).await?;
        gets_in(&running, &bob, &now).await?;
        is_refused(&running, &dan, &now, REVOKED).await?;
    }
    // A list that is gone is gone, when what cannot be used is of the other key.
    folder.write("crl.pem", &(former.list(9, 9).pem()? + &now.list(9, 9).delta().pem()?))?;
    assert!(tls.reload(&folder.files())?.revocations);
    gets_in(&running, &ann, &now).await?;
    is_refused(&running, &dan, &now, REVOKED).await?;
    running.stop().await;

    let (a, b) = ("http://crl/a", "http://crl/b");
    let ca = Authority::new("CA")?;
    let (ann, bob) = (ca.client_at("ann", &[a])?, ca.client_at("bob", &[b])?);
    let of = |number, point: &str| ca.list(number, number).scoped(&[&at(point), USERS_ONLY]);
    let unknown = [0x2a, 3, 4];
    let text = of(1, a).revoking(&ann).pem()? + &of(1, b).pem()?;
    let folder = Folder::new(&ca, &[&ca], &text)?;
    let tls = ServerTls::from_files(&folder.files())?;
    let running = serve(tls.clone()).await?;
    let bad = |point| of(2, point).extension(&unknown, true, &[5, 0]).pem();
    folder.write("crl.pem", &(bad(a)? + &of(2, b).revoking(&bob).pem()?))?;
    assert!(tls.reload(&folder.files())?.revocations);
    is_refused(&running, &ann, &ca, REVOKED).await?;
    is_refused(&running, &bob, &ca, REVOKED).await?;
    // Only what cannot be used is replaced by what was before.
    folder.write("crl.pem", &(of(3, a).pem()? + &bad(b)?))?;
    assert!(tls.reload(&folder.files())?.revocations);
    gets_in(&running, &ann, &ca).await?;
    is_refused(&running, &bob, &ca, REVOKED).await?;
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn lists_may_stand_in_several_files_some_of_which_come_later() -> TestResult {
    let (ca, other) = (Authority::new("CA")?, Authority::new("Other")?);
    let (ann, bob) = (ca.client("ann")?, other.client("bob")?);
    let both = ca.list(1, 1).pem()? + &other.list(1, 1).pem()?;
    let folder = Folder::new(&ca, &[&ca, &other], &both)?;
    let files = folder.files().revocations_if_there(folder.file("more.pem"));
    let tls = ServerTls::from_files(&files)?;
    let running = serve(tls.clone()).await?;
    gets_in(&running, &bob, &ca).await?;
    folder.write("more.pem", &other.list(2, 2).revoking(&bob).pem()?)?;
    assert!(tls.reload(&files)?.revocations);
    is_refused(&running, &bob, &ca, REVOKED).await?;
    gets_in(&running, &ann, &ca).await?;
    // The newer list does not go with its file.
    std::fs::remove_file(folder.file("more.pem"))?;
    contains(
        &message(tls.reload(&files).map_err(Into::into)),
        &["more.pem", "check the path"],
    );
    is_refused(&running, &bob, &ca, REVOKED).await?;
    // Nor does a file that must be there go missing unnoticed.
    folder.write("more.pem", &other.list(2, 2).revoking(&bob).pem()?)?;
    std::fs::remove_file(folder.file("crl.pem"))?;
    contains(&message(tls.reload(&files).map_err(Into::into)), &["crl.pem"]);
    let missing = ServerTls::from_files(&files);
    assert!(matches!(missing, Err(TlsError::Unreadable { .. })), "{missing:?}");
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn who_is_refused_for_want_of_a_list_is_no_revoked_one() -> TestResult {
    let ca = Authority::new("CA")?;
    let other = Authority::new("Other")?;
    let running = serve(settings(&ca, &[&ca, &other], &ca.list(1, 1).pem()?)?).await?;
    match Guest::connect(&running, client(&other.client("bob")?, &ca)?).await {
        Err(Ended::Tls { reason, .. }) => assert!(!reason.contains(REVOKED), "{reason}"),
        _ => panic!("got in, or failed otherwise"),
    }
    running.stop().await;
    Ok(())
}
