//! The board: a process of QEMU that runs an image. It does not outlive the test.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use crate::Setup;
use crate::lines::Lines;
use crate::process::wait;

/// Where the page of credentials lies in the flash: memory.x of the board.
const PAGE_AT: &str = "0x3F000";

pub(crate) struct Machine {
    name: String,
    qemu: Child,
    /// Makes the log of the firmware readable, and ends with it.
    defmt_print: Child,
    log: Lines,
    reports: PathBuf,
}

impl Machine {
    /// Starts the image on a board with these credentials in its flash, or none. Its UART is a TCP connection to this
    /// address, where somebody listens already.
    pub(crate) fn start(setup: &Setup, image: &str, page: Option<&Path>, line: SocketAddr, reports: PathBuf) -> Self {
        Self::start_with(setup, image, page, line, reports, &[])
    }

    /// With more arguments for QEMU.
    pub(crate) fn start_with(
        setup: &Setup,
        image: &str,
        page: Option<&Path>,
        line: SocketAddr,
        reports: PathBuf,
        arguments: &[String],
    ) -> Self {
        let path = setup.firmware.join(image);
        let mut qemu = Command::new(&setup.qemu);
        qemu.args(["-M", "lm3s6965evb", "-cpu", "cortex-m4"])
            .args(["-display", "none", "-monitor", "none"])
            .args(["-semihosting-config", "enable=on,target=native"]);
        if let Some(page) = page {
            let page = page.display();
            qemu.args(["-device", &format!("loader,file={page},addr={PAGE_AT},force-raw=on")]);
        }
        // Without `nodelay` each message would wait for the acknowledgement of the one before.
        let port = line.port();
        let uart = format!("socket,id=uart,host=127.0.0.1,port={port},nodelay=on");
        let mut qemu = qemu
            .args(arguments)
            .args(["-chardev", &uart, "-serial", "chardev:uart", "-kernel"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&reports).expect("the folder can be written to"))
            .spawn()
            .expect("QEMU starts");
        let said = qemu.stdout.take().expect("piped");
        let mut defmt_print = Command::new(&setup.defmt_print)
            .arg("-e")
            .arg(&path)
            .stdin(said)
            .stdout(Stdio::piped())
            .spawn()
            .expect("defmt-print starts");
        let log = Lines::of(image, defmt_print.stdout.take().expect("piped"));
        Self {
            name: image.to_owned(),
            qemu,
            defmt_print,
            log,
            reports,
        }
    }

    /// A line of its log, see [`Lines::expect`].
    pub(crate) fn expect<T>(&mut self, what: &str, within: Duration, wanted: impl FnMut(&str) -> Option<T>) -> T {
        self.log.expect(what, within, wanted)
    }

    /// The end of the run, as the firmware says by semihosting, and all of its log.
    pub(crate) fn wait(&mut self, within: Duration) -> (ExitStatus, String) {
        let status = wait(&mut self.qemu, &self.name, within);
        (status, self.log.all())
    }

    /// A figure that the firmware has reported.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text = fs::read_to_string(&self.reports).expect("written by QEMU");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text:?}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in [&mut self.qemu, &mut self.defmt_print] {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            println!("log of {}: {:#?}", self.name, self.log.last());
        }
    }
}
