//! Real users of this machine at the broker's Unix socket. Only root can act as several users.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::PRIVATE;
use super::other::{run, text};
use super::program::{PROGRAM, SERVE_SIMULATED, Server, copy_to, program};

const GRANTED: &str = "1001";
const OTHER: &str = "1002";

/// Makes a folder that every user can enter, with a configuration that grants one user one account.
fn folder() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = directory.path().join("broker.toml");
    let socket = directory.path().join("broker.sock");
    let grants = format!(
        "[server]\nlisten = [\"unix:{}\"]\n[[grants]]\nid = \"one-user\"\ncallers = [{{ uid = {GRANTED} }}]\n\
         registries = [{{ accounts = [\"123456789012\"], regions = [\"*\"] }}]\n",
        socket.display()
    );
    fs::write(&file, grants).unwrap();
    directory
}

/// Returns a client command of a user, with a copy of the program that the user can reach.
fn as_user(directory: &Path, uid: &str, arguments: &[&str]) -> Command {
    let reachable = directory.join("ecr-broker");
    if !reachable.exists() {
        copy_to(&reachable);
    }
    let mut command = Command::new("setpriv");
    command.args(["--clear-groups", "--regid", uid, "--reuid", uid, "--"]).arg(reachable).args(arguments);
    command.arg("--address").arg(format!("unix:{}", directory.join("broker.sock").display()));
    command
}

#[test]
#[ignore = "needs root, to be two users"]
fn only_the_granted_user_is_allowed_and_root_is_denied() {
    let directory = folder();
    let config = directory.path().join("broker.toml");
    let serve = ["serve", "--simulate", "--config", config.to_str().unwrap()];
    let _broker = Server::start(&serve, &[]);
    let socket = directory.path().join("broker.sock");
    let outsider = run(&mut as_user(directory.path(), GRANTED, &["get", PRIVATE]));
    assert_eq!(outsider.status.code(), Some(5), "0660: a user outside the group cannot connect");

    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    for (uid, code) in [(GRANTED, 0), (OTHER, 4), ("0", 4)] {
        let get = run(&mut as_user(directory.path(), uid, &["get", PRIVATE]));
        assert_eq!(get.status.code(), Some(code), "uid {uid}: {}", text(&get.stderr));
        let whoami = run(&mut as_user(directory.path(), uid, &["whoami"]));
        assert!(text(&whoami.stdout).contains(&format!("uid:{uid},gid:{uid}\n")), "{}", text(&whoami.stdout));
    }
    let overflow = run(&mut as_user(directory.path(), "65534", &["get", PRIVATE]));
    assert_eq!(overflow.status.code(), Some(4));
    assert!(text(&overflow.stderr).contains("CALLER_UNAUTHENTICATED"), "{}", text(&overflow.stderr));
}

/// A service of the same user that is taken over gets nothing from the broker's memory.
#[test]
#[ignore = "needs root, to be another user"]
fn p10_process_of_the_same_user_cannot_read_the_brokers_memory() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let reachable = directory.path().join("ecr-broker");
    copy_to(&reachable);
    let by_user = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--clear-groups", "--regid", GRANTED, "--reuid", GRANTED, "--"]).arg(program).args(arguments);
        command
    };
    let mut other = by_user(Path::new("sleep"), &["60"]).spawn().unwrap();
    let broker = Server::spawn(by_user(&reachable, &SERVE_SIMULATED));
    let read = |pid: u32, file: &str| {
        let path = format!("/proc/{pid}/{file}");
        run(&mut by_user(Path::new("cat"), &[&path])).status.success()
    };
    // The control: the same read of another process succeeds.
    while !fs::read_to_string(format!("/proc/{}/comm", other.id())).unwrap().starts_with("sleep") {
        std::thread::yield_now();
    }
    for file in ["maps", "environ"] {
        assert!(read(other.id(), file), "{file}");
        assert!(!read(broker.pid(), file), "{file}");
    }
    other.kill().unwrap();
    other.wait().unwrap();
}

/// In a user namespace without a mapping of the caller's user, the kernel shows the broker the overflow user 65534.
#[test]
#[ignore = "needs root, to make a user namespace and be another user"]
fn user_without_a_mapping_in_the_brokers_namespace_is_unauthenticated() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let listen = format!("unix:{}", directory.path().join("broker.sock").display());
    let mut serve = Command::new("unshare");
    serve.args(["--user", "--map-root-user", "--", PROGRAM]).args(&SERVE_SIMULATED[..2]).args(["--listen", &listen]);
    serve.envs(program(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let _broker = Server::spawn(serve);
    fs::set_permissions(directory.path().join("broker.sock"), fs::Permissions::from_mode(0o666)).unwrap();
    let unnamed = run(&mut as_user(directory.path(), GRANTED, &["get", PRIVATE]));
    assert_eq!(unnamed.status.code(), Some(4));
    assert!(text(&unnamed.stderr).contains("CALLER_UNAUTHENTICATED"), "{}", text(&unnamed.stderr));
    assert_eq!(run(&mut as_user(directory.path(), "0", &["get", PRIVATE])).status.code(), Some(0));
}
