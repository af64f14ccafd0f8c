//! The broker as a service of a real systemd.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::PRIVATE;
use crate::program::{Ended, PROGRAM, Server, run, signal};
use crate::service_manager::Manager;

const GRANTS: &str = "[[grants]]\nid = \"a\"\ncallers = [{ uid = 0 }]\nregistries = [{ public = true }]\n";
/// What a test changes of the shipped unit: paths, the user, which this host has not, and what would hide the test's own files.
const FOR_TESTS: [(&str, &str); 4] = [
    ("User=ecr-broker\nGroup=ecr-broker\n", ""),
    ("PrivateTmp=yes\n", ""),
    ("ProtectHome=yes\n", ""),
    ("/usr/bin/ecr-broker serve --config", "/usr/bin/ecr-broker serve --simulate --config"),
];

/// A manager with the shipped unit, its sandbox included, on a simulated AWS.
struct Service {
    manager: Manager,
    config: PathBuf,
}

impl Service {
    /// Writes the units with some of their lines replaced, and a configuration.
    fn new(replaced: &[(&str, &str)], config: &str) -> Self {
        let manager = Manager::start();
        let (path, runtime) = (manager.path().join("config.toml"), manager.runtime_directory());
        write(&path, config);
        let programs = [("/usr/bin/ecr-broker", PROGRAM), ("/etc/ecr-broker/config.toml", path.to_str().unwrap())];
        let all = FOR_TESTS.iter().chain(replaced).chain(&programs);
        let unit = fs::read_to_string("deploy/systemd/ecr-broker.service").unwrap();
        let unit = all.fold(unit, |unit, (from, to)| {
            assert!(unit.contains(from), "{from} is not in the unit");
            unit.replace(from, to)
        });
        manager.write_unit("ecr-broker.service", &unit);
        let socket = fs::read_to_string("deploy/systemd/ecr-broker.socket").unwrap();
        let of_user = "SocketUser=ecr-broker\nSocketGroup=ecr-broker\n";
        assert!(socket.contains(of_user));
        let socket = socket.replace("/run/", &format!("{}/", runtime.display())).replace(of_user, "");
        manager.write_unit("ecr-broker.socket", &socket);
        Self { manager, config: path }
    }

    /// Returns the address of the socket in the unit's runtime directory.
    fn address(manager: &Manager) -> String {
        format!("unix:{}/ecr-broker/broker.sock", manager.runtime_directory().display())
    }

    fn get(&self) -> Ended {
        run(&["get", PRIVATE, "-o", "password", "--address", &Self::address(&self.manager)], &[])
    }

    fn start(&self) {
        self.manager.systemctl(&["start", "ecr-broker"]).out();
    }

    fn property(&self, name: &str) -> String {
        self.manager.property("ecr-broker", name)
    }

    /// Returns the names of the variables that the broker told, without the status, signs of life and the descriptor store.
    fn told(&self) -> Vec<String> {
        let messages = self.manager.notified("ecr-broker.service");
        let words = messages.iter().flat_map(|message| message.split(", "));
        let names = words.filter_map(|word| word.split_once('=')).map(|(name, _)| name.to_owned());
        names.filter(|name| !name.starts_with("FD") && !["STATUS", "WATCHDOG"].contains(&name.as_str())).collect()
    }
}

fn write(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

/// A configuration that listens where the unit's socket does, whatever the manager's runtime directory is called.
fn listening(service: &Service) -> String {
    format!("[server]\nlisten = [\"{}\"]\n", Service::address(&service.manager))
}

fn configured(replaced: &[(&str, &str)], further: &str) -> Service {
    let service = Service::new(replaced, "");
    write(&service.config, &(listening(&service) + further));
    service
}

/// `systemd-socket-activate` starts the broker at the first connection, which is then served.
#[test]
#[ignore = "needs systemd, which .ci/tools installs"]
fn systemd_activated_socket_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("broker.sock");
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen={}", socket.display()));
    command.args([PROGRAM, "serve", "--simulate"]).stderr(Stdio::piped());
    let caller = std::thread::spawn(move || {
        while !socket.exists() {
            std::thread::yield_now();
        }
        run(&["get", PRIVATE, "--address", &format!("unix:{}", socket.display())], &[])
    });
    let broker = Server::spawn(command);
    caller.join().unwrap().out();
    broker.stop();
}

#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn start_is_done_when_the_broker_serves_and_tells_its_status() {
    let service = configured(&[], "");
    service.start();
    // Clients would try again.
    UnixStream::connect(Service::address(&service.manager).strip_prefix("unix:").unwrap()).unwrap();
    service.get().out();
    run(&["probe", "--ready", "--address", &Service::address(&service.manager)], &[]).out();
    service.manager.until_logged("STATUS=serving: 1 cached");
    assert!(service.property("StatusText").starts_with("serving: 1 cached, "), "{}", service.property("StatusText"));
}

