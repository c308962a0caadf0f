//! The board: a process of QEMU that runs an image. It does not outlive the test.

use core::net::SocketAddr;
use core::time::Duration;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use crate::Setup;

pub(crate) struct Machine {
    child: Child,
    image: PathBuf,
    log: PathBuf,
    reports: PathBuf,
    defmt_print: Option<PathBuf>,
}

impl Machine {
    /// Starts the image; its UART is a TCP connection to this address, where somebody listens already.
    pub(crate) fn start(setup: &Setup, image: &str, line: SocketAddr) -> Self {
        let file = |ending| setup.firmware.join(format!("{image}.{ending}"));
        let (log, reports) = (file("log"), file("reports"));
        let stream = |path: &PathBuf| File::create(path).expect("the folder of the images can be written to");
        let image = setup.firmware.join(image);
        // Without `nodelay` each message would wait for the acknowledgement of the one before.
        let port = line.port();
        let uart = format!("socket,id=uart,host=127.0.0.1,port={port},nodelay=on");
        let child = Command::new(&setup.qemu)
            .args([
                "-M",
                "lm3s6965evb",
                "-cpu",
                "cortex-m4",
                "-display",
                "none",
                "-monitor",
                "none",
            ])
            .args(["-semihosting-config", "enable=on,target=native"])
            .args(["-chardev", &uart, "-serial", "chardev:uart", "-kernel"])
            .arg(&image)
            .stdin(Stdio::null())
            .stdout(stream(&log))
            .stderr(stream(&reports))
            .spawn()
            .expect("QEMU starts");
        Self {
            child,
            image,
            log,
            reports,
            defmt_print: setup.defmt_print.clone(),
        }
    }

    /// The end of the run, as the firmware says by semihosting.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("our process") {
                return status;
            }
            assert!(Instant::now() < end, "the firmware did not end within {within:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A figure that the firmware has reported.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let text = fs::read_to_string(&self.reports).expect("written by QEMU");
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text:?}"))
    }

    /// The log, decoded; `None` without defmt-print.
    pub(crate) fn log(&self) -> Option<String> {
        let log = File::open(&self.log).ok()?;
        let decoded = Command::new(self.defmt_print.as_ref()?)
            .arg("-e")
            .arg(&self.image)
            .stdin(log)
            .stderr(Stdio::inherit())
            .output()
            .expect("defmt-print runs");
        Some(String::from_utf8_lossy(&decoded.stdout).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("log of the firmware:\n{}", self.log().unwrap_or_default());
        }
    }
}
