//! Canary: no secret in what the server sees and keeps, nor in what the broker writes about it.

use std::process::{Child, Command, Stdio};

use super::fleet::{Fleet, ask, write_secret};
use super::program::{Logs, Server, program, run};
use super::store::with_each;
use super::support::host;

pub(crate) const PASSWORD: &str = "password-of-the-shared-cache";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_server_or_the_log() {
    with_each(async |kind| {
        let store = kind.start_with(&["--requirepass", PASSWORD]);
        let Some(mut monitor) = monitor(store.port) else {
            super::program::skipped("redis-cli is not installed; run .ci/tools");
            return;
        };
        let seen = Logs::of(monitor.stdout.take().unwrap());
        seen.until("OK", 1);
        let directory = tempfile::tempdir().unwrap();
        let password_file = directory.path().join("password");
        write_secret(&password_file, PASSWORD);
        let fleet =
            Fleet::with(&format!("url = \"{}\"\ntimeout = \"500ms\"\npassword_file = {password_file:?}", store.url()))
                .await;
        let file = fleet.configuration().display().to_string();
        let environment = [
            ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "none"),
            ("AWS_SESSION_TOKEN", "none"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("RUST_LOG", "trace"),
        ];
        let mut command = program(&environment);
        command.args(["serve", "--config", &file]);
        let broker = tokio::task::block_in_place(|| Server::spawn_logging(command));
        let replicas = fleet.replicas(2).await;
        let mut secrets = ask(&replicas, &host(1)).await;
        let address = broker.address.clone();
        let (got, status) = tokio::task::block_in_place(|| {
            let got = run(&["get", &host(1), "-o", "password", "--address", &address], &[]).out();
            (got, run(&["status", "-o", "json", "--address", &address], &[]).out())
        });
        secrets.push(got.trim().to_owned());
        assert_eq!(fleet.aws.calls(), 1, "{store:?}");
        secrets.dedup();
        assert_eq!(secrets.len(), 1, "one password");
        let keys = std::fs::read_to_string(fleet.keys_file()).unwrap();
        secrets.extend(keys.split_whitespace().filter(|word| word.len() > 20).map(str::to_owned));
        // What a name or a value could betray of its key.
        secrets.extend(["000000000001", "eu-central-1", "farm", "ASIAIOSFODNN7EXAMPLE"].map(str::to_owned));
        seen.until("EVALSHA", 2);
        monitor.kill().unwrap();
        monitor.wait().unwrap();
        let (monitored, dumped) = (seen.text(), dumps(store.port));
        for secret in &secrets {
            assert!(!monitored.contains(secret), "{secret} in MONITOR");
            assert!(!dumped.contains(secret), "{secret} in a dump");
        }
        let log = tokio::task::block_in_place(|| broker.stop());
        for secret in secrets[..3].iter().map(String::as_str).chain([PASSWORD]) {
            assert!(!log.contains(secret), "{secret} in the log");
            assert!(!status.contains(secret), "{secret} in the status");
        }
    })
    .await;
}

pub(crate) fn cli(port: u16) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string(), "-a", PASSWORD, "--no-auth-warning"]);
    command
}

/// Follows all commands that the server gets; `None` without the program for it.
pub(crate) fn monitor(port: u16) -> Option<Child> {
    cli(port).arg("monitor").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()
}

/// Returns everything that the server has, as values and as dumps.
pub(crate) fn dumps(port: u16) -> String {
    let printed = |arguments: &[&str]| cli(port).args(arguments).output().unwrap().stdout;
    let names = String::from_utf8(printed(&["keys", "*"])).unwrap();
    let of = |name| [printed(&["get", name]), printed(&["dump", name])].concat();
    let dumps: Vec<_> = names.lines().flat_map(of).collect();
    assert!(dumps.len() > 500, "there is a value");
    String::from_utf8_lossy(&dumps).into_owned()
}
