//! Rules that are asked when a client connects: who may connect, and which messages are not for it. Those that are asked
//! at each delivery are in `rights.rs`.

use diset_std::diset_proto::MessageOf;
use diset_std::{
    BindError, Client, ClientBuilder, Code, Conn, Identity, Rule, SendError, ServiceDef, Verdict, define_service,
};

use crate::common::*;

const ALICE: Identity = Identity::from_bytes([0xa1; 16]);
const FORBIDDEN: Result<(), SendError> = Err(SendError::NotAgreed(Verdict::Forbidden));

/// Says so in an argument.
fn is_operator<S: ServiceDef>(conn: &Conn<S>) -> bool {
    conn.args().text("role") == Some("operator")
}

fn shout(text: &str) -> Shout {
    Shout { text: text.to_owned() }
}

fn news() -> News {
    News { text: String::new() }
}

/// The client is refused until somebody changes the rule; with what words.
async fn refused(client: ClientBuilder<PingPong>) -> String {
    let why = client.connect().await.expect_err("it was admitted");
    let why = dropped(&why);
    let cause = why.cause();
    assert!(
        cause.needs_mending() && cause.retry().is_none() && !cause.is_permanent(),
        "PROTOCOL H-12, R-4: {why}"
    );
    assert_eq!(told(why).code(), Code::NotAdmitted, "PROTOCOL H-12");
    told(why).text().to_owned()
}

#[tokio::test]
async fn who_may_connect_is_told_by_certificate_argument_or_identity() -> TestResult {
    let world = World::new()?;
    let by_certificate = Rule::at_connect(|conn: &Conn<PingPong>| {
        let certificate = conn.credentials().certificate();
        certificate.is_some_and(|certificate| certificate.subject() == "CN=alice,O=diset throwaway")
    });
    let by_argument = Rule::at_connect(is_operator);
    let by_identity = Rule::at_delivery(|conn: &Conn<PingPong>| conn.identity() == ALICE);
    for (rule, text) in [
        (by_certificate, "alice only"),
        (by_argument, "operators only"),
        (by_identity, ""),
    ] {
        let (log, called) = log();
        let drops = log.clone();
        let service = answering()
            .allow_connect(rule.or_tell(text))
            .on_connect(move |conn: Conn<PingPong>| {
                log.add(("asks", conn.identity()));
                async { Ok(()) }
            })
            .on_drop(move |conn, _| {
                drops.add(("has gone", conn.identity()));
                async {}
            });
        let running = world.serve(service).await?;
        let alice = world.client(PingPong, &running, "alice")?.identity(ALICE);
        let mut alice = Neighbour::new(alice.arg("role", "operator")).await?;
        let mallory = world.client(PingPong, &running, "mallory")?.arg("role", "guest");
        assert_eq!(refused(mallory).await, text);
        assert_eq!(running.handle.connections().len(), 1);
        alice.is_served().await;
        running.stop().await;
        let called = called.rest().await;
        assert_eq!(called, [("asks", ALICE), ("has gone", ALICE)], "nothing of mallory");
    }
    Ok(())
}

#[tokio::test]
async fn a_refused_client_displaces_nobody_and_gives_its_place_back() -> TestResult {
    let world = World::new()?;
    let service = answering()
        .max_connections(2)
        .allow_connect(Rule::at_connect(is_operator).or_tell("operators only"));
    let running = world.serve(service).await?;
    let tls = world.tls("alice")?;
    let alice = || {
        Client::builder(PingPong, &running.address)
            .tls(tls.clone())
            .identity(ALICE)
    };
    let mut first = Neighbour::new(alice().arg("role", "operator")).await?;
    for _ in 0..3 {
        // Principal and identity of the first; then somebody else.
        assert_eq!(refused(alice()).await, "operators only");
        let other = world.client(PingPong, &running, "mallory")?;
        assert_eq!(refused(other).await, "operators only");
        first.is_served().await;
    }
    let second = world.client(PingPong, &running, "bob")?.arg("role", "operator");
    Neighbour::new(second).await?.is_served().await;
    Ok(())
}

