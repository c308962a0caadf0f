//! The other end, a service without sessions, and the serial line of a gateway: chips seldom need them, the engine has
//! them.

use core::time::Duration;

use diset_embedded::{Code, FromService, Instant, Limits, MessageOf, Notice, ServiceDef, Trid};
use diset_proto::{Admission, Connection, Deframer, Event, Progress, SerialLine};
use messages::{Alarm, Blink, Reading, Station};

use crate::now;

type Conn = Connection<[u8; 1024]>;

/// What comes is what is sent, so that the compiler knows neither.
pub(crate) fn play(chance: [u8; 8]) {
    let Ok(mut conn) = Conn::service(now(), Station::CATALOG, Limits::SERVER, [0; 1024]) else {
        return;
    };
    let mut deframer = Deframer::new([0; 1028]);
    let mut line = SerialLine::service();
    let mut buffer = [0; 64];
    loop {
        board::random(&mut buffer);
        let mut raw: &[u8] = &buffer;
        while let Some(event) = line.next(&mut raw) {
            if let diset_proto::LineEvent::Data(bytes) = event {
                hear(&mut conn, &mut deframer, bytes);
            }
        }
        let sent = line.transmit(conn.transmit(), &mut buffer);
        conn.transmitted(sent.taken);
        send::<Blink>(&mut conn, &Blink { times: 1 });
        let event = if chance.is_empty() {
            conn.handle_eof()
        } else {
            conn.handle_time(now())
        };
        if let Some(event) = event {
            take(&mut conn, event);
        }
        let wake = conn.wake().map_or(0, Instant::as_millis);
        board::report("wake", usize::try_from(wake).unwrap_or_default());
        match conn.progress() {
            Progress::Running => {}
            Progress::Finish => line.close(),
            Progress::Over => return,
        }
    }
}

fn hear(conn: &mut Conn, deframer: &mut Deframer<[u8; 1028]>, mut input: &[u8]) {
    conn.handle_received(now());
    while let Some(frame) = deframer.next(&mut input, conn.max_frame()) {
        if let Some(event) = conn.handle_frame(now(), frame) {
            take(conn, event);
        }
    }
}

fn send<M: FromService<Station>>(conn: &mut Conn, message: &M) {
    let _ = conn.send(M::NUMBER, message);
}

fn take(conn: &mut Conn, event: Event<'_>) {
    match event {
        Event::Proposed(proposal) => {
            defmt::info!("{}", defmt::Debug2Format(&proposal));
            let answer = match proposal.args().value("name") {
                Some(_) => conn.accept(now(), Admission::new(Trid::new(1))).map(drop),
                None => conn.refuse(Notice::new(Code::NotAdmitted).with_text("no name")),
            };
            if let Err(misuse) = answer {
                defmt::warn!("{}", defmt::Debug2Format(&misuse));
            }
        }
        Event::Message(message) => match message.number() {
            Reading::NUMBER => {
                let _ = conn.decode::<Reading>(message);
            }
            Alarm::NUMBER => {
                if let Ok((_, held)) = conn.decode_held::<Alarm>(message) {
                    conn.release(held);
                }
            }
            _ => conn.reject(message, Code::HandlerFailed, "not here"),
        },
        Event::GoingAway(_) => {
            let _ = conn.go_away(now(), Notice::new(Code::Done), Duration::from_secs(1));
        }
        Event::Dropped(cause) => defmt::warn!("{}", defmt::Debug2Format(&cause)),
        other => defmt::info!("{}", defmt::Debug2Format(&other)),
    }
}
