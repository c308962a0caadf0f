//! A service that trusts very many authorities, or each device for itself.

use diset_std::Client;
use diset_std::tls::{Authorities, ClientTls, ServerTls};
use rcgen::ExtendedKeyUsagePurpose;

use super::made::{Authority, Made, named};
use crate::common::*;

/// Their names take more than fits a request for a certificate (PROTOCOL X-9).
#[tokio::test]
async fn clients_of_1250_authorities_connect() -> TestResult {
    let ours = Authority::root("the service's")?;
    let all = (0..1250)
        .map(|i| {
            Authority::root(&format!(
                "authority {i:04} of a large federation, all with names that are not short"
            ))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let list = all.iter().map(|authority| authority.der.clone()).collect();
    for small in [false, true] {
        let builder = ServerTls::builder(
            ours.service(|_| {})?.with(&[])?,
            Authorities::from_der(Vec::clone(&list))?,
        );
        let builder = if small { builder.small_records(None) } else { builder };
        let running = run(answering().bind("127.0.0.1:0", builder.build()?).await?);
        for place in [0, 700, 1249] {
            let tls = ClientTls::new(all[place].client(|_| {})?.with(&[])?, ours.authorities()?)?;
            let client = Client::builder(PingPong, &running.address).tls(tls);
            within("connected", client.connect()).await?.close().await;
        }
        running.stop().await;
    }
    Ok(())
}

/// Each is an authority of its own, and nobody else's.
#[tokio::test]
async fn a_thousand_devices_that_sign_for_themselves_connect() -> TestResult {
    let ours = Authority::root("the service's")?;
    let devices = (0..1000)
        .map(|i| {
            let mut params = named(&format!(
                "device {i:04} somewhere in the field, with a serial number 0123456789abcdef"
            ));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            Made::self_signed(&params)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let list = devices.iter().map(|device| device.der.clone()).collect();
    let tls = ServerTls::new(ours.service(|_| {})?.with(&[])?, Authorities::from_der(list)?)?;
    let running = run(answering().bind("127.0.0.1:0", tls).await?);
    for device in [&devices[0], &devices[999]] {
        let tls = ClientTls::new(device.with(&[])?, ours.authorities()?)?;
        let client = Client::builder(PingPong, &running.address).tls(tls);
        within("connected", client.connect()).await?.close().await;
    }
    running.stop().await;
    Ok(())
}