#[tokio::test]
async fn plain_tcp_takes_everyone_only_if_said() -> TestResult {
    for unsaid in [answering(), answering().allow_connect(Rule::authenticated())] {
        let error = unsaid
            .bind_plain_tcp("127.0.0.1:0")
            .await
            .err()
            .ok_or("PROTOCOL H-12: it listens")?;
        assert!(matches!(error, BindError::NobodyAdmitted), "PROTOCOL H-12: {error}");
        assert!(error.to_string().contains("allow_connect(Rule::everyone())"), "{error}");
    }
    let service = answering()
        .allow_connect(Rule::everyone())
        .allow::<Shout>(Rule::authenticated());
    let running = run(service.bind_plain_tcp("127.0.0.1:0").await?);
    let anybody = Client::builder(PingPong, &running.address).plain_tcp();
    let mut anybody = Neighbour::new(anybody).await?;
    anybody.is_served().await;
    assert_eq!(
        anybody.client.verdict::<Shout>(),
        Some(Verdict::Forbidden),
        "nobody has proved anything"
    );

    let service = answering().allow_connect(Rule::at_connect(is_operator).or_tell("operators only"));
    let running = run(service.bind_plain_tcp("127.0.0.1:0").await?);
    let anybody = Client::builder(PingPong, &running.address).plain_tcp();
    assert_eq!(refused(anybody).await, "operators only");
    let operator = Client::builder(PingPong, &running.address).plain_tcp();
    Neighbour::new(operator.arg("role", "operator"))
        .await?
        .is_served()
        .await;
    Ok(())
}

