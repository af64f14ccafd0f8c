//! Attack harness: the real program within a memory limit, and honest callers beside the attack.
//!
//! A test file declares `mod attack;` and the modules that it uses: `certificates`, `program`, `raw_frames` and `support`. Then:
//!
//! ```ignore
//! let scene = Scene::start(Setup::default()).await;
//! let mut peer = scene.stranger(attacker(1)).await; // TLS without a client certificate, frames by hand
//! peer.send(HEADERS, END_HEADERS, 1, &call(GET)).await.unwrap();
//! scene.end("half a call", "refused at once").await;
//! ```
//!
//! - The broker is `ecr-broker serve` with default settings, a listener with TLS and a Unix socket. Loopback callers are not
//!   authenticated, so attackers may come from any address of 127.0.0.0/8. Its simulated AWS runs in the test's process.
//! - The memory cgroup holds the broker alone; test and attackers are outside. Where cgroups cannot be written, only the peak of
//!   the resident memory (`VmHWM`) is checked. [`MemoryCgroup`] can hold any other command, too.
//! - One honest caller uses the Unix socket, another one a client certificate. A lost call fails the test.
//! - [`Scene::certified`] connects as any other SPIFFE ID, [`Scene::unix`] as the user of the test, [`Scene::user`] and [`Scene::users`] as
//!   another one;
//!   `Setup::tables` gives them grants.
//! - [`Scene::end`] prints the figures, checks them and returns the broker's log.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::fs::{self, Permissions};
use std::future::{pending, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecr_broker::simulator::{self, Controls, Simulator};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, Uid, getrlimit, getuid, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

mod cgroup;
mod honest;

pub use self::cgroup::MemoryCgroup;
pub use self::honest::Honest;

use crate::certificates::{Authority, BROKER, RUNNER};
use crate::program::{Server, program};
use crate::raw_frames::Raw;
use crate::support::Client;

/// Memory that the broker may use under every attack.
pub const MEMORY_MB: u64 = 128;
/// Part of it for the pages of the program, which no attack changes: the shipped program has a quarter of that. They are not measured,
/// for an unoptimised program has more the more code is in it.
const PROGRAM_MB: u64 = 48;
/// Duration of an honest call beyond which it was starved. The machine may be busy with other tests.
const HONEST_LIMIT: Duration = Duration::from_secs(10);
/// Honest calls that must succeed after the attack, for each caller.
const AFTERWARDS: u32 = 10;

/// What differs from the default broker.
pub struct Setup {
    /// Variables such as `ECR_BROKER_LIMITS_IN_FLIGHT`.
    pub environment: Vec<(&'static str, String)>,
    /// Tables to add to the configuration, such as `[[grants]]`.
    pub tables: String,
    /// Memory limit; `None`: no limit is set or checked.
    pub memory_mb: Option<u64>,
    pub simulator: simulator::Settings,
}

/// A broker under attack, with its honest callers.
pub struct Scene {
    pub broker: Server,
    /// The simulated AWS.
    pub aws: Controls,
    pub authority: Authority,
    honest: Vec<Honest>,
    memory_mb: Option<u64>,
    cgroup: Option<MemoryCgroup>,
    tls: TlsConnector,
    directory: tempfile::TempDir,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            tables: String::new(),
            memory_mb: Some(MEMORY_MB),
            simulator: simulator::Settings::default(),
        }
    }
}

