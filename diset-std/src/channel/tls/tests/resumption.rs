//! Sessions that are resumed, and those that must not be.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::*;
use crate::tls::Certificate;

#[test]
fn a_second_connection_resumes() -> TestResult {
    let world = World::new()?;
    for resumed in [false, true, true] {
        let (mut client, mut server) = world.pair()?;
        assert_eq!((client.resumed(), server.resumed()), (Some(resumed), Some(resumed)));
        assert_eq!(server.subject(), "CN=alice,O=diset throwaway");
        assert_eq!(client.subject(), "CN=localhost,O=diset throwaway");
        part(&mut client, &mut server)?;
    }
    Ok(())
}

#[test]
fn ticket_keys_are_not_shared_between_settings() -> TestResult {
    let world = World::new()?;
    let (mut client, mut server) = world.pair()?;
    part(&mut client, &mut server)?;
    let other = ServerTls::new(world.ca.server(&["localhost"])?, world.ca.authorities())?;
    let (client, server) = meet(&world.client, &other, usize::MAX)?;
    assert_eq!((client.resumed(), server.resumed()), (Some(false), Some(false)));
    Ok(())
}

#[test]
fn a_change_makes_tickets_and_sessions_worthless() -> TestResult {
    let world = World::new()?;
    let changes: [&dyn Fn() -> Result<(), crate::tls::TlsError>; 2] =
        [&|| world.server.change(|now| now), &|| world.client.change(|now| now)];
    for change in changes {
        for resumed in [false, true] {
            let (mut client, mut server) = world.pair()?;
            assert_eq!(
                (client.resumed(), server.resumed()),
                (Some(resumed), Some(resumed)),
                "PROTOCOL X-6"
            );
            part(&mut client, &mut server)?;
        }
        change()?;
    }
    Ok(())
}

#[test]
fn a_handshake_that_ends_after_a_change_is_judged_by_the_new_settings() -> TestResult {
    let world = World::new()?;
    let (mut client, mut server) = (
        End::new(client(&world.client, name("localhost")))?,
        End::new(server(&world.server))?,
    );
    carry_one_way(&mut client, &mut server, usize::MAX);
    carry_one_way(&mut server, &mut client, usize::MAX);
    let nobody = ThrowawayCa::new()?.authorities();
    world.server.change(|now| now.authorities(nobody))?;
    carry(&mut client, &mut server, usize::MAX);
    assert!(server.established.is_none(), "PROTOCOL X-5");
    assert!(
        matches!(server.error, Some(ChannelError::NoLongerAccepted(..))),
        "PROTOCOL X-5: {:?}",
        server.error
    );
    assert!(client.closed);
    Ok(())
}

#[test]
fn a_live_chain_is_judged_by_the_settings_and_the_clock_of_now() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let clock = Arc::new(Clock::default());
    let server_tls = ServerTls::builder(ca.server(&["localhost"])?, ca.authorities());
    let server_tls = server_tls
        .time_provider(Arc::clone(&clock) as Arc<dyn TimeProvider>)
        .build()?;
    let client_tls = ClientTls::new(ca.client_valid("alice", short_lived())?, ca.authorities())?;
    let (_client, server) = meet(&client_tls, &server_tls, usize::MAX)?;
    let channel = &server.channel;
    let left = channel.lasts().left.ok_or("it ends")?;
    assert!((3595..=3601).contains(&left.as_secs()), "{left:?}");
    channel.recheck(Duration::ZERO)?;
    channel.recheck(left - Duration::from_secs(5))?;
    let words = channel.recheck(left).map_err(|error| error.for_peer());
    assert_eq!(words, Err("the certificate has ended"));
    clock.0.store(2 * 3600, Ordering::Relaxed);
    assert!(channel.recheck(Duration::ZERO).is_err());
    let ended = Lasts {
        has_ended: true,
        left: None,
    };
    assert_eq!(channel.lasts(), ended);

    // Of an authority that is not trusted any more, too.
    clock.0.store(0, Ordering::Relaxed);
    channel.recheck(Duration::ZERO)?;
    let nobody = ThrowawayCa::new()?.authorities();
    server_tls.change(|now| now.authorities(nobody))?;
    let words = channel.recheck(Duration::ZERO).map_err(|error| error.for_peer());
    assert_eq!(words, Err("the certificate's authority is not trusted any more"));
    Ok(())
}

