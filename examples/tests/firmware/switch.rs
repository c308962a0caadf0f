//! Between gateway and service: lets connections through, cuts them, keeps them silent, refuses them.

use core::net::SocketAddr;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

#[derive(Clone)]
pub(crate) struct Switch {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

struct Inside {
    /// Where a new connection leads; `None` refuses it.
    target: Option<SocketAddr>,
    /// Bytes go nowhere, and nobody is told.
    stalled: bool,
    open: Vec<TcpStream>,
}

impl Switch {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let switch = Self {
            address: listener.local_addr().expect("bound"),
            inside: Arc::new(Mutex::new(Inside {
                target: None,
                stalled: false,
                open: Vec::new(),
            })),
        };
        let accepting = switch.clone();
        // It ends with the process of the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.connect(stream);
            }
        });
        switch
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections lead from now on.
    pub(crate) fn lead_to(&self, target: Option<SocketAddr>) {
        self.lock().target = target;
    }

    /// Ends all connections, without a word of the two sides.
    pub(crate) fn cut(&self) {
        let mut inside = self.lock();
        inside.stalled = false;
        for stream in inside.open.drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on nothing arrives any more on the connections that there are. A new one works.
    pub(crate) fn stall(&self) {
        self.lock().stalled = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("nothing panics while it is held")
    }

    fn connect(&self, near: TcpStream) {
        let Some(target) = self.lock().target else {
            let _ = near.shutdown(Shutdown::Both);
            return;
        };
        let Ok(far) = TcpStream::connect(target) else { return };
        let mut inside = self.lock();
        inside.stalled = false;
        for stream in [&near, &far] {
            stream.set_nodelay(true).expect("a socket");
            inside.open.push(stream.try_clone().expect("a handle"));
        }
        let copies = [(&near, &far), (&far, &near)].map(|(from, to)| {
            let handle = |stream: &TcpStream| stream.try_clone().expect("a handle");
            (handle(from), handle(to))
        });
        for (from, to) in copies {
            let switch = self.clone();
            thread::spawn(move || switch.copy(from, to));
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 4096];
        let mut is_stalled = false;
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            // Once it is, this connection stays silent.
            is_stalled |= self.lock().stalled;
            if !is_stalled && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}
