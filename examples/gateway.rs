//! A gateway: what a device says over its serial line it carries to a service over TCP, and back.
//!
//! ```sh
//! stty -F /dev/ttyUSB0 raw -echo 115200
//! cargo run --example gateway -- --serial /dev/ttyUSB0 --service service.example.org:9145
//! ```
//!
//! A serial line does not tell when a connection begins or ends. So the device wraps what it sends (PROTOCOL part W,
//! [`SerialLine`]): when it opens the line, the gateway dials the service; when one of the two hangs up, so does the
//! gateway. It does not look into what it carries: with TLS, device and service trust each other and not the gateway.

use core::time::Duration;
use diset_examples::println;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use clap::Parser;
use diset_proto::serial::MAX_PACKET;
use diset_proto::{LineEvent, SerialLine};

/// So long a service may take to answer a call.
const DIAL: Duration = Duration::from_secs(3);
/// So long a service may take nothing before the gateway hangs up. Meanwhile the line is not read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries the serial line of a device to a service.
#[derive(Parser)]
#[command(group = clap::ArgGroup::new("line").required(true).args(["serial", "listen"]))]
struct Options {
    /// The serial line: a device file, with its speed set and in raw mode.
    #[arg(long)]
    serial: Option<PathBuf>,
    /// In place of it, wait here for a TCP connection that carries the serial line, as QEMU's; port 0 for a free one.
    #[arg(long)]
    listen: Option<String>,
    /// The service, HOST:PORT.
    #[arg(long)]
    service: String,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if let Some(path) = &options.serial {
        return over_device(path, &options.service).map_err(|error| format!("{}: {error}", path.display()));
    }
    let address = options.listen.as_deref().unwrap_or("127.0.0.1:0");
    over_tcp(address, &options.service).map_err(|error| format!("{address}: {error}"))
}

fn over_device(path: &Path, service: &str) -> io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open(path)?;
    let writer = device.try_clone()?;
    carry(device, writer, service)
}

fn over_tcp(address: &str, service: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("waits for the serial line at {}", listener.local_addr()?);
    let (stream, _) = listener.accept()?;
    // Or each message waits for the acknowledgement of the one before.
    stream.set_nodelay(true)?;
    let writer = stream.try_clone()?;
    carry(stream, writer, service)
}

/// Until the serial line itself ends.
fn carry(mut reader: impl Read, writer: impl Write + Send + 'static, service: &str) -> io::Result<()> {
    let line = Shared::new(writer);
    let mut call: Option<TcpStream> = None;
    let mut raw = [0; 4096];
    loop {
        let count = match reader.read(&mut raw)? {
            0 => return Ok(()),
            count => count,
        };
        let mut input = raw.get(..count).unwrap_or_default();
        while let Some(event) = line.next(&mut input) {
            match event {
                Came::Opened(number) => {
                    hang_up(call.take());
                    line.transmit()?;
                    call = dial(service, number, &line)?;
                }
                Came::Data(bytes) => {
                    let written = call.as_mut().map(|call| call.write_all(&bytes));
                    if !matches!(written, Some(Ok(()))) {
                        hang_up(call.take());
                        line.close()?;
                    }
                }
                Came::Ended => {
                    println!("the device has hung up");
                    hang_up(call.take());
                }
                Came::Broken => {
                    println!("the line is broken");
                    hang_up(call.take());
                }
            }
        }
        // What the line itself has to say.
        line.transmit()?;
    }
}

/// Calls the service; a thread carries what it says. Without an answer the line is closed again.
fn dial<W: Write + Send + 'static>(service: &str, number: u64, line: &Shared<W>) -> io::Result<Option<TcpStream>> {
    let call = match connect(service) {
        Ok(call) => call,
        Err(error) => {
            println!("call {number}: {service} cannot be reached: {error}");
            line.close()?;
            return Ok(None);
        }
    };
    println!("call {number}: {service}");
    call.set_nodelay(true)?;
    call.set_write_timeout(Some(PATIENCE))?;
    let mut reader = call.try_clone()?;
    let line = line.clone();
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        // An error is an end, too.
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            if !matches!(line.send(number, bytes.get(..count).unwrap_or_default()), Ok(true)) {
                return;
            }
        }
        println!("call {number}: the service has hung up");
        let _ = line.close_call(number);
    });
    Ok(Some(call))
}

fn connect(service: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in service.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, DIAL) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn hang_up(call: Option<TcpStream>) {
    if let Some(call) = call {
        // It may have ended already.
        let _ = call.shutdown(Shutdown::Both);
    }
}

/// What has come over the line, with the bytes in it.
enum Came {
    /// The call of this number begins.
    Opened(u64),
    Data(Vec<u8>),
    Ended,
    Broken,
}

/// The wrapper and the way to the device, for the two threads.
struct Shared<W>(Arc<Mutex<Wire<W>>>);

struct Wire<W> {
    line: SerialLine,
    writer: W,
    calls: u64,
}

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Write> Shared<W> {
    fn new(writer: W) -> Self {
        Self(Arc::new(Mutex::new(Wire {
            line: SerialLine::service(),
            writer,
            calls: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Wire<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, input: &mut &[u8]) -> Option<Came> {
        let wire = &mut *self.lock();
        Some(match wire.line.next(input)? {
            LineEvent::Opened => {
                wire.calls += 1;
                Came::Opened(wire.calls)
            }
            LineEvent::Data(bytes) => Came::Data(bytes.to_vec()),
            LineEvent::Ended => Came::Ended,
            LineEvent::Broken => Came::Broken,
        })
    }

    /// What the line has to say without a payload.
    fn transmit(&self) -> io::Result<()> {
        self.lock().put(b"")
    }

    /// False when another call has taken the place of this one.
    fn send(&self, call: u64, bytes: &[u8]) -> io::Result<bool> {
        let wire = &mut *self.lock();
        if wire.calls != call || !wire.line.is_open() {
            return Ok(false);
        }
        wire.put(bytes).map(|()| true)
    }

    fn close(&self) -> io::Result<()> {
        self.lock().close()
    }

    fn close_call(&self, call: u64) -> io::Result<()> {
        let wire = &mut *self.lock();
        // Another call may have taken its place.
        if wire.calls == call { wire.close() } else { Ok(()) }
    }
}

impl<W: Write> Wire<W> {
    fn close(&mut self) -> io::Result<()> {
        self.line.close();
        self.put(b"")
    }

    /// All of it.
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            let mut out = [0; MAX_PACKET * 8];
            let done = self.line.transmit(bytes, &mut out);
            self.writer.write_all(out.get(..done.written).unwrap_or_default())?;
            bytes = bytes.get(done.taken..).unwrap_or_default();
            if bytes.is_empty() || done.written == 0 {
                return Ok(());
            }
        }
    }
}
