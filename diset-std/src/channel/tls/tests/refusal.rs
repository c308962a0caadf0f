//! Peers that must be refused: the error is the right one, and the other side learns the reason.

use std::sync::Arc;

use rustls::CertificateError;

use super::*;
use crate::tls::throwaway::{expired, not_yet_valid};

/// The service refuses the client, whose handshake is already complete: the client learns it by an alert.
fn client_refused(client_tls: &ClientTls, server_tls: &ServerTls) -> Result<(ChannelError, AlertDescription), String> {
    let (client, server) = meet(client_tls, server_tls, usize::MAX).map_err(|error| error.to_string())?;
    assert!(server.established.is_none() && !server.channel.is_established());
    match (server.error, client.error) {
        (Some(error), Some(ChannelError::PeerAlert(alert, _))) => Ok((error, alert)),
        other => Err(format!("{other:?}")),
    }
}

/// The client refuses the service: the service learns it by an alert.
fn server_refused(client_tls: &ClientTls, server_tls: &ServerTls) -> Result<(ChannelError, AlertDescription), String> {
    let (client, server) = meet(client_tls, server_tls, usize::MAX).map_err(|error| error.to_string())?;
    assert!(client.established.is_none() && server.established.is_none());
    match (client.error, server.error) {
        (Some(error), Some(ChannelError::PeerAlert(alert, _))) => Ok((error, alert)),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn a_client_of_an_unknown_authority_is_refused() -> TestResult {
    let world = World::new()?;
    let stranger = ClientTls::new(ThrowawayCa::new()?.client("mallory")?, world.ca.authorities())?;
    let (error, alert) = client_refused(&stranger, &world.server)?;
    assert!(
        matches!(
            error,
            ChannelError::CertificateRefused(CertificateError::UnknownIssuer | CertificateError::BadSignature, _)
        ),
        "{error:?}"
    );
    assert!(
        matches!(alert, AlertDescription::UnknownCA | AlertDescription::DecryptError),
        "{alert:?}"
    );
    Ok(())
}

#[test]
fn clients_out_of_date_are_refused() -> TestResult {
    let world = World::new()?;
    let with = |certificate| {
        ClientTls::builder(certificate, world.ca.authorities())
            .without_validity_check()
            .build()
    };
    let (error, alert) = client_refused(&with(world.ca.client_valid("old", expired())?)?, &world.server)?;
    assert!(
        matches!(
            error,
            ChannelError::CertificateRefused(CertificateError::ExpiredContext { .. }, _)
        ),
        "{error:?}"
    );
    assert_eq!(alert, AlertDescription::CertificateExpired);
    let (error, _) = client_refused(&with(world.ca.client_valid("young", not_yet_valid())?)?, &world.server)?;
    assert!(
        matches!(
            error,
            ChannelError::CertificateRefused(CertificateError::NotValidYetContext { .. }, _)
        ),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn a_certificate_for_services_does_not_serve_a_client() -> TestResult {
    let world = World::new()?;
    let client_tls = ClientTls::builder(world.ca.server(&["localhost"])?, world.ca.authorities())
        .without_validity_check()
        .build()?;
    let (error, _) = client_refused(&client_tls, &world.server)?;
    assert!(
        matches!(
            error,
            ChannelError::CertificateRefused(CertificateError::InvalidPurposeContext { .. }, _)
        ),
        "{error:?}"
    );
    Ok(())
}

#[test]
fn a_client_without_certificate_is_refused() -> TestResult {
    let world = World::new()?;
    let bare = world
        .client
        .with_config(|config| config.client_auth_cert_resolver = Arc::new(NoCertificate));
    let (error, alert) = client_refused(&bare, &world.server)?;
    assert!(matches!(error, ChannelError::NoCertificate), "{error:?}");
    assert_eq!(alert, AlertDescription::CertificateRequired);
    Ok(())
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_service_with_another_name_authority_or_time_is_refused() -> TestResult {
    let world = World::new()?;
    let other_name = ServerTls::new(world.ca.server(&["example.org"])?, world.ca.authorities())?;
    let (error, alert) = server_refused(&world.client, &other_name)?;
    assert!(
        matches!(
            error,
            ChannelError::CertificateRefused(CertificateError::NotValidForNameContext { .. }, _)
        ),
        "{error:?}"
    );
    assert_eq!(alert, AlertDescription::BadCertificate);

    let old = ServerTls::builder(
        world.ca.server_valid(&["localhost"], expired())?,
        world.ca.authorities(),
    );
    let (error, alert) = server_refused(&world.client, &old.without_validity_check().build()?)?;
    assert!(
        matches!(
            error,
            ChannelError::CertificateRefused(CertificateError::ExpiredContext { .. }, _)
        ),
        "{error:?}"
    );
    assert_eq!(alert, AlertDescription::CertificateExpired);

    let stranger = ServerTls::new(ThrowawayCa::new()?.server(&["localhost"])?, world.ca.authorities())?;
    let (error, _) = server_refused(&world.client, &stranger)?;
    assert!(matches!(error, ChannelError::CertificateRefused(..)), "{error:?}");
    Ok(())
}

fn with_alpn(tls: &ClientTls, names: &[&[u8]]) -> ClientTls {
    tls.with_config(|config| config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect())
}

#[test]
fn a_peer_that_speaks_something_else_is_refused() -> TestResult {
    let world = World::new()?;
    let (client, server) = meet(&with_alpn(&world.client, &[b"h2"]), &world.server, usize::MAX)?;
    assert!(matches!(server.error, Some(ChannelError::NoAlpn)), "{:?}", server.error);
    assert!(
        matches!(client.error, Some(ChannelError::NoAlpn)),
        "the alert says why: {:?}",
        client.error
    );

    // A client that offers nothing: refused after the handshake, by the orderly end.
    let mut mute = End::new(client_of(&with_alpn(&world.client, &[])))?;
    let mut server = End::new(super::server(&world.server))?;
    carry(&mut mute, &mut server, usize::MAX);
    assert!(matches!(server.error, Some(ChannelError::NoAlpn)), "{:?}", server.error);
    assert!(matches!(mute.error, Some(ChannelError::NoAlpn)), "{:?}", mute.error);
    assert!(server.established.is_none() && mute.established.is_none());
    Ok(())
}

fn client_of(tls: &ClientTls) -> Result<Box<dyn Channel>, ChannelError> {
    client(tls, name("localhost"))
}

#[test]
fn what_is_not_tls_is_refused_at_once() -> TestResult {
    let world = World::new()?;
    for junk in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"42:(\"proposal\")",
        &[22, 3, 1, 0xff, 0xff],
        &[22, 3, 1, 0, 0],
    ] {
        let mut server = End::new(server(&world.server))?;
        server.input.extend_from_slice(junk);
        server.turn();
        assert!(
            matches!(server.error, Some(ChannelError::PeerMisbehaved(_))),
            "{:?}",
            server.error
        );
        assert_eq!(server.out.pending()[0], 21, "an alert");
    }
    Ok(())
}
