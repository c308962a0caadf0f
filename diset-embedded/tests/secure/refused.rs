//! Those who do not come together, and what each of them is told.

use diset_embedded::tls::{CertificateError, PinnedAuthority, PinnedKey, TlsError, Validity, VerifyServer};
use diset_embedded::{Cause, ConnectError, Retry};
use diset_std::tls::ServerTls;
use diset_std::{Rule, Service};
use embedded_io::ErrorKind;
use tokio::runtime::Runtime;

use super::host::{Host, server_tls};
use super::{Made, WAYS, with_agent};
use crate::agents::{Demo, SOON, Seen};
use crate::impostor::certificates::{Authority, Credentials, NAME, NOW, World, client_params};

fn host(runtime: &Runtime, tls: ServerTls) -> Host {
    Host::start(runtime, 0, tls, |_| Service::new(Demo).allow_connect(Rule::everyone()))
}

/// What a client says of a service with these settings.
fn refusal(runtime: &Runtime, world: &World, tls: ServerTls, rule: &dyn VerifyServer) -> TlsError {
    let host = host(runtime, tls);
    let said = WAYS.map(|way| {
        let mut said = None;
        with_agent(runtime, way, &Made::new(world, rule), |agent, _| {
            match agent.dial(host.address) {
                Err(ConnectError::Channel(error)) => said = Some(error),
                other => panic!("{other:?}"),
            }
            assert!(matches!(agent.retry(), Retry::At(_)), "PROTOCOL R-2: it tries again");
        });
        said.expect("it was refused")
    });
    assert_eq!(said[0], said[1]);
    runtime.block_on(host.stop()).expect("it ends");
    said[0]
}

// PROTOCOL X-2
#[test]
fn a_service_with_another_certificate_is_refused() {
    let world = World::new();
    let runtime = Runtime::new().expect("a runtime");
    let authorities: [&[u8]; 1] = [&world.authority.certificate];
    let by_authority = PinnedAuthority::new(&authorities, NAME, Validity::At(NOW));
    let pins = [world.service.pin()];
    let by_key = PinnedKey::new(&pins);
    let shown = |credentials: &Credentials| server_tls(credentials, &world.authority, true);
    let crooked = &world.crooked;
    for (credentials, error) in [
        (&crooked.other_authority, CertificateError::Authority),
        (&crooked.wrong_name, CertificateError::Name),
    ] {
        let said = refusal(&runtime, &world, shown(credentials), &by_authority);
        assert_eq!(said, TlsError::Certificate(error));
        let said = refusal(&runtime, &world, shown(credentials), &by_key);
        assert_eq!(said, TlsError::Certificate(CertificateError::Pin));
    }
}

// PROTOCOL X-8
#[test]
fn a_service_that_does_not_serve_chips_says_so() {
    let world = World::new();
    let runtime = Runtime::new().expect("a runtime");
    let pins = [world.service.pin()];
    let large_only = server_tls(&world.service, &world.authority, false);
    let said = refusal(&runtime, &world, large_only, &PinnedKey::new(&pins));
    // By an alert that is encrypted already, as the keys are there before the protocol is chosen.
    assert_eq!(said, TlsError::Alert(120));
    let text = said.to_string();
    assert!(text.ends_with("it does not speak diset-1k/1"), "{text}");
}

/// In TLS 1.3 a service refuses a client when the handshake is over for the client.
#[test]
fn a_client_whose_certificate_is_refused_can_read_why() {
    let world = World::new();
    let runtime = Runtime::new().expect("a runtime");
    let host = host(&runtime, server_tls(&world.service, &world.authority, true));
    let pins = [world.service.pin()];
    let rule = PinnedKey::new(&pins);
    let stranger = Authority::new("Others").issue(client_params);
    // Of an unknown authority; over; for services only.
    for (device, alert) in [(&stranger, 48), (&world.crooked.expired, 45), (&world.service, 43)] {
        let made = Made {
            device,
            ..Made::new(&world, &rule)
        };
        for way in WAYS {
            with_agent(&runtime, way, &made, |agent, ends| {
                agent.dial(host.address).expect("the service is all right");
                let dropped = match agent.next(SOON) {
                    Seen::Dropped(dropped) => dropped,
                    other => panic!("{other:?}"),
                };
                assert_eq!(*dropped.cause(), Cause::Lost);
                assert_eq!(dropped.error(), Some(ErrorKind::ConnectionAborted));
                assert!(
                    matches!(dropped.retry(), Retry::At(_)),
                    "PROTOCOL R-2: it may be renewed"
                );
                assert_eq!(ends.last().fault, Some(TlsError::Alert(alert)), "{way:?}");
            });
        }
    }
    runtime.block_on(host.stop()).expect("it ends");
}
