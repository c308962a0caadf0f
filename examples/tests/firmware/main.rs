//! The firmware in QEMU against the real service, all as processes: QEMU ═ `gateway` ─ a switch of this test ─
//! `agent_service`. `./ci.sh firmware` builds the images and runs this.
//!
//! From the environment: `FIRMWARE` (the folder of the images), `PROGRAMS` (that of the host's programs), `QEMU`
//! (qemu-system-arm), and perhaps `DEFMT_PRINT` (defmt-print; without it logs stay as they are, in files beside the
//! images).

mod machine;
mod process;
mod story;
mod switch;

use std::env;
use std::path::PathBuf;

/// Where the images and programs are.
struct Setup {
    firmware: PathBuf,
    programs: PathBuf,
    qemu: PathBuf,
    defmt_print: Option<PathBuf>,
}

impl Setup {
    fn from_environment() -> Self {
        let path = |name| {
            env::var_os(name)
                .map(PathBuf::from)
                .unwrap_or_else(|| panic!("{name} is not set: run ./ci.sh firmware"))
        };
        Self {
            firmware: path("FIRMWARE"),
            programs: path("PROGRAMS"),
            qemu: path("QEMU"),
            defmt_print: env::var_os("DEFMT_PRINT").map(PathBuf::from),
        }
    }
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn the_polled_agent() {
    story::play("agent");
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn the_agent_under_an_executor() {
    story::play("agent_async");
}