#[test]
fn a_chain_lasts_as_long_as_its_shortest_certificate() -> TestResult {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH)?;
    let params = |name: &str, minutes: u64, is_ca: bool| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + Duration::from_secs(60 * minutes);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        params
    };
    let (root_key, middle_key, key) = (KeyPair::generate()?, KeyPair::generate()?, KeyPair::generate()?);
    let root = params("root", 90, true).self_signed(&root_key)?;
    let root_issuer = Issuer::new(params("root", 90, true), root_key);
    let middle = params("middle", 30, true).signed_by(&middle_key, &root_issuer)?;
    let middle_issuer = Issuer::new(params("middle", 30, true), middle_key);
    let own = params("own", 60, false).signed_by(&key, &middle_issuer)?;
    let chain = vec![own.der().clone(), middle.der().clone()];
    let certificate = Certificate::from_der(
        chain,
        rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    )?;

    let ca = ThrowawayCa::new()?;
    let roots = crate::tls::Authorities::from_der(vec![root.der().clone()])?;
    let server_tls = ServerTls::new(ca.server(&["localhost"])?, roots)?;
    let (_client, server) = meet(&ClientTls::new(certificate, ca.authorities())?, &server_tls, usize::MAX)?;
    let told = server.established.as_ref().ok_or("it is let in")?.lasts;
    for lasts in [told, server.channel.lasts()] {
        let left = lasts.left.ok_or("it ends")?;
        assert!((1795..=1801).contains(&left.as_secs()), "PROTOCOL G-5: {left:?}");
        assert!(server.channel.recheck(left).is_err(), "PROTOCOL G-5");
    }
    Ok(())
}

#[test]
fn a_list_that_is_out_of_date_counts_on_unless_fresh_ones_are_wanted() -> TestResult {
    let ca = ThrowawayCa::new()?;
    for fresh in [false, true] {
        let clock = Arc::new(Clock::default());
        let builder = ServerTls::builder(ca.server(&["localhost"])?, ca.authorities());
        let server_tls = builder
            .revocations(ca.revoke_valid(&[], short_lived())?)
            .require_fresh_revocations(fresh)
            .time_provider(Arc::clone(&clock) as Arc<dyn TimeProvider>)
            .build()?;
        let client_tls = ClientTls::new(ca.client("alice")?, ca.authorities())?;
        let (_, server) = meet(&client_tls, &server_tls, usize::MAX)?;
        assert!(server.established.is_some(), "it is in date");
        clock.0.store(2 * 3600, Ordering::Relaxed);
        let client_tls = ClientTls::new(ca.client("bob")?, ca.authorities())?;
        let (_, server) = meet(&client_tls, &server_tls, usize::MAX)?;
        assert_eq!(server.established.is_none(), fresh);
        if fresh {
            let told = server.error.map(|error| error.to_string()).unwrap_or_default();
            assert!(told.contains("has expired; fetch it anew"), "{told}");
        }
    }
    Ok(())
}

/// The settings with the ticket keys of others: what a careless reload would do.
fn with_tickets_of(tls: &ServerTls, others: &ServerTls) -> ServerTls {
    let ticketer = Arc::clone(&others.now().config.ticketer);
    tls.with_config(|config| config.ticketer = ticketer)
}

