//! Subjects and alternative names of all sizes.

use diset_std::tls::{ClientTls, ServerTls};
use diset_std::{Client, Code, Counter};
use rcgen::{DistinguishedName, DnType, SanType};
use tracing::Level;

use super::made::{Authority, named};
use crate::common::lines::{lines, lines_of_clients};
use crate::common::*;

/// A name as an institute may have it, in a script of two or three bytes a letter.
fn institute(place: &str, organisation: &str, unit: &str, person: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in [
        (DnType::LocalityName, place),
        (DnType::OrganizationName, organisation),
        (DnType::OrganizationalUnitName, unit),
        (DnType::CommonName, person),
    ] {
        name.push(kind, value);
    }
    name
}

fn hosts(count: usize, length: usize) -> Vec<SanType> {
    let name = |i| format!("{i:0length$}.example").try_into().ok().map(SanType::DnsName);
    (0..count).filter_map(name).collect()
}

#[tokio::test]
async fn names_in_any_script_and_hundreds_of_them_are_taken() -> TestResult {
    let root = Authority::root("Root")?;
    let service = root.service(|params| params.subject_alt_names.extend(hosts(200, 60)))?;
    let tls = ServerTls::new(service.with(&[])?, root.authorities()?)?;
    let (log, mut subjects) = log();
    let service = answering().on_connect(move |conn| {
        let subject = conn
            .credentials()
            .certificate()
            .map(|certificate| certificate.subject().to_owned());
        log.add(subject.unwrap_or_default());
        async { Ok(()) }
    });
    let running = run(service.bind("127.0.0.1:0", tls).await?);
    let long = |text: &str| text.repeat(12);
    for name in [
        institute(
            "Санкт-Петербург",
            &long("Федеральное государственное бюджетное учреждение науки "),
            &long("Отдел вычислительных систем "),
            "Иванов Иван",
        ),
        institute("北京", &long("中国科学院高能物理研究所"), &long("计算中心 "), "王小明"),
        institute("a,b", &",+\"".repeat(300), &"\u{7}".repeat(300), "="),
    ] {
        let client = root.client(|params| {
            params.distinguished_name = name;
            params.subject_alt_names = hosts(100, 40);
        })?;
        let tls = ClientTls::new(client.with(&[])?, root.authorities()?)?;
        let client = Client::builder(PingPong, &running.address).tls(tls);
        within("connected", client.connect()).await?.close().await;
        let subject = subjects.next().await;
        assert!(subject.len() > 300 && subject.starts_with("CN="), "{subject}");
    }
    running.stop().await;
    Ok(())
}

/// Its certificate is valid, and holds more than anybody keeps: both sides are told.
#[tokio::test]
async fn a_client_with_names_beyond_the_bounds_is_told_so() -> TestResult {
    let (_guard, mut lines) = lines(Level::WARN);
    let root = Authority::root("Root")?;
    let tls = ServerTls::new(root.service(|_| {})?.with(&[])?, root.authorities()?)?;
    let service = answering().on_connect(|_| async { panic!("nobody is asked of such a client") });
    let running = run(service.bind("127.0.0.1:0", tls).await?);
    let rows = [
        (
            root.client(|params| params.distinguished_name = named(&"x".repeat(4200)).distinguished_name)?,
            ["a certificate's subject of 42", "at most 4096"],
        ),
        (
            root.client(|params| params.subject_alt_names = hosts(300, 60))?,
            ["names of ", "at most 16384"],
        ),
        (
            root.client(|params| params.subject_alt_names = hosts(1100, 4))?,
            ["1100 names in a certificate", "at most 1024"],
        ),
    ];
    for (place, (client, words)) in rows.into_iter().enumerate() {
        let tls = ClientTls::new(client.with(&[])?, root.authorities()?)?;
        let ended = Client::builder(PingPong, &running.address).tls(tls).connect().await;
        let ended = ended.err().ok_or("it was let in")?;
        assert_eq!(ended.code(), Some(Code::NotAdmitted));
        assert!(
            ended.notice().is_some_and(|notice| !notice.is_permanent()),
            "it comes back with another one"
        );
        let line = lines.next().await;
        for word in words {
            assert!(ended.to_string().contains(word), "{word}: {ended}");
            assert!(
                line.contains(word) && line.contains("peer=\"127.0.0.1:"),
                "{word}: {line}"
            );
        }
        let counted = running.handle.counters().get(Counter::Refused(Code::NotAdmitted));
        assert_eq!(counted, place as u64 + 1);
    }
    running.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_service_with_names_beyond_the_bounds_is_told_so() -> TestResult {
    let (_guard, mut lines) = lines_of_clients(Level::WARN);
    let root = Authority::root("Root")?;
    let service = root.service(|params| params.subject_alt_names.extend(hosts(300, 60)))?;
    let tls = ServerTls::new(service.with(&[])?, root.authorities()?)?;
    let running = run(answering().bind("127.0.0.1:0", tls).await?);
    let tls = ClientTls::new(root.client(|_| {})?.with(&[])?, root.authorities()?)?;
    let ended = Client::builder(PingPong, &running.address).tls(tls).connect().await;
    let ended = ended.err().ok_or("it was believed")?;
    assert_eq!(ended.code(), Some(Code::NotAdmitted), "{ended}");
    let line = lines.next().await;
    for word in ["names of ", "in a certificate, at most 16384"] {
        assert!(ended.to_string().contains(word), "{word}: {ended}");
        assert!(line.contains(word) && line.contains("code=51"), "{word}: {line}");
    }
    running.stop().await;
    Ok(())
}
