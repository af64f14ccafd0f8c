//! Unix sockets, and a user of the callers' group who tries to put a false broker in place of the broker.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;
mod thief;

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};
use std::process::{Command, Output};

use program::{Server, program, run};
use thief::{Host, THIEF, set_mode};

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");

/// A host with the directory `run`, which belongs to root and to the callers' group, and the address of a socket in it.
fn host() -> Option<(Host, String)> {
    let host = Host::new()?;
    fs::create_dir(host.path("run")).unwrap();
    chown(host.path("run"), None, Some(THIEF)).unwrap();
    set_mode(&host.path("run"), 0o750);
    let address = format!("unix:{}", host.text("run/broker.sock"));
    Some((host, address))
}

fn serve(address: &str) -> [&str; 4] {
    ["serve", "--simulate", "--listen", address]
}

/// Runs a client that asks for a registry on stdin or by its name.
fn ask(host: &Host, client: &mut Command, address: &str) -> Output {
    fs::write(host.path("question"), PRIVATE).unwrap();
    client.env("ECR_BROKER_ADDRESS", address).stdin(File::open(host.path("question")).unwrap());
    client.output().unwrap()
}

/// Returns clients of each kind: a command, docker's helper, and the writer of a credential file.
fn clients(host: &Host) -> [Command; 3] {
    let mut helper = Command::new(HELPER);
    helper.arg("get").env_clear().env("PATH", "/usr/bin:/bin");
    let (mut get, mut sync) = (program(&[]), program(&[]));
    get.args(["get", PRIVATE]);
    sync.args(["sync", "--once", PRIVATE, "--authfile", &host.text("config.json")]);
    [get, helper, sync]
}

#[test]
fn socket_in_a_directory_that_the_callers_group_can_write_is_refused() {
    let Some((host, address)) = host() else { return };
    let directory = fs::canonicalize(host.path("run")).unwrap();
    for (mode, refused) in [
        (0o770, format!("the socket is in {}, which group {THIEF} can write", directory.display())),
        (0o2770, "chmod g-w the directory, or use /run/ecr-broker".to_owned()),
        (0o777, format!("the socket is in the world-writable directory {}; chmod o-w it, or", directory.display())),
    ] {
        set_mode(&directory, mode);
        let ended = run(&serve(&address), &[]);
        assert!(ended.code == 1 && ended.error().contains(&refused), "{mode:o}: {ended:?}");
    }
    // The same directory above that of the socket.
    fs::create_dir(directory.join("inner")).unwrap();
    let inner = format!("unix:{}", directory.join("inner/broker.sock").display());
    assert!(run(&serve(&inner), &[]).error().contains("is in the world-writable directory"));
    for mode in [0o750, 0o755, 0o1770, 0o1777] {
        set_mode(&directory, mode);
        Server::start(&serve(&address), &[]).stop();
    }
    chown(&directory, Some(THIEF), None).unwrap();
    let ended = run(&serve(&address), &[]);
    assert!(ended.error().contains(&format!("which belongs to user {THIEF}")), "{ended:?}");
}

/// The figure: of 12 clients beside a false broker, whose directory the group could write for a while, 0 use its credentials.
#[test]
fn false_broker_in_the_brokers_directory_is_refused_by_clients() {
    let Some((host, address)) = host() else { return };
    let broker = Server::start(&serve(&address), &[]);
    for mut client in clients(&host) {
        let served = ask(&host, &mut client, &address);
        assert!(served.status.success(), "{served:?}");
    }
    fs::create_dir(host.path("own")).unwrap();
    chown(host.path("own"), Some(THIEF), None).unwrap();
    let own = format!("unix:{}", host.text("own/false.sock"));
    let _false_broker = Server::spawn(thief::command(&host.text("ecr-broker"), &serve(&own)));
    fs::remove_file(host.path("config.json")).unwrap();

    set_mode(&host.path("run"), 0o770);
    let [socket, replaced, target] = [host.text("own/false.sock"), host.text("run/broker.sock"), host.text("run/old")];
    let put = thief::run("mv", &[&replaced, &target]);
    assert_eq!(put.code, 0, "{put:?}");
    let refused = format!("user {THIEF} listens there, but {} belongs to user 0", host.text("run"));
    for link in [true, false] {
        // By a link to the socket in the thief's directory, then by the socket itself.
        let (program, option) = if link { ("ln", "-s") } else { ("mv", "-f") };
        assert_eq!(thief::run(program, &[option, &socket, &replaced]).code, 0);
        for mode in [0o770, 0o750] {
            set_mode(&host.path("run"), mode);
            for mut client in clients(&host) {
                let ended = ask(&host, &mut client, &address);
                let text = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
                assert!(!ended.status.success() && text.contains(&refused), "{client:?}: {text}");
                assert!(text.contains("ask the operator to remove a false socket"), "{text}");
            }
        }
        set_mode(&host.path("run"), 0o770);
    }
    assert!(!host.path("config.json").exists());
    let doctor = run(&["doctor", "--address", &address], &[]);
    assert!(
        doctor.stdout.contains(&refused) && doctor.stdout.contains("remove the socket if it is false"),
        "{doctor:?}"
    );
    broker.stop();
}

/// Root's client, the owner's client and the client of the listener's own user each know who listens.
#[test]
fn listener_of_the_directorys_owner_or_the_client_is_accepted() {
    let Some((host, _)) = host() else { return };
    let own = host.path("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(THIEF), None).unwrap();
    let address = format!("unix:{}", own.join("broker.sock").display());
    let _broker = Server::spawn(thief::command(&host.text("ecr-broker"), &serve(&address)));
    let get = ["get", PRIVATE, "--address", &address];
    run(&get, &[]).out();
    chown(&own, Some(0), None).unwrap();
    thief::run(&host.text("ecr-broker"), &get).out();
    assert_eq!(run(&get, &[]).code, 5);
    // A link by which the operator names another path of the directory.
    chown(&own, Some(THIEF), None).unwrap();
    symlink(&own, host.path("link")).unwrap();
    run(&["get", PRIVATE, "--address", &format!("unix:{}", host.text("link/broker.sock"))], &[]).out();
}
