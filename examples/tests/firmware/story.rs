//! The life of a station, as the service sees it.

use core::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use crate::Setup;
use crate::cast::{Cast, Trust};
use crate::impostor::{Impostor, Loot};
use crate::machine::Machine;
use crate::process::Program;
use crate::switch::Switch;
use crate::villains::{VILLAINS, drip, is_alarming, refusal, wait_for_one};
use crate::watch::{SOON, Watch};

/// Readings that are counted.
const READINGS: u64 = 1000;
/// Alarms that are raised while the service is away.
const IN_THE_OUTAGE: usize = 4;

/// The whole story, with this image.
pub(crate) fn play(image: &str, trust: Trust) {
    let setup = Setup::from_environment();
    let mut story = Story::begin(&setup, image, trust);
    let host = (trust != Trust::Line).then(|| story.host_agent());
    story.another_station();
    story.readings();
    story.commands();
    story.cut();
    story.silence();
    if trust != Trust::Line {
        for crime in VILLAINS {
            story.impostor(crime);
        }
        story.slow_peer();
    }
    story.kill();
    story.end(host);
}

struct Story<'s> {
    setup: &'s Setup,
    image: &'s str,
    cast: Cast,
    begun: Instant,
    /// Between the gateway of the station and the service.
    switch: Switch,
    /// Between the agent on the host and the service.
    host_switch: Switch,
    service: SocketAddr,
    watch: Watch,
    station: String,
    machine: Machine,
    _gateway: Program,
    /// How often its connection was lost.
    losses: usize,
    connections: u64,
    impostors: usize,
}

impl<'s> Story<'s> {
    fn begin(setup: &'s Setup, image: &'s str, trust: Trust) -> Self {
        let cast = Cast::new(setup.scratch.join(image), trust);
        let (switch, host_switch) = (Switch::new(), Switch::new());
        let (service, at) = start_service(setup, image, &cast, trust);
        switch.lead_to(Some(at));
        host_switch.lead_to(Some(at));
        let mut watch = Watch::new(service);
        let reports = setup.firmware.join(format!("{image}.reports"));
        let (machine, gateway, station) = start_station(setup, image, &cast, "station a", switch.address(), reports);
        watch.alarms(&station, "Started", 1);
        assert_eq!(watch.connection(&station, 1).connection, 1);
        let mut story = Self {
            setup,
            image,
            cast,
            begun: Instant::now(),
            switch,
            host_switch,
            service: at,
            watch,
            station,
            machine,
            _gateway: gateway,
            losses: 0,
            connections: 1,
            impostors: 0,
        };
        story
            .machine
            .expect("connection", SOON, |line| is_connection(line).then_some(()));
        story.step("connected; the first alarm and the first reading are there");
        story
    }

    fn step(&self, what: &str) {
        println!("{}: {:>6.2} s: {what}", self.image, self.begun.elapsed().as_secs_f64());
    }

    /// An agent on the host at the same port, with full records. Its identity.
    fn host_agent(&mut self) -> (Program, String) {
        let host = Program::start(
            &format!("{}, host", self.image),
            &self.setup.programs.join("agent_host"),
            &[
                &self.host_switch.address().to_string(),
                "--service-name",
                crate::impostor::certificates::NAME,
                "--folder",
                &self.cast.folder().display().to_string(),
                "--name",
                "host",
            ],
        );
        let station = self.station.clone();
        let identity = self.watch.expect("agent on the host", &station, |line, _| {
            connects(line, "host").map(str::to_owned)
        });
        self.watch.alarms(&identity, "Started", 1);
        self.watch.connection(&identity, 1);
        self.watch.counts_late(&identity);
        self.step("an agent on the host is connected to the same port");
        (host, identity)
    }

    /// The same image on another board, with other credentials.
    fn another_station(&mut self) {
        let reports = self.cast.folder().join("another.reports");
        let (another, _gateway, identity) =
            start_station(self.setup, self.image, &self.cast, "station b", self.service, reports);
        assert_ne!(identity, self.station);
        let subject = self.watch.expect("another station", &identity, |line, _| {
            (line.contains(" connects: ") && line.ends_with(&identity)).then(|| line.to_owned())
        });
        let known = connects(&subject, "station b").is_some();
        assert_eq!(known, self.cast.trust() != Trust::Line, "{subject}");
        self.watch.alarms(&identity, "Started", 1);
        drop(another);
        self.step("the same image on another board is another station");
    }