impl Scene {
    /// Starts the broker and its honest callers. Needs a runtime with several threads.
    pub async fn start(setup: Setup) -> Self {
        raise_descriptor_limit();
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path(), "a.pem", "authority a");
        let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), setup.simulator.clone()).await.unwrap();
        let (aws, endpoint) = (simulator.controls(), format!("http://{}", simulator.address()));
        tokio::spawn(simulator.run_until(pending()));

        let config = directory.path().join("broker.toml");
        fs::write(&config, configuration(&directory, &authority, &endpoint) + &setup.tables).unwrap();
        let mut command = program(&AWS_KEYS);
        command.envs(setup.environment).args(["serve", "--config"]).arg(&config);
        let cgroup = setup.memory_mb.and_then(|limit| MemoryCgroup::create(limit * 1024 * 1024));
        let command = match &cgroup {
            Some(cgroup) => cgroup.within(&command),
            None => command,
        };
        let broker = Server::spawn_logging(command);

        let (memory_mb, tls) = (setup.memory_mb, connector(&authority, None));
        let mut scene = Self { broker, aws, authority, honest: Vec::new(), memory_mb, cgroup, tls, directory };
        let honest = [("Unix socket", scene.unix()), ("mTLS", scene.certified(RUNNER, Ipv4Addr::LOCALHOST))];
        scene.honest = honest.map(|(name, endpoint)| Honest::start(name, endpoint)).into();
        for caller in &scene.honest {
            caller.more_calls(1).await;
        }
        scene
    }

    /// The address of the listener with TLS.
    pub fn address(&self) -> SocketAddr {
        self.broker.address.strip_prefix("grpcs://").unwrap().parse().unwrap()
    }

    /// Connects as a peer that proves nothing, from `source`; speaks TLS and HTTP/2.
    pub async fn stranger(&self, source: Ipv4Addr) -> Raw<TlsStream<TcpStream>> {
        Raw::open_over(self.try_tls(source).await.unwrap(), &[]).await
    }

    /// Connects as a peer that proves nothing, from `source`; speaks TLS.
    pub async fn try_tls(&self, source: Ipv4Addr) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_over(connect_from(source, self.address()).await?).await
    }

    /// Speaks TLS over a connection, without a client certificate.
    pub async fn tls_over(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls.connect(ServerName::try_from(BROKER).unwrap(), stream).await
    }

    /// Connects as the owner of a certificate for a SPIFFE ID, from `source`; speaks TLS.
    pub async fn certified_tls(&self, id: &str, source: Ipv4Addr) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = connect_from(source, self.address()).await?;
        connector(&self.authority, Some(id)).connect(ServerName::try_from(BROKER).unwrap(), stream).await
    }

    /// Connects to the Unix socket `count` times as another user, if the user of the test is root.
    pub fn users(&self, uid: u32, count: usize) -> Vec<UnixStream> {
        connect_as(&self.socket(), uid, count)
    }

    /// Returns a client of the Unix socket that is another user, if the user of the test is root.
    pub async fn user(&self, uid: u32) -> Client {
        client_as(&self.socket(), uid).await
    }

    /// Returns the endpoint of a client with a certificate for a SPIFFE ID, at `source`.
    pub fn certified(&self, id: &str, source: Ipv4Addr) -> Endpoint {
        let pair = self.authority.workload(id);
        let tls = self.anonymous_tls().identity(Identity::from_pem(&pair.certificate, &pair.key));
        self.endpoint(source).tls_config(tls).unwrap()
    }

    /// Returns the endpoint of a client without a certificate, at `source`, for calls with a token or none.
    pub fn anonymous(&self, source: Ipv4Addr) -> Endpoint {
        self.endpoint(source).tls_config(self.anonymous_tls()).unwrap()
    }

    /// Returns the endpoint of the Unix socket.
    pub fn unix(&self) -> Endpoint {
        Endpoint::from_shared(format!("unix://{}", self.socket().display())).unwrap()
    }

    /// The path of the Unix socket.
    pub fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("broker.sock")
    }

    /// The directory of configuration and socket, for files of the test.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Waits until each honest caller has had this many more calls answered.
    pub async fn more_honest_calls(&self, calls: u32) {
        for caller in &self.honest {
            caller.more_calls(calls).await;
        }
    }

    /// Ends the scene: no honest call was lost or starved, the broker lives and stayed within its memory. Returns its log.
    pub async fn end(mut self, name: &str, figure: &str) -> String {
        self.more_honest_calls(AFTERWARDS).await;
        let ended = self.broker.ended();
        assert!(ended.is_none(), "{name}: the broker has ended: {ended:?}");
        let (peak, limited) = (self.broker.peak_memory_mb() - self.broker.file_memory_mb(), self.cgroup.is_some());
        let reports: Vec<_> = self.honest.drain(..).map(Honest::end).collect();
        let calls: Vec<_> = reports.iter().map(ToString::to_string).collect();
        println!(
            "{name}: {figure}; {}; memory {peak} MB at most beside the program, limited by a cgroup: {limited}",
            calls.join("; ")
        );
        for report in &reports {
            assert!(report.slowest < HONEST_LIMIT, "{name}: {report}");
        }
        assert!(self.memory_mb.is_none_or(|limit| peak < limit - PROGRAM_MB), "{name}: {peak} MB");
        self.broker.stop()
    }

    fn endpoint(&self, source: Ipv4Addr) -> Endpoint {
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address())).unwrap();
        endpoint.local_address(Some(IpAddr::V4(source)))
    }

    fn anonymous_tls(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.authority.pem())).domain_name(BROKER)
    }
}