#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn failed_start_fails_and_says_why() {
    let service = configured(&[("Restart=always\n", "Restart=no\n")], "[aws]\nregion = 5\n");
    assert_eq!(service.manager.systemctl(&["start", "ecr-broker"]).code, 1);
    let status = service.property("StatusText");
    assert!(status.starts_with("the configuration is invalid: ") && status.contains("aws.region"), "{status}");
    assert_eq!((service.property("ActiveState"), service.property("Result")), ("failed".into(), "exit-code".into()));
}

#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn reload_is_announced_and_fails_for_a_broken_file() {
    let service = configured(&[], GRANTS);
    service.start();
    service.manager.until_logged("(READY=1");
    let more = GRANTS.replace("\"a\"", "\"b\"").replace("public = true", "accounts = [\"*\"], regions = [\"*\"]");
    write(&service.config, &format!("{}{GRANTS}{more}", listening(&service)));
    service.manager.systemctl(&["reload", "ecr-broker"]).out();
    service.manager.until_logged("\"configuration reloaded\"");
    service.manager.until_logged_times("(READY=1", 2);
    assert_eq!(service.told()[..4], ["READY", "RELOADING", "MONOTONIC_USEC", "READY"]);
    service.get().out();

    let pid = service.manager.main_pid("ecr-broker");
    write(&service.config, &format!("{}{GRANTS}nonsense = 1\n", listening(&service)));
    let failed = service.manager.systemctl(&["reload", "ecr-broker"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    service.manager.until_logged("nonsense");
    service.get().out();
    let of_broker = (service.manager.main_pid("ecr-broker"), service.property("ActiveState"));
    assert_eq!(of_broker, (pid, "active".to_owned()), "the old configuration stays");
    // The broker looks at the file itself, too, and says in the status that it is broken.
    service.manager.until_logged("a configuration file is not in effect");
}

#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn broker_that_hangs_is_restarted_by_the_watchdog() {
    let service = configured(&[("WatchdogSec=30s", "WatchdogSec=10s")], "");
    service.start();
    service.manager.until_logged_times("(WATCHDOG=1)", 2);
    assert_eq!(service.property("NRestarts"), "0");
    let pid = service.manager.main_pid("ecr-broker");
    signal(pid, "STOP");
    service.manager.until_logged("Watchdog timeout");
    service.manager.until_logged_times("(READY=1", 2);
    assert_eq!(service.property("NRestarts"), "1");
    assert_ne!(service.manager.main_pid("ecr-broker"), pid);
    service.get().out();
}

#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn stop_drains_and_is_a_success() {
    let service = configured(&[], "");
    service.start();
    let address = Service::address(&service.manager);
    let mut watch = crate::program::program(&[]);
    watch.args(["watch", PRIVATE, "--address", &address]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut watch = watch.stderr(Stdio::null()).spawn().unwrap();
    service.manager.until_logged("STATUS=serving: 1 cached, 1 connected");
    service.manager.systemctl(&["stop", "ecr-broker"]).out();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(service.property("Result"), "success");
    service.manager.until_logged("STOPPING=1");
    service.manager.until_logged("\"broker stopped\"");
    assert_eq!(service.told(), ["READY", "STOPPING", "EXTEND_TIMEOUT_USEC"]);
    let log = service.manager.log();
    assert!(log.contains("STATUS=draining: 1 connected") && log.contains("\"drain started\""), "{log}");
}

/// The first connection starts the broker. Over a restart the sockets stay open, those of TCP and of Unix. The names of the sockets are
/// the operator's to choose.
#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn socket_units_of_any_name_start_the_broker_and_outlive_it() {
    let service = configured(&[("[Service]\n", "[Service]\nSockets=ecr-broker.socket tcp.socket\n")], "");
    let [a, b, c, _] = std::process::id().to_be_bytes().map(|byte| byte.max(1));
    let tcp = format!("127.{a}.{b}.{c}:50051");
    let socket = format!("[Socket]\nListenStream={tcp}\nFileDescriptorName=tcp\nService=ecr-broker.service\n");
    service.manager.write_unit("tcp.socket", &socket);
    write(&service.config, &(listening(&service) + "[authentication]\nloopback = true\n"));
    let sockets = ["ecr-broker.socket", "tcp.socket"];
    service.manager.systemctl(&["start", sockets[0], sockets[1]]).out();
    assert_eq!(service.property("ActiveState"), "inactive");
    service.get().out();
    let get_over_tcp = || run(&["get", PRIVATE, "--address", &format!("http://{tcp}")], &[]).out();
    get_over_tcp();
    let pid = service.manager.main_pid("ecr-broker");
    service.manager.systemctl(&["kill", "--signal=KILL", "ecr-broker"]).out();
    service.get().out();
    get_over_tcp();
    assert_ne!(service.manager.main_pid("ecr-broker"), pid);
    service.manager.systemctl(&["restart", "ecr-broker"]).out();
    service.get().out();
    get_over_tcp();
}