    /// A setting shortens the second between readings.
    fn readings(&mut self) {
        self.watch.tell(&self.station, "interval 2");
        let begun = Instant::now();
        let from = self.watch.of(&self.station).last.map_or(0, |last| last.number);
        self.watch.expect("readings", &self.station, |_, heard| {
            heard.last.filter(|last| last.number >= from + READINGS)
        });
        let rate = READINGS as f64 / begun.elapsed().as_secs_f64();
        self.step(&format!(
            "{READINGS} readings, each once and in order, {rate:.0} a second"
        ));
    }

    fn commands(&mut self) {
        self.watch.service.type_line("blink 3");
        let station = self.station.clone();
        let said = [
            format!("{station} has done `blink 3`"),
            format!("{station} has blinked 3 times"),
        ];
        for said in said {
            self.watch
                .expect("blinking", &station, |line, _| (line == said).then_some(()));
        }
        // An alarm each 16 readings, which are taken without a connection, too.
        self.watch.tell(&station, "interval 100");
        self.step("it has done what it was told");
    }

    /// The station has noticed that its connection was lost, and is back.
    fn is_back(&mut self) {
        self.losses += 1;
        self.connections += 1;
        self.watch.connection(&self.station, self.connections);
        self.watch.alarms(&self.station, "Offline", self.losses);
        self.machine
            .expect("connection", SOON, |line| is_connection(line).then_some(()));
    }

    fn cut(&mut self) {
        self.switch.cut();
        self.is_back();
        self.step("the line was cut; the station is back");
    }

    fn silence(&mut self) {
        self.switch.stall();
        self.is_back();
        self.step("the line fell silent; the station noticed and is back");
    }

    /// The line leads to an impostor.
    fn impostor(&mut self, crime: Impostor) {
        let (address, loot) = wait_for_one(crime, &self.cast.world);
        self.switch.lead_to(Some(address));
        self.switch.cut();
        let loot = loot.recv_timeout(SOON).expect("the impostor has not panicked");
        assert_eq!(loot, Loot::default(), "{crime:?} has seen something");
        let said = self.refused();
        let expected = refusal(crime, self.cast.trust());
        assert!(said.starts_with(expected), "{crime:?}: {said}, and not {expected}");
        self.switch.lead_to(Some(self.service));
        self.is_back();
        self.impostors += usize::from(is_alarming(expected));
        self.watch.alarms(&self.station, "Impostor", self.impostors);
        self.step(&format!("{crime:?} is refused: {expected}"));
    }

    /// Why the station has not connected, the first time since its last connection.
    fn refused(&mut self) -> String {
        self.machine.expect("refusal", SOON, |line| {
            line.split_once("not connected: ").map(|(_, why)| why.to_owned())
        })
    }

    /// The line leads to somebody who never ends a handshake, and says enough to be waited for.
    fn slow_peer(&mut self) {
        let (address, end) = drip();
        self.switch.lead_to(Some(address));
        self.switch.cut();
        end.recv_timeout(SOON).expect("the station hangs up");
        let said = self.refused();
        assert!(said.contains("TimedOut"), "{said}");
        self.switch.lead_to(Some(self.service));
        self.is_back();
        self.step(&format!("who is too slow is left: {said}"));
    }

    /// The service is killed. What is raised while it is away arrives when it is back.
    fn kill(&mut self) {
        self.watch.tell(&self.station, "interval 20");
        // Right after an alarm the next one is some time away: none is between the file and the screen.
        let count = self.watch.of(&self.station).count("LowSupply");
        self.watch.alarms(&self.station, "LowSupply", count + 1);
        self.watch.kill();
        self.step("the service is killed");
        let heard = self.watch.of(&self.station).alarms.len();
        self.machine.expect("alarms in the outage", SOON, |line| {
            alarm(line).filter(|number| *number >= heard + IN_THE_OUTAGE)
        });
        let (service, at) = start_service(self.setup, self.image, &self.cast, self.cast.trust());
        self.watch.service = service;
        self.service = at;
        self.switch.lead_to(Some(at));
        self.host_switch.lead_to(Some(at));
        self.is_back();
        let alarms = self.watch.of(&self.station).alarms.len();
        assert!(alarms > heard + IN_THE_OUTAGE, "{alarms} alarms, {heard} before");
        self.step(&format!(
            "the service is back, and so are {} alarms of the outage",
            alarms - heard
        ));
    }

