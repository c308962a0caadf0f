//! Long connect arguments and what a client says of its session share one proposal.

use diset_proto::Misuse;
use diset_std::{BadSettings, Outcome};

use crate::common::*;

/// One that just fits when it connects for the first time must fit when it comes back, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_long_arguments_comes_back() -> TestResult {
    let world = World::new()?;
    let running = world.serve(answering()).await?;
    let build = |len: usize| -> Result<_, Box<dyn core::error::Error>> {
        Ok(world.client(PingPong, &running, "alice")?.arg("text", "x".repeat(len)))
    };
    let Err(BadSettings::Misuse(Misuse::ProposalTooLong(excess))) = build(1024)?.start() else {
        return Err("a proposal that cannot fit".into());
    };
    let longest = 1024 - excess;
    let refused = build(longest + 1)?.start().map(|_| ());
    assert!(
        matches!(refused, Err(BadSettings::Misuse(Misuse::ProposalTooLong(1)))),
        "{refused:?}"
    );
    let client = build(longest)?.on_ref::<Pong>(|_, _| Ok(())).connect().await?;
    for id in 0..3 {
        let receipt = client.send_acked(&Ping { id }).await?;
        assert_eq!(within("an outcome", receipt.processed()).await?, Outcome::Ok);
        let before = client.trid();
        client.cut();
        until(&client, "back", |_| client.trid().is_some() && client.trid() != before).await;
    }
    client.close().await;
    Ok(())
}
