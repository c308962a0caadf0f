//! The firmware in QEMU against the real service, all as processes: QEMU ═ `gateway` ─ a switch of this test ─
//! `agent_service`, or an impostor. `./ci.sh firmware` builds the images and runs this. And what needs no QEMU: the page
//! of flash with a station's credentials.
//!
//! From the environment: `FIRMWARE` (the folder of the images), `PROGRAMS` (that of the host's programs), `QEMU`
//! (qemu-system-arm), `DEFMT_PRINT` (defmt-print), and perhaps `PLUGIN` (scripts/instructions.c).

mod cast;
mod credentials;
#[allow(dead_code, reason = "a part of it is for the tests of diset-embedded")]
#[path = "../../../diset-embedded/tests/impostor/mod.rs"]
mod impostor;
mod lines;
mod machine;
mod making;
mod measure;
mod process;
mod story;
mod switch;
mod villains;
mod watch;

use std::env;
use std::path::PathBuf;

use cast::Trust;

/// Where the images and programs are.
struct Setup {
    firmware: PathBuf,
    programs: PathBuf,
    qemu: PathBuf,
    defmt_print: PathBuf,
    /// Counts instructions.
    plugin: Option<PathBuf>,
    /// For files of the tests.
    scratch: PathBuf,
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
            defmt_print: path("DEFMT_PRINT"),
            plugin: env::var_os("PLUGIN").map(PathBuf::from),
            scratch: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        }
    }
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn the_polled_agent() {
    story::play("agent", Trust::Authority);
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn the_polled_agent_that_knows_a_key() {
    story::play("agent_pinned", Trust::Key);
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn the_polled_agent_over_a_trusted_line() {
    story::play("agent_trusted_line", Trust::Line);
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn the_agent_under_an_executor() {
    story::play("agent_async", Trust::Authority);
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn a_station_is_made_by_the_programs() {
    making::by_the_programs("agent");
}

#[test]
#[ignore = "needs QEMU and the images: ./ci.sh firmware"]
fn a_board_without_credentials_says_what_to_do() {
    for image in ["agent", "agent_trusted_line", "agent_async"] {
        making::not_at_all(image);
    }
}

/// One after the other: each has the machine for itself.
#[test]
#[ignore = "needs QEMU and the images: ./ci.sh size"]
fn figures_of_a_run() {
    measure::run("agent_trusted_line", Trust::Line);
    measure::run("agent", Trust::Authority);
    measure::run("agent_pinned", Trust::Key);
    measure::run("agent_async", Trust::Authority);
}

#[test]
#[ignore = "needs the programs: ./ci.sh firmware"]
fn a_service_whose_certificate_is_too_long_for_chips_takes_another_one_for_them() {
    making::a_long_certificate();
}