    fn end(mut self, host: Option<(Program, String)>) {
        if let Some((_, identity)) = &host {
            self.watch.alarms(identity, "Offline", 1);
            self.watch.connection(identity, 2);
        }
        self.watch.service.type_line("reboot");
        let (status, log) = self.machine.wait(SOON);
        assert!(status.success(), "{status}\n{log}");
        let station = self.station.clone();
        let done = format!("{station} has done `reboot`");
        self.watch
            .expect(&done, &station, |line, _| (line == done).then_some(()));
        if let Some((mut host, identity)) = host {
            let status = host.wait(SOON);
            assert!(status.success(), "{status}");
            println!(
                "{}: agent on the host: {:?} alarms",
                self.image,
                self.watch.of(&identity).alarms.len()
            );
        }
        // The service writes each into its file before it tells of it.
        let raised = log.lines().filter_map(alarm).count();
        if self.watch.of(&station).alarms.len() < raised {
            self.watch.expect("last alarm", &station, |_, heard| {
                (heard.alarms.len() == raised).then_some(())
            });
        }
        let heard = self.watch.of(&station);
        assert_eq!(heard.alarms.len(), raised, "each alarm once");
        let connections = log.lines().filter(|line| is_connection(line)).count();
        assert_eq!(connections as u64, self.connections);
        let stack = self.machine.figure("stack");
        self.step(&format!(
            "rebooted in order; {stack} bytes of stack were used; {raised} alarms, each once and in order; {} readings lost",
            heard.lost
        ));
    }
}

/// Whether this line of the firmware's log tells of a connection.
pub(crate) fn is_connection(line: &str) -> bool {
    line.contains(" connected: Trid")
}

/// The number of the alarm of which this line of the firmware's log tells.
fn alarm(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once(" alarm ")?;
    rest.split_once(" of kind ")?.0.parse().ok()
}

/// The identity of whom the service knows by this name, if this line tells of its coming.
fn connects<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let (_, rest) = line.split_once(" connects: ")?;
    let (subject, identity) = rest.rsplit_once(", identity ")?;
    subject.contains(&format!("CN={name}")).then_some(identity)
}

/// Starts a board with credentials of its own, and its gateway. Its identity.
pub(crate) fn start_station(
    setup: &Setup,
    image: &str,
    cast: &Cast,
    name: &str,
    service: SocketAddr,
    reports: PathBuf,
) -> (Machine, Program, String) {
    let (page, identity) = cast.page(name);
    let (gateway, line) = start_gateway(setup, image, service);
    let machine = Machine::start(setup, image, Some(&page), line, reports);
    (machine, gateway, identity)
}

/// A gateway to this service, and where the UART is to call.
pub(crate) fn start_gateway(setup: &Setup, image: &str, service: SocketAddr) -> (Program, SocketAddr) {
    let mut gateway = Program::start(
        &format!("{image}, gateway"),
        &setup.programs.join("gateway"),
        &["--listen", "127.0.0.1:0", "--service", &service.to_string()],
    );
    let line = gateway.expect("address", SOON, |line| address("waits for the serial line at ", line));
    (gateway, line)
}

/// Starts the service with the store of this story.
pub(crate) fn start_service(setup: &Setup, image: &str, cast: &Cast, trust: Trust) -> (Program, SocketAddr) {
    let folder = cast.folder().display().to_string();
    let store = format!("{folder}/stations.redb");
    let mut arguments = vec!["--store", &store];
    if trust == Trust::Line {
        arguments.push("--trusted-line");
    } else {
        arguments.extend(["--folder", &folder]);
    }
    launch_service(setup, image, &arguments)
}

/// Starts the service at a free port.
pub(crate) fn launch_service(setup: &Setup, image: &str, arguments: &[&str]) -> (Program, SocketAddr) {
    let mut service = Program::start(
        &format!("{image}, service"),
        &setup.programs.join("agent_service"),
        &[&["--listen", "127.0.0.1:0"], arguments].concat(),
    );
    let at = service.expect("address", SOON, |line| address("Example/Station listens on ", line));
    (service, at)
}

/// The address behind these words.
fn address(words: &str, line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix(words)?;
    rest.split(';').next()?.parse().ok()
}
