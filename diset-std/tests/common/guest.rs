//! A client that the tests of who gets in send to a service.

use diset_std::tls::ClientTls;
use diset_std::{Client, ClientState, Dropped, Ended, Trid};

use super::*;

/// A client that answers can be asked of.
pub(crate) struct Guest {
    pub(crate) client: Client<PingPong>,
    pub(crate) pongs: Seen<i64>,
    pub(crate) drops: Seen<Dropped>,
}

impl Guest {
    pub(crate) async fn connect(running: &Running<PingPong>, tls: ClientTls) -> Result<Self, Ended> {
        let ((pong, pongs), (drop, drops)) = (log(), log());
        let client = Client::builder(PingPong, &running.address)
            .tls(tls)
            .reconnect(QUICK)
            .on(move |_, answer: Pong| {
                pong.add(answer.id);
                async { Ok(()) }
            })
            .on_drop(move |_, dropped| {
                drop.add(dropped);
                async {}
            })
            .connect()
            .await?;
        Ok(Self { client, pongs, drops })
    }

    /// Asks, and is answered, on the connection that it has had all along.
    pub(crate) async fn goes_on(&mut self, trid: Option<Trid>, id: i64) -> TestResult {
        self.client.send(&Ping { id }).await?;
        assert_eq!(self.pongs.next().await, id);
        assert_eq!(self.client.trid(), trid, "the same connection");
        Ok(())
    }

    /// Waits for a connection that is not this one.
    pub(crate) async fn comes_back(&self, former: Option<Trid>) -> Option<Trid> {
        until(
            &self.client,
            "the next connection",
            |state| matches!(state, ClientState::Connected(trid) if Some(*trid) != former),
        )
        .await;
        self.client.trid()
    }

    /// Waits until TLS fails, and says why.
    pub(crate) async fn is_refused(&self) -> String {
        let refused = |state: &ClientState| {
            matches!(
                state,
                ClientState::Waiting {
                    why: Ended::Tls { .. },
                    ..
                }
            )
        };
        until(&self.client, "the refusal", refused).await.to_string()
    }
}

/// That TLS fails, and why.
pub(crate) async fn refused(running: &Running<PingPong>, tls: ClientTls) -> String {
    match Guest::connect(running, tls).await {
        Err(Ended::Tls { reason, .. }) => reason,
        Err(other) => panic!("not by TLS: {other}"),
        Ok(_) => panic!("got in"),
    }
}
