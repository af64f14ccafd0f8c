//! Socket activation by systemd.

use std::process::Command;

use crate::PRIVATE;
use crate::program::{PROGRAM, Server, run};

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
