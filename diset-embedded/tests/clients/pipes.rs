//! Two that both write, through pipes that hold less than either has to say; and what is told of credit.

use diset_embedded::diset_proto::Bound;
use diset_embedded::{Buffers, Client, Config, Event, Identity, SendError, TrustedLine};

use super::agent::{Seen, with_each};
use super::world::{Demo, Log, Note, SECOND, Stream, World};

#[test]
fn a_write_that_waits_keeps_neither_client_from_reading() {
    with_each(|agent| {
        agent.connected();
        let world = agent.world().clone();
        world.0.borrow_mut().pipe = Some(64);
        let texts: Vec<String> = (0..4).map(|number| format!("{number}").repeat(100)).collect();
        for text in &texts {
            world.push(text);
            agent.note(text).unwrap();
        }
        let begun = world.now();
        for text in &texts {
            assert_eq!(agent.next(), Seen::Note(text.clone()));
        }
        agent.idle(SECOND);
        let notes = texts.into_iter().map(Log::Note);
        assert!(world.log().into_iter().skip(1).eq(notes), "{:?}", world.log());
        assert_eq!(
            world.now().since(begun),
            SECOND,
            "nobody has waited for anything but bytes"
        );
    });
}

#[test]
fn credit_that_comes_before_a_message_is_told_as_well() {
    let world = World::new(usize::MAX);
    let mut buffers: Buffers = Buffers::new();
    let config = Config::new(Identity::from_bytes([1; 16]), 7);
    let mut client: Client<'_, Demo, TrustedLine<Stream>> = Client::blocking(Demo, config, &mut buffers).unwrap();
    client.connect(TrustedLine::new(world.dial()), world.now()).unwrap();
    while !matches!(client.poll(world.now()), Some(Event::Connected(_))) {
        world.turn(client.wake(), None);
    }
    let text = "x".repeat(100);
    let refused = loop {
        match client.send(&Note { text: &text }) {
            Ok(()) => assert!(client.flush(world.now())),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SendError::Full(Bound::Credit));
    world.turn(None, None);
    world.push("behind the credit");
    world.turn(None, None);
    let mut told = Vec::new();
    while let Some(event) = client.poll(world.now()) {
        told.push(match event {
            Event::Message(message) => {
                message.run(|_: Note<'_>| Ok(()));
                "message"
            }
            Event::Room => "room",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, ["message", "room"]);
    client.send(&Note { text: &text }).unwrap();
}