#[tokio::test]
async fn a_rule_that_panics_says_no() -> TestResult {
    let world = World::new()?;
    let running = world
        .serve(answering().allow_connect(Rule::at_connect(|_| panic!("in a rule"))))
        .await?;
    refused(world.client(PingPong, &running, "alice")?).await;

    let running = world
        .serve(
            answering()
                .allow::<Note<'_>>(Rule::at_connect(|_| panic!("in a rule")))
                .allow::<News>(Rule::at_delivery(|_| panic!("in a rule")))
                .allow::<Shout>(Rule::at_delivery(|_| panic!("in a rule"))),
        )
        .await?;
    let mut bob = Neighbour::new(world.client(PingPong, &running, "bob")?).await?;
    let (log, mut drops) = log();
    let alice = world
        .client(PingPong, &running, "alice")?
        .on_drop(move |_, why| {
            log.add(why);
            async {}
        })
        .connect()
        .await?;
    assert_eq!(alice.verdict::<Note<'_>>(), Some(Verdict::Forbidden));
    assert_eq!(conn_of(&running, &alice).await.send(&news()).await, FORBIDDEN);
    alice.send(&shout("hey")).await?;
    assert_eq!(told(&drops.next().await).code(), Code::Forbidden);
    bob.is_served().await;
    Ok(())
}

define_service! {
    /// A former form of the service.
    Older = "Framework/PingPong";
    from_client: [Shout],
    from_service: [News, Pong],
}

/// The verdicts on Shout, News and Pong, told to the client and kept by the service.
async fn verdicts<C: ServiceDef>(running: &Running<PingPong>, client: &Client<C>) -> [Option<Verdict>; 3]
where
    Shout: MessageOf<C>,
    News: MessageOf<C>,
    Pong: MessageOf<C>,
{
    let told = [
        client.verdict::<Shout>(),
        client.verdict::<News>(),
        client.verdict::<Pong>(),
    ];
    let conn = conn_of(running, client).await;
    assert_eq!(
        told,
        [conn.verdict::<Shout>(), conn.verdict::<News>(), conn.verdict::<Pong>()]
    );
    told
}

#[tokio::test]
async fn what_is_forbidden_for_good_is_learnt_at_connect() -> TestResult {
    const SAME: [Option<Verdict>; 3] = [Some(Verdict::Same); 3];
    const LESS: [Option<Verdict>; 3] = [Some(Verdict::Forbidden), Some(Verdict::Forbidden), Some(Verdict::Same)];
    let world = World::new()?;
    let service = || {
        answering()
            .allow::<Shout>(Rule::at_connect(is_operator))
            .allow::<News>(Rule::at_connect(is_operator).or_tell("operators only"))
            // These change, so nothing is said of them.
            .allow::<Pong>(Rule::at_delivery(|_| false))
    };
    // An older catalog that the service knows, and one that it has to ask for.
    for service in [service().also_known_as::<Older>(), service()] {
        let running = world.serve(service).await?;
        let operator = world.client(PingPong, &running, "bob")?.arg("role", "operator");
        let operator = operator.connect().await?;
        assert_eq!(verdicts(&running, &operator).await, SAME, "PROTOCOL S-5");

        let alice = world.client(PingPong, &running, "alice")?.connect().await?;
        assert_eq!(verdicts(&running, &alice).await, LESS, "PROTOCOL S-5: identical");
        assert!(alice.verdicts().contains(&("News".to_owned(), Verdict::Forbidden)));
        let older = Client::builder(Older, &running.address)
            .tls(world.tls("carol")?)
            .connect()
            .await?;
        assert_eq!(verdicts(&running, &older).await, LESS, "PROTOCOL S-5: older");
        let right = Client::builder(Older, &running.address).tls(world.tls("dave")?);
        let right = right.arg("role", "operator").connect().await?;
        assert_eq!(verdicts(&running, &right).await, SAME, "PROTOCOL S-5: older");

        // Neither side can send it (PROTOCOL S-6).
        assert_eq!(alice.send(&shout("hey")).await, FORBIDDEN, "PROTOCOL S-6");
        assert_eq!(older.send(&shout("hey")).await, FORBIDDEN, "PROTOCOL S-6");
        for conn in [conn_of(&running, &alice).await, conn_of(&running, &older).await] {
            assert_eq!(conn.send(&news()).await, FORBIDDEN, "PROTOCOL S-6");
        }
        let sent = running.handle.broadcast(&news());
        assert_eq!((sent.queued, sent.forbidden, sent.not_sent), (2, 2, 0));
        assert_eq!(alice.verdict::<Note<'_>>(), Some(Verdict::Same));
        alice.close().await;
        assert_eq!(
            alice.verdict::<Note<'_>>(),
            None,
            "nothing is agreed without a connection"
        );
    }
    Ok(())
}

#[tokio::test]
async fn messages_without_a_rule_of_their_own_share_one_that_is_asked_once() -> TestResult {
    let world = World::new()?;
    let (log, mut seen) = log();
    let (looked_up, asked) = (Count::default(), Count::default());
    let (known, count) = (looked_up.clone(), asked.clone());
    let service = answering()
        .on_connect(move |_| {
            let looked_up = looked_up.clone();
            async move {
                tokio::task::yield_now().await;
                looked_up.add();
                Ok(())
            }
        })
        .on_any(move |_, message| {
            log.add(message.name().to_owned());
            async { Ok(()) }
        })
        .allow_messages(Rule::at_connect(move |conn: &Conn<PingPong>| {
            count.add();
            known.value() > 0 && is_operator(conn)
        }))
        .allow::<Ping>(Rule::everyone())
        .allow::<Pong>(Rule::everyone());
    let running = world.serve(service).await?;
    // What the callback finds out at connect counts.
    let operator = world.client(PingPong, &running, "bob")?.arg("role", "operator");
    let operator = operator.connect().await?;
    operator.send(&shout("hey")).await?;
    operator.send(&Note { text: "hm" }).await?;
    assert_eq!([seen.next().await, seen.next().await], ["Shout", "Note"]);
    assert_eq!(asked.value(), 1);
    let mut alice = Neighbour::new(world.client(PingPong, &running, "alice")?).await?;
    alice.is_served().await;
    let forbidden = alice
        .client
        .verdicts()
        .into_iter()
        .filter(|(_, verdict)| *verdict == Verdict::Forbidden);
    let forbidden: Vec<_> = forbidden.map(|(name, _)| name).collect();
    assert_eq!(forbidden, ["Shout", "News", "Note", "Blob", "Odd"], "PROTOCOL S-5");
    assert_eq!(asked.value(), 2);
    Ok(())
}
