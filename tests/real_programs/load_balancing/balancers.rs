//! DNS, Envoy and haproxy in front of the brokers, with the configurations of `deploy/load-balancing/`.

use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::replicas::Replicas;
use crate::haproxy::stats;
use crate::other::{Foreign, python, script, succeed, tool};

/// Time between two looks at a balancer that starts.
const PAUSE: Duration = Duration::from_millis(50);

/// A running proxy. It is stopped on drop.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Starts a DNS server that returns the brokers' addresses for every name.
pub(crate) fn dns(replicas: &Replicas) -> Foreign {
    let zone = replicas.directory().join("zone");
    std::fs::write(&zone, replicas.addresses.map(|address| address.to_string()).join("\n")).unwrap();
    Foreign::start(python().args([&script("dns.py"), "--port", "0", "0", "--zone"]).arg(zone), "127.0.0.53:")
}

/// Starts Envoy, which looks the brokers up in `dns`, and waits until it calls all of them.
pub(crate) fn envoy(replicas: &Replicas, dns: &Foreign) -> Proxy {
    let resolver = format!(
        "typed_dns_resolver_config: {{ name: envoy.network.dns_resolver.cares, typed_config: {{ \
         \"@type\": type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, \
         resolvers: [{{ socket_address: {{ address: 127.0.0.53, port_value: {} }} }}] }} }}",
        dns.port
    );
    let changes = [
        ("address: 0.0.0.0, port_value: 50051", "address: 127.0.0.1, port_value: 0"),
        ("port_value: 50051", &format!("port_value: {}", replicas.port)),
        ("lb_policy: ROUND_ROBIN", &format!("lb_policy: ROUND_ROBIN\n      {resolver}")),
        ("/etc/envoy", &replicas.directory().display().to_string()),
    ];
    let admin = "\nadmin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }\n";
    let file = example("envoy.yaml", &changes, admin, replicas.directory());
    let admin = replicas.directory().join("admin");
    let mut command = tool("venv/bin/envoy");
    command.args(["--use-dynamic-base-id", "--concurrency", "2", "--log-level", "warning", "--admin-address-path"]);
    let child = command.arg(&admin).arg("--config-path").arg(file).stdin(Stdio::null()).spawn().unwrap();
    let mut proxy = Proxy { child, address: String::new() };
    let page = |path: &str| {
        let address = std::fs::read_to_string(&admin).unwrap_or_default();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--noproxy", "*", &format!("http://{address}{path}")]);
        String::from_utf8_lossy(&curl.output().unwrap().stdout).into_owned()
    };
    until(|| page("/clusters").matches("health_flags::healthy").count() == replicas.addresses.len());
    let listeners = page("/listeners");
    listeners.lines().find_map(|line| line.strip_prefix("callers::")).unwrap().clone_into(&mut proxy.address);
    proxy
}

/// Starts haproxy, and waits until all brokers are up. `listener` is `calls` or `connections`.
pub(crate) fn haproxy(replicas: &Replicas, listener: &str) -> Proxy {
    // A socket that listens already, so that no other process takes the port.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let stopped = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&stopped, rustix::io::FdFlags::empty()).unwrap();
    let (calls, connections) = if listener == "calls" { (&socket, &stopped) } else { (&stopped, &socket) };
    let mut changes = vec![
        ("bind :50051".to_owned(), format!("bind fd@{}", calls.as_raw_fd())),
        ("bind :50052".to_owned(), format!("bind fd@{}", connections.as_raw_fd())),
        // On loopback the ops listener speaks plaintext.
        ("port 9464 ssl sni broker.example".to_owned(), format!("port {}", replicas.ops_port)),
        ("/etc/haproxy".to_owned(), replicas.directory().display().to_string()),
    ];
    for (number, address) in replicas.addresses.iter().enumerate() {
        changes.push((format!("10.0.0.1{}:50051", number + 1), format!("{address}:{}", replicas.port)));
    }
    let changes: Vec<_> = changes.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let control = replicas.directory().join("stats");
    let more = format!("\nglobal\n    stats socket {} level admin\n", control.display());
    let file = example("haproxy.cfg", &changes, &more, replicas.directory());
    succeed(Command::new("haproxy").arg("-c").arg("-f").arg(&file));
    let child = Command::new("haproxy").arg("-db").arg("-f").arg(file).stdin(Stdio::null()).spawn().unwrap();
    let proxy = Proxy { child, address: socket.local_addr().unwrap().to_string() };
    let is_up = |line: &str| line.starts_with(&format!("{listener},broker-")) && line.contains(",UP,");
    let up = || stats(&control).unwrap_or_default().lines().filter(|line| is_up(line)).count();
    until(|| up() == replicas.addresses.len());
    proxy
}

/// Writes an example configuration with what a test must change, and with `more` at its end. `BALANCER_CHANGE="FROM=>TO"` changes one
/// thing more.
fn example(name: &str, changes: &[(&str, &str)], more: &str, directory: &Path) -> PathBuf {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/load-balancing").join(name);
    let mut text = std::fs::read_to_string(example).unwrap();
    let change = super::setting("BALANCER_CHANGE", "");
    for (from, to) in changes.iter().copied().chain(change.split_once("=>")) {
        assert!(text.contains(from), "{name} has no {from:?}");
        text = text.replace(from, to);
    }
    let file = directory.join(name);
    std::fs::write(&file, text + more).unwrap();
    file
}

fn until(mut reached: impl FnMut() -> bool) {
    while !reached() {
        std::thread::sleep(PAUSE);
    }
}
