//! The broker as a service of a real systemd.

use std::process::Command;

use crate::PRIVATE;
use crate::program::{PROGRAM, Server, run};
use crate::service_manager::Manager;

/// Returns a service that runs the broker with a simulated AWS.
fn service(settings: &str) -> String {
    format!("[Service]\n{settings}\nExecStart={PROGRAM} serve --simulate\n")
}

/// systemd opens the socket; the first connection starts the broker, and a later one after its stop again.
#[test]
#[ignore = "needs systemd, which .ci/tools installs, and root"]
fn socket_unit_starts_the_broker_at_a_connection() {
    let manager = Manager::start();
    let socket = manager.runtime_directory().join("broker.sock");
    manager.write_unit("broker.socket", &format!("[Socket]\nListenStream={}\n", socket.display()));
    manager.write_unit("broker.service", &service("Type=exec"));
    manager.systemctl(&["start", "broker.socket"]).out();
    assert_eq!(manager.property("broker.service", "ActiveState"), "inactive");
    for _ in 0..2 {
        run(&["get", PRIVATE, "--address", &format!("unix:{}", socket.display())], &[]).out();
        assert_eq!(manager.property("broker.service", "ActiveState"), "active");
        manager.systemctl(&["stop", "broker.service"]).out_anyway();
        assert_eq!(manager.property("broker.service", "Result"), "success", "{}", manager.log());
    }
}

/// `systemd-socket-activate` starts the broker at the first connection, which is then served.
#[test]
#[ignore = "needs systemd, which .ci/tools installs"]
fn systemd_activated_socket_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("broker.sock");
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen={}", socket.display()));
    command.args([PROGRAM, "serve", "--simulate"]).stderr(std::process::Stdio::piped());
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
