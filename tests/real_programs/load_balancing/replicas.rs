//! Three brokers with one simulated AWS.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use ecr_broker::clock::SystemClock;

use crate::cases::{AUDIENCE, ISSUER, SUBJECT, Signer, seconds};
use crate::certificates::{Authority, Pair};
use crate::program::{Server, program};
use crate::scraped::Scraped;

/// Time between two looks at the brokers.
const PAUSE: Duration = Duration::from_millis(50);
const METHOD: &str = "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";

/// Brokers at different addresses, with the same ports, as in a cluster.
pub(crate) struct Replicas {
    directory: tempfile::TempDir,
    aws: Server,
    pub(crate) addresses: [Ipv4Addr; 3],
    pub(crate) port: u16,
    pub(crate) ops_port: u16,
    running: [Option<Server>; 3],
    /// A token that every broker accepts.
    pub(crate) token: String,
}

impl Replicas {
    /// Starts brokers in the network 127.`network`.0.0/24 with more settings of the server. An AWS call takes 300 ms, so that some calls
    /// are always in flight.
    pub(crate) fn start(network: u8, settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let signer = Signer::new("k");
        let token = signer.token(ISSUER, SUBJECT, seconds(&SystemClock::default()));
        std::fs::write(directory.path().join("jwks.json"), signer.jwks()).unwrap();
        let authority = Authority::new(directory.path(), "ca.pem", "authority");
        let server = authority.server();
        server.write(directory.path(), "tls");
        both(&server, &directory.path().join("broker.pem"));
        std::fs::write(directory.path().join("broker.toml"), config(directory.path(), settings)).unwrap();
        let addresses = [11, 12, 13].map(|host| Ipv4Addr::new(127, network, 0, host));
        let aws = Server::start(&["simulate-aws", "--latency", "300ms", "--listen", "127.0.0.1:0"], &[]);
        let [port, ops_port] = [(); 2].map(|()| free_port(&addresses));
        let mut replicas = Self { directory, aws, addresses, port, ops_port, running: [const { None }; 3], token };
        (0..3).for_each(|number| replicas.start_again(number));
        replicas
    }

    /// The directory with `ca.pem`, `tls.crt`, `tls.key` and both in `broker.pem`.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends a broker with this signal, waits until the others have answered `calls` more together, and starts it again.
    pub(crate) fn restart(&mut self, number: usize, signal: &str, calls: f64) {
        let mut broker = self.running[number].take().unwrap();
        crate::program::signal(broker.pid(), signal);
        let status = broker.wait();
        assert!(status.success() || signal == "KILL", "{status}");
        self.until(|answered| answered.iter().sum::<f64>() >= calls);
        self.start_again(number);
    }

    /// Waits until each of these brokers has answered `calls` more. The output has the number of each.
    pub(crate) fn until_answered(&self, brokers: &[usize], calls: f64) {
        let answered = self.until(|answered| brokers.iter().all(|broker| answered[*broker] >= calls));
        println!("answered by each broker: {answered:?}");
    }

    /// Waits for what the brokers that run have answered since the call of this function; returns it.
    fn until(&self, reached: impl Fn(&[f64; 3]) -> bool) -> [f64; 3] {
        let before = self.answered();
        loop {
            let now = self.answered();
            let answered = [0, 1, 2].map(|number| now[number] - before[number]);
            if reached(&answered) {
                return answered;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Returns the number of calls that each broker has answered since its start.
    fn answered(&self) -> [f64; 3] {
        [0, 1, 2].map(|number| {
            let Some(_running) = &self.running[number] else { return 0.0 };
            let scraped = Scraped::from(&format!("{}:{}", self.addresses[number], self.ops_port));
            scraped.value("rpc_server_call_duration_seconds_count", &[("rpc_method", METHOD)])
        })
    }

    fn start_again(&mut self, number: usize) {
        self.running[number] = Some(self.broker(self.addresses[number]));
    }

    fn broker(&self, address: Ipv4Addr) -> Server {
        let ops = format!("{address}:{}", self.ops_port);
        let mut command = program(&[
            ("AWS_ENDPOINT_URL", self.aws.address.as_str()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("ECR_BROKER_SERVER_OPS_LISTEN", &ops),
        ]);
        command.args(["serve", "--listen", &format!("{address}:{}", self.port), "--config"]);
        command.arg(self.directory().join("broker.toml"));
        Server::spawn_logging(command)
    }
}

fn config(directory: &Path, settings: &str) -> String {
    let place = directory.display();
    format!(
        "[server]\n{settings}\ntls = {{ certificate = \"{place}/tls.crt\", key = \"{place}/tls.key\" }}\n\
         [[authentication.jwt]]\nname = \"blue\"\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\njwks_file = \"{place}/jwks.json\"\n\
         [[grants]]\nid = \"jobs\"\ncallers = [{{ jwt = \"blue\", subject = \"{SUBJECT}\" }}]\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n"
    )
}

/// Writes certificate and key into one file, as haproxy reads them.
fn both(pair: &Pair, file: &Path) {
    std::fs::write(file, [pair.certificate.as_str(), &pair.key].concat()).unwrap();
}

/// Returns a port that is free at all addresses.
fn free_port(addresses: &[Ipv4Addr]) -> u16 {
    loop {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if addresses[1..].iter().all(|address| TcpListener::bind((*address, port)).is_ok()) {
            return port;
        }
    }
}
