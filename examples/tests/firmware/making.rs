//! How a station is made: with the programs that a user has, and what a board says that was not made.

use std::fs;
use std::process::Command;

use crate::Setup;
use crate::machine::Machine;
use crate::story::{launch_service, start_gateway};
use crate::watch::{SOON, Watch};

/// Certificates, page, service: each by its program, as their documentation says.
pub(crate) fn by_the_programs(image: &str) {
    let setup = Setup::from_environment();
    let folder = setup.scratch.join(format!("{image} by the programs"));
    let path = folder.display().to_string();
    run(&setup, "make_certificates", &[&path, "--client", "station"]);
    let said = run(&setup, "station_page", &["--folder", &path]);
    let identity = said.lines().find_map(|line| line.strip_prefix("identity: "));
    let identity = identity.expect("it is told");
    let (service, at) = launch_service(&setup, image, &["--folder", &path, "--tell", "interval 50"]);
    let (_gateway, line) = start_gateway(&setup, image, at);
    let mut watch = Watch::new(service);
    let page = folder.join("station.page");
    let mut machine = Machine::start(&setup, image, Some(&page), line, folder.join("reports"));
    watch.alarms(identity, "Started", 1);
    let told = format!("{identity} has done `interval 50`");
    watch.expect(&told, identity, |line, _| (line == told).then_some(()));
    watch.tell(identity, "reboot");
    let (status, log) = machine.wait(SOON);
    assert!(status.success(), "{status}\n{log}");
}

/// A certificate that is too long for a chip: the service says what to do, and starts when it was done.
pub(crate) fn a_long_certificate() {
    let setup = Setup::from_environment();
    let folder = setup.scratch.join("a long certificate");
    let path = folder.display().to_string();
    let name = format!("{}.test", ["label"; 40].join("."));
    let names = [format!("a.{name}"), format!("b.{name}")];
    run(&setup, "make_certificates", &[&path, "--client", "station"]);
    for file in ["service.pem", "service.key"] {
        fs::rename(folder.join(file), folder.join(format!("short {file}"))).expect("written before");
    }
    let long = folder.join("long");
    let long_path = long.display().to_string();
    let [a, b] = &names;
    run(
        &setup,
        "make_certificates",
        &[&long_path, "--service-name", a, "--service-name", b],
    );
    for file in ["service.pem", "service.key"] {
        fs::rename(long.join(file), folder.join(file)).expect("written before");
    }
    // What stations once had is not there yet.
    let devices = ["devices.pem", "devices.key"];
    for file in devices {
        let _ = fs::remove_file(folder.join(file));
    }
    let refused = Command::new(setup.programs.join("agent_service"))
        .args(["--listen", "127.0.0.1:0", "--folder", &path])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(
        said.contains("put one for devices into devices.pem and devices.key"),
        "{said}"
    );
    for (file, from) in devices.iter().zip(["short service.pem", "short service.key"]) {
        fs::rename(folder.join(from), folder.join(file)).expect("written before");
    }
    drop(launch_service(&setup, "a long certificate", &["--folder", &path]));
}

fn run(setup: &Setup, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(setup.programs.join(program))
        .args(arguments)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}{error}");
    said
}

/// It says what is to be done, and does nothing.
pub(crate) fn not_at_all(image: &str) {
    let setup = Setup::from_environment();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let line = nobody.local_addr().expect("bound");
    let reports = setup.scratch.join(format!("{image} not made"));
    let mut machine = Machine::start(&setup, image, None, line, reports);
    let (status, log) = machine.wait(SOON);
    assert_eq!(status.code(), Some(1), "{log}");
    let said = "no credentials in flash: write them with `station_page`";
    assert!(log.contains(said), "{log}");
}
