//! Replicas in this process, and the simulated AWS behind them, which counts their calls.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ecr_broker::app::auth_material::AuthMaterial;
use ecr_broker::app::{App, Parts};
use ecr_broker::cache::CredentialCache;
use ecr_broker::clock::{Clock, SystemClock};
use ecr_broker::config::{Config, Files, Sources};
use ecr_broker::credential::Credential;
use ecr_broker::error::BrokerError;
use ecr_broker::metrics::{Exposition, Format};
use ecr_broker::simulator::{Controls, FaultRate, Settings, Simulator};
use ecr_broker::source::shared_cache::key_file::KeyFile;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::program::run;
use super::support::lookup;

/// No test waits this long, unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The longest time limit of an operation. Replicas in this process then have more, for the machine may be busy.
pub const PATIENT: &str = "timeout = \"500ms\"";
/// Added latency of one operation, as configured by default.
pub const TIMEOUT: Duration = Duration::from_millis(100);

/// Brokers with one configuration, and the AWS that they call.
pub struct Fleet {
    pub aws: Controls,
    pub endpoint: String,
    directory: TempDir,
    /// Lines of `[shared_cache]`.
    section: String,
    started: AtomicUsize,
    _simulator: JoinHandle<()>,
}

/// A broker. Dropping it ends it without a shutdown.
pub struct Replica {
    pub cache: CredentialCache,
    pub keys: Option<Arc<KeyFile>>,
    exposition: Exposition,
    running: JoinHandle<()>,
}

impl Fleet {
    /// A fleet with a shared cache at `url`. Its operations have much time: the machine of a test may be busy.
    pub async fn new(url: &str) -> Self {
        Self::with(&format!("url = \"{url}\"\n{PATIENT}")).await
    }

    /// A fleet whose section `[shared_cache]` has these lines beside the keys file and the identity.
    pub async fn with(section: &str) -> Self {
        let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), Settings::default()).await.unwrap();
        let (aws, endpoint) = (simulator.controls(), format!("http://{}", simulator.address()));
        let directory = tempfile::tempdir().unwrap();
        write_secret(&directory.path().join("keys"), &run(&["keygen"], &[]).out());
        Self {
            aws,
            endpoint,
            directory,
            section: section.to_owned(),
            started: AtomicUsize::new(0),
            _simulator: tokio::spawn(simulator.run_until(std::future::pending())),
        }
    }

    pub fn keys_file(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration of one more replica, and returns its file.
    pub fn configuration(&self) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let (file, socket) = (self.path(&format!("{number}.toml")), self.path(&format!("{number}.sock")));
        let text = format!(
            "server.listen = [\"unix:{}\"]\n[aws]\nregion = \"eu-central-1\"\necr_endpoint = \"{endpoint}\"\n\
             sts_endpoint = \"{endpoint}\"\n[shared_cache]\nkeys_file = \"{}\"\nidentity = \"farm\"\n{}\n",
            socket.display(),
            self.keys_file().display(),
            self.section,
            endpoint = self.endpoint,
        );
        fs::write(&file, text).unwrap();
        file
    }

    pub async fn replica(&self) -> Replica {
        let sources = Sources { files: Files::read(Some(&self.configuration())), ..Sources::default() };
        let mut config = Config::load(&sources).unwrap();
        config.aws.simulated_credentials = true;
        let server = &mut config.shared_cache.as_mut().unwrap().server;
        let is_patient = server.timeout > TIMEOUT;
        if is_patient {
            server.timeout = PATIENCE;
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let auth = AuthMaterial::load(&config, &clock).unwrap();
        let keys = auth.shared_cache_keys.clone();
        let app = Box::pin(App::build(config, Parts { auth, ..Parts::new(clock) })).await.unwrap();
        let (cache, exposition) = (app.cache(), app.exposition());
        let running = tokio::spawn(app.run(std::future::pending()));
        let replica = Replica { cache, keys, exposition, running };
        if is_patient {
            replica.until("connected").await;
        }
        replica
    }

    pub async fn replicas(&self, count: usize) -> Vec<Replica> {
        join_all((0..count).map(|_| self.replica())).await
    }

    /// Makes every call to AWS fail, or none.
    pub fn fail(&self, fault: Option<&str>) {
        self.aws
            .set_faults(fault.map(|fault| format!("{fault}=1").parse::<FaultRate>().unwrap()).into_iter().collect());
    }
}

impl Replica {
    pub async fn get(&self, host: &str) -> Result<Arc<Credential>, BrokerError> {
        let found = timeout(PATIENCE, self.cache.get(lookup(host))).await.expect("an answer");
        found.map(|found| found.credential)
    }

    /// Returns the password, and how long it took.
    pub async fn timed(&self, host: &str) -> (String, Duration) {
        let started = Instant::now();
        let credential = self.get(host).await.unwrap();
        (credential.password().expose().to_owned(), started.elapsed())
    }

    /// Returns a figure of a scrape; zero if there is none.
    pub fn figure(&self, series: &str) -> f64 {
        let text = self.exposition.encode(Format::Prometheus);
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    pub fn has_server(&self, state: &str) -> bool {
        self.figure(&format!("ecr_broker_shared_cache_servers{{state=\"{state}\"}}")) >= 1.0
    }

    /// Waits until the breaker has opened or closed.
    pub async fn until(&self, state: &str) {
        let reached = async {
            while !self.has_server(state) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("no server is {state}"));
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Asks all replicas for one registry at once; returns the passwords.
pub async fn ask(replicas: &[Replica], host: &str) -> Vec<String> {
    let asked = join_all(replicas.iter().map(|replica| replica.get(host))).await;
    asked.into_iter().map(|credential| credential.unwrap().password().expose().to_owned()).collect()
}

pub fn write_secret(file: &Path, text: &str) {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
