//! Chains that hold more than anybody needs, or less.

use diset_std::tls::throwaway::to_pem;
use diset_std::tls::{Certificate, ClientTls, ServerTls, TlsFiles};
use diset_std::{Client, ClientBuilder};
use rcgen::{BasicConstraints, IsCa, SanType};
use tracing::Level;

use super::made::{Authority, ended, named};
use crate::common::lines::lines;
use crate::common::*;

fn of(running: &Running<PingPong>, tls: ClientTls) -> ClientBuilder<PingPong> {
    Client::builder(PingPong, &running.address).tls(tls)
}

/// A service with this certificate, for the clients of `authority`.
async fn serve(shown: Certificate, authority: &Authority) -> Result<Running<PingPong>, Box<dyn core::error::Error>> {
    let tls = ServerTls::new(shown, authority.authorities()?)?;
    Ok(run(answering().bind("127.0.0.1:0", tls).await?))
}

/// That each of these is said, in order, and nothing else.
fn said(lines: &mut Seen<String>, expected: &[&[&str]]) {
    for words in expected {
        let line = lines.now().unwrap_or_else(|| panic!("nothing is said of {words:?}"));
        for word in *words {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
    assert_eq!(lines.now(), None);
}

/// The new root's cross-certificate of the old one ended long ago. Clients have the new root.
#[tokio::test]
async fn an_ended_cross_certificate_that_nobody_needs_is_a_warning() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let (old, new) = (Authority::root("Old Root")?, Authority::root("New Root")?);
    let r3 = new.authority("R3", |_| {})?;
    let cross = old.cross(&new, ended)?;
    let warning: &[&str] = &[
        "certificate 3 in",
        "CN=New Root",
        "has ended on",
        "peers that trust `CN=New Root` itself do not need it",
        "`CN=Old Root`",
        "take it out",
    ];
    let shown = r3.service(|_| {})?.with(&[&r3.der, &cross])?;
    let running = serve(shown, &new).await?;
    said(&mut lines, &[warning]);
    let plain = ClientTls::new(r3.client(|_| {})?.with(&[&r3.der])?, new.authorities()?)?;
    within("connected", of(&running, plain.clone()).connect())
        .await?
        .close()
        .await;
    // So it is with a client's chain.
    let tls = ClientTls::new(r3.client(|_| {})?.with(&[&r3.der, &cross])?, new.authorities()?)?;
    within("connected", of(&running, tls).connect()).await?.close().await;
    said(&mut lines, &[warning]);
    running.stop().await;
    // So it is when files are read anew.
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    let files = TlsFiles::new(file("service.pem"), file("service.pem"), file("ca.pem"));
    let write = |others: &[_]| -> TestResult {
        let (chain, key) = to_pem(&r3.service(|_| {})?.with(others)?);
        std::fs::write(file("service.pem"), chain + &key)?;
        Ok(())
    };
    let (root, _) = to_pem(&Certificate::from_der(
        vec![new.der.clone()],
        r3.service(|_| {})?.private_key(),
    )?);
    std::fs::write(file("ca.pem"), root)?;
    write(&[&r3.der])?;
    let tls = ServerTls::from_files(&files)?;
    said(&mut lines, &[]);
    write(&[&r3.der, &cross])?;
    assert!(tls.reload(&files)?.certificate);
    said(&mut lines, &[&[warning, &["service.pem"]].concat()]);
    let running = run(answering().bind("127.0.0.1:0", tls).await?);
    within("connected", of(&running, plain).connect()).await?.close().await;
    running.stop().await;
    Ok(())
}

/// Clients that trust the root need it, and refuse; those that trust the intermediate itself do not.
#[tokio::test]
async fn an_ended_intermediate_that_is_needed_is_named_on_both_sides() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let root = Authority::root("Root")?;
    let sub = root.authority("Sub", ended)?;
    let running = serve(sub.service(|_| {})?.with(&[&sub.der])?, &root).await?;
    said(
        &mut lines,
        &[&[
            "certificate 2 in",
            "CN=Sub",
            "has ended on",
            "all others refuse this service",
            "`CN=Root`",
        ]],
    );
    let alice = || root.client(|_| {})?.with(&[]);
    let error = of(&running, ClientTls::new(alice()?, root.authorities()?)?)
        .connect()
        .await;
    let told = error.err().ok_or("it has ended")?.to_string();
    for word in [
        "certificate 2 of its chain, `CN=Sub`, has expired",
        "on the peer's side, renew it",
        "clock",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let line = lines.next().await;
    assert!(
        line.contains("has expired") && line.contains("certificate_expired"),
        "{line}"
    );
    let tls = ClientTls::new(alice()?, sub.authorities()?)?;
    within("connected", of(&running, tls).connect()).await?.close().await;
    running.stop().await;
    Ok(())
}

/// Order, copies, strangers, roots: peers of diset find their way, and the warning says what to do.
#[tokio::test]
async fn whatever_stands_behind_the_own_certificate_is_used_and_told() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let root = Authority::root("Root")?;
    let upper = root.authority("Upper", |_| {})?;
    let lower = upper.authority("Lower", |_| {})?;
    let stranger = Authority::root("Stranger")?;
    let ended_stranger = root.authority("Late", ended)?;
    let own_root = Authority::root("Root")?;
    let _ = own_root;
    let ended_root = {
        let mut params = super::made::authority_params("Root");
        ended(&mut params);
        params.signed_by(root.issuer.key(), &root.issuer)?.der().clone()
    };
    let rows: [(&[_], &[&[&str]]); 7] = [
        (&[&lower.der, &upper.der], &[]),
        (&[&lower.der, &upper.der, &root.der], &[]),
        (&[&upper.der, &lower.der], &[&["not in order", "write them as 1, 3, 2"]]),
        (
            &[&lower.der, &upper.der, &lower.der],
            &[&["certificate 4", "CN=Lower", "there twice", "take one out"]],
        ),
        (
            &[&lower.der, &stranger.der, &upper.der],
            &[&["certificate 3", "CN=Stranger", "is not needed", "take it out"]],
        ),
        (
            &[&lower.der, &upper.der, &ended_stranger.der],
            &[&["certificate 4", "CN=Late", "has ended on", "is not needed"]],
        ),
        (
            &[&lower.der, &upper.der, &ended_root],
            &[&[
                "certificate 4",
                "CN=Root",
                "has ended on",
                "do not look at it",
                "take it out",
            ]],
        ),
    ];
    for (others, expected) in rows {
        let running = serve(lower.service(|_| {})?.with(others)?, &root).await?;
        said(&mut lines, expected);
        let tls = ClientTls::new(lower.client(|_| {})?.with(others)?, root.authorities()?)?;
        said(&mut lines, expected);
        within("connected", of(&running, tls).connect()).await?.close().await;
        running.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn an_own_certificate_that_is_not_first_is_an_error_that_says_which_is() -> TestResult {
    let root = Authority::root("Root")?;
    let sub = root.authority("Sub", |_| {})?;
    let own = sub.service(|_| {})?;
    for (chain, number) in [
        (vec![root.der.clone(), own.der.clone()], 2),
        (vec![sub.der.clone(), root.der.clone(), own.der.clone()], 3),
    ] {
        let error = ServerTls::new(own.chain(chain)?, root.authorities()?)
            .err()
            .ok_or("it is not first")?;
        let told = error.to_string();
        assert!(
            told.contains(&format!("belongs to certificate {number} in")) && told.contains("own certificate first"),
            "{told}"
        );
    }
    Ok(())
}

/// Both sides hold what the other shows, and a ticket that brings it back.
#[tokio::test]
async fn a_chain_may_be_long_and_one_that_is_too_long_is_an_error_at_the_start() -> TestResult {
    let root = Authority::root("Root")?;
    let wide = |count: usize| {
        root.authority("Wide", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.subject_alt_names = (0..count)
                .filter_map(|i| Some(SanType::DnsName(format!("{i:060}.example").try_into().ok()?)))
                .collect();
        })
    };
    let long = wide(320)?;
    assert!((22_000..24_000).contains(&long.der.len()), "{}", long.der.len());
    let running = serve(long.service(|_| {})?.with(&[&long.der])?, &root).await?;
    let tls = ClientTls::new(long.client(|_| {})?.with(&[&long.der])?, root.authorities()?)?;
    for _ in 0..3 {
        let client = within(
            "connected",
            of(&running, tls.clone()).on_ref::<Pong>(|_, _| Ok(())).connect(),
        )
        .await?;
        client.send(&Ping { id: 1 }).await?;
        client.close().await;
    }
    let counters = running.handle.counters();
    assert_eq!(counters.get(diset_std::Counter::ResumedHandshake), 2);
    running.stop().await;
    let long = wide(400)?;
    let (service, client) = (
        long.service(|_| {})?.with(&[&long.der])?,
        long.client(|_| {})?.with(&[&long.der])?,
    );
    let errors = [
        ServerTls::new(service, root.authorities()?).err(),
        ClientTls::new(client, root.authorities()?).err(),
    ];
    for error in errors {
        let told = error.ok_or("it is too long")?.to_string();
        assert!(
            told.contains("and peers take 24576") && told.contains("leave out"),
            "{told}"
        );
    }
    Ok(())
}

/// As tools write them that name everything alike: the authority's key tells, not its name.
#[tokio::test]
async fn a_certificate_of_the_name_of_its_authority_is_taken() -> TestResult {
    let root = Authority::root("Alike")?;
    let alike = |params: &mut rcgen::CertificateParams| params.distinguished_name = named("Alike").distinguished_name;
    let running = serve(root.service(alike)?.with(&[])?, &root).await?;
    let tls = ClientTls::new(root.client(alike)?.with(&[])?, root.authorities()?)?;
    within("connected", of(&running, tls).connect()).await?.close().await;
    running.stop().await;
    Ok(())
}
