//! Names with slow or dead answers. The broker, its client and a DNS server run in a network namespace, which only root can make.

use std::process::Command;
use std::time::Duration;

use super::PRIVATE;
use super::other::{run, text};
use super::program::PROGRAM;

/// Runs a client's `get` of a name that a DNS server answers after `delay` seconds with `addresses`. The broker listens on 127.0.0.9;
/// 127.0.0.1 accepts no connection and does not refuse any, for its queue is full.
fn get(delay: &str, addresses: &str) -> Duration {
    const SCRIPT: &str = r#"
set -e
ip link set lo up
echo 'nameserver 127.0.0.53' >"$1/resolv.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf
trap 'kill $(jobs -p)' EXIT
mkfifo "$1/dns" "$1/broker" "$1/silent"
python3 tests/clients/dns.py $2 $3 >"$1/dns" &
read -r _ <"$1/dns"
python3 -c '
import socket, time
server = socket.create_server(("127.0.0.1", 50051), backlog=0)
waiting = []
for _ in range(4):
    client = socket.socket(); client.setblocking(False); client.connect_ex(("127.0.0.1", 50051)); waiting.append(client)
print("silent", flush=True)
time.sleep(600)' >"$1/silent" &
read -r _ <"$1/silent"
"$4" serve --simulate --listen 127.0.0.9:50051 --allow-loopback >"$1/broker" 2>/dev/null &
read -r _ <"$1/broker"
start=$(date +%s%N)
"$4" get "$5" --timeout 20s --address http://broker.example:50051 >/dev/null
echo $((($(date +%s%N) - start) / 1000000))
"#;
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--", "bash", "-c", SCRIPT, "bash"]).arg(directory.path());
    command.args([delay, addresses, PROGRAM, PRIVATE]);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let output = run(&mut command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let elapsed = Duration::from_millis(text(&output.stdout).trim().parse().unwrap());
    println!("answer after {elapsed:?}");
    elapsed
}

#[test]
#[ignore = "needs ip and python3, which .ci/tools installs, and root"]
fn name_that_resolves_after_more_than_a_second_is_waited_for() {
    let elapsed = get("1.2", "127.0.0.9");
    assert!(elapsed >= Duration::from_millis(1_200), "{elapsed:?}");
}

/// With one attempt after the other the client would wait for the dead address until its timeout.
#[test]
#[ignore = "needs ip and python3, which .ci/tools installs, and root"]
fn dead_first_address_of_a_name_does_not_hold_the_second_back() {
    let elapsed = get("0", "127.0.0.1 127.0.0.9");
    assert!((250..10_000).contains(&elapsed.as_millis()), "{elapsed:?}");
}