/// Connects to a Unix socket `count` times as another user, if the user of the test is root.
pub fn connect_as(socket: &Path, uid: u32, count: usize) -> Vec<UnixStream> {
    fs::set_permissions(socket.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(socket, Permissions::from_mode(0o666)).unwrap();
    let socket = socket.to_owned();
    let connect = move || {
        if getuid().is_root() {
            // The other threads keep their user.
            rustix::thread::set_thread_res_uid(None, Uid::from_raw(uid), None).unwrap();
        }
        (0..count).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect::<Vec<_>>()
    };
    let streams = std::thread::spawn(connect).join().unwrap();
    let tokio = |stream: std::os::unix::net::UnixStream| {
        stream.set_nonblocking(true).unwrap();
        UnixStream::from_std(stream).unwrap()
    };
    streams.into_iter().map(tokio).collect()
}

/// Returns a client of a Unix socket that is another user, if the user of the test is root.
pub async fn client_as(socket: &Path, uid: u32) -> Client {
    let mut streams = connect_as(socket, uid, 1).into_iter().map(TokioIo::new);
    let closed = || std::io::Error::from(std::io::ErrorKind::NotConnected);
    let connector = tower::service_fn(move |_: Uri| ready(streams.next().ok_or_else(closed)));
    Client::new(Endpoint::from_static("http://broker").connect_with_connector(connector).await.unwrap())
}

const AWS_KEYS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "example"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_REGION", "eu-central-1"),
];

/// Returns an address of attackers. The honest callers use others.
pub fn attacker(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, number)
}

/// Connects from `source`, an address of 127.0.0.0/8.
pub async fn connect_from(source: Ipv4Addr, target: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The configuration of the broker; the honest callers have a grant.
fn configuration(directory: &tempfile::TempDir, authority: &Authority, aws: &str) -> String {
    let (certificate, key) = authority.server().write(directory.path(), "server");
    let socket = directory.path().join("broker.sock");
    format!(
        "server.listen = [\"127.0.0.1:0\", \"unix:{}\"]\n\
         server.tls = {{ certificate = \"{}\", key = \"{}\" }}\n\
         authentication.client_ca = {{ \"a.example\" = \"{}\" }}\n\
         aws.ecr_endpoint = \"{aws}\"\n\
         aws.ecr_public_endpoint = \"{aws}\"\n\
         aws.sts_endpoint = \"{aws}\"\n\
         [[grants]]\n\
         id = \"honest\"\n\
         callers = [{{ uid = {} }}, {{ spiffe = \"{RUNNER}\" }}]\n\
         registries = [{{ accounts = [\"123456789012\"], regions = [\"eu-central-1\"] }}]\n",
        socket.display(),
        certificate.display(),
        key.display(),
        authority.file.display(),
        getuid().as_raw(),
    )
}

/// Returns the connector of a client, with a certificate for a SPIFFE ID if one is given.
fn connector(authority: &Authority, id: Option<&str>) -> TlsConnector {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match id.map(|id| authority.workload(id)) {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Attackers need many descriptors.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}