#[test]
fn a_resumed_chain_that_was_revoked_is_refused_and_not_tried_again() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let alice = ca.client("alice")?;
    let server_certificate = ca.server(&["localhost"])?;
    let build = |revoked: &[&Certificate]| -> Result<ServerTls, Box<dyn core::error::Error>> {
        let builder = ServerTls::builder(server_certificate.clone(), ca.authorities());
        Ok(builder.revocations(ca.revoke(revoked)?).build()?)
    };
    let before = build(&[])?;
    let after = with_tickets_of(&build(&[&alice])?, &before);
    let client_tls = ClientTls::new(alice, ca.authorities())?;

    let (mut client, mut server) = meet(&client_tls, &before, usize::MAX)?;
    part(&mut client, &mut server)?;

    let (client, server) = meet(&client_tls, &after, usize::MAX)?;
    assert!(server.established.is_none() && server.plaintext.is_empty());
    let error = server.error.ok_or("the service must refuse")?;
    assert!(
        matches!(
            error,
            ChannelError::NoLongerAccepted(rustls::Error::InvalidCertificate(CertificateError::Revoked), _)
        ),
        "PROTOCOL X-5: {error:?}"
    );
    assert!(client.closed, "close_notify reaches the client");

    // The next attempt is a full handshake, which names the reason.
    let (client, server) = meet(&client_tls, &after, usize::MAX)?;
    assert!(matches!(
        server.error,
        Some(ChannelError::CertificateRefused(CertificateError::Revoked, _))
    ));
    assert!(matches!(
        client.error,
        Some(ChannelError::PeerAlert(AlertDescription::CertificateRevoked, _))
    ));
    Ok(())
}

/// A clock that tests move.
#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let ahead = Duration::from_secs(self.0.load(Ordering::Relaxed));
        Some(UnixTime::since_unix_epoch(
            Duration::from_secs(UnixTime::now().as_secs()) + ahead,
        ))
    }
}

fn short_lived() -> core::ops::Range<std::time::SystemTime> {
    let now = std::time::SystemTime::now();
    now - Duration::from_secs(60)..now + Duration::from_secs(3600)
}

#[test]
fn a_resumed_client_chain_that_ended_is_refused() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let clock = Arc::new(Clock::default());
    let server_tls = ServerTls::builder(ca.server(&["localhost"])?, ca.authorities());
    let server_tls = server_tls
        .time_provider(Arc::clone(&clock) as Arc<dyn TimeProvider>)
        .build()?;
    let client_tls = ClientTls::new(ca.client_valid("alice", short_lived())?, ca.authorities())?;
    let (mut client, mut server) = meet(&client_tls, &server_tls, usize::MAX)?;
    part(&mut client, &mut server)?;
    clock.0.store(2 * 3600, Ordering::Relaxed);
    let (client, server) = meet(&client_tls, &server_tls, usize::MAX)?;
    assert!(
        matches!(
            server.error,
            Some(ChannelError::NoLongerAccepted(
                rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }),
                _
            ))
        ),
        "{:?}",
        server.error
    );
    assert!(client.closed);
    Ok(())
}

#[test]
fn a_resumed_service_chain_that_ended_is_refused() -> TestResult {
    let ca = ThrowawayCa::new()?;
    let clock = Arc::new(Clock::default());
    let server_tls = ServerTls::new(ca.server_valid(&["localhost"], short_lived())?, ca.authorities())?;
    let client_tls = ClientTls::builder(ca.client("alice")?, ca.authorities());
    let client_tls = client_tls
        .time_provider(Arc::clone(&clock) as Arc<dyn TimeProvider>)
        .build()?;
    let (mut client, mut server) = meet(&client_tls, &server_tls, usize::MAX)?;
    part(&mut client, &mut server)?;
    clock.0.store(2 * 3600, Ordering::Relaxed);
    let (client, server) = meet(&client_tls, &server_tls, usize::MAX)?;
    assert!(
        matches!(client.error, Some(ChannelError::NoLongerAccepted(..))),
        "{:?}",
        client.error
    );
    assert!(server.closed, "the service, which was established, sees an orderly end");
    Ok(())
}
