//! Dialling: from the address of a server to a link that has proved to work.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Value;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::{debug, warn};

use super::credentials::Credentials;
use super::fault::{Fault, FaultClass};
use super::link::{Driver, Link};
use super::scripts::{Call, EntryKeys, Script, Scripts};
use super::settings::Settings;
use super::target::Address;
use crate::sync::lock;

/// Time limit for a connection with its TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_millis(250);

/// Where a node is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    At(Address),
    /// At the address that Sentinels know, which changes.
    PrimaryOf {
        sentinels: Vec<Address>,
        primary: String,
    },
    /// A node of a cluster. It answers for its own slots only.
    InCluster(Address),
}

/// Opens links.
#[derive(Debug)]
pub(super) struct Dialer {
    settings: Settings,
    probe: Script,
    probe_keys: EntryKeys,
    /// What the log said of unreadable files.
    problem: Mutex<Option<String>>,
}

impl Place {
    /// Returns the address, or the name of the primary, for logs.
    pub(super) fn name(&self) -> String {
        match self {
            Self::At(address) | Self::InCluster(address) => address.to_string(),
            Self::PrimaryOf { primary, .. } => format!("primary {primary}"),
        }
    }

    pub(super) fn is_in_cluster(&self) -> bool {
        matches!(self, Self::InCluster(_))
    }
}

impl Dialer {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let probe_keys = EntryKeys::of_probe(&settings.prefix);
        Arc::new(Self { probe: Scripts::new().probe, probe_keys, settings, problem: Mutex::default() })
    }

    /// Opens a link, authenticates and lets the server show that it works.
    pub(super) async fn open(self: &Arc<Self>, place: &Place) -> Result<(Link, Driver), Fault> {
        let credentials = self.read_credentials().await?;
        let address = match place {
            Place::At(address) | Place::InCluster(address) => address.clone(),
            Place::PrimaryOf { sentinels, primary } => self.find(sentinels, primary, &credentials).await?,
        };
        let (link, mut driver) = connect(&address, &credentials).await?;
        let greeting = async {
            self.authenticate(&link, &credentials).await?;
            self.probe(&link, place).await
        };
        driver.drive(&link, self.settings.timeout, greeting).await?;
        Ok((link, driver))
    }

    async fn read_credentials(self: &Arc<Self>) -> Result<Credentials, Fault> {
        let dialer = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || Credentials::read(&dialer.settings)).await;
        let read = read.unwrap_or_else(|_| Err("reading was interrupted".to_owned()));
        let (credentials, problem) = match read {
            Ok(credentials) => (Ok(credentials), None),
            Err(problem) => (Err(FaultClass::Files.into()), Some(problem)),
        };
        let mut logged = lock(&self.problem);
        if let Some(problem) = problem.as_ref().filter(|_| problem != *logged) {
            warn!(problem, "shared cache credentials unreadable");
        }
        *logged = problem;
        credentials
    }

    /// Asks the Sentinels, one after the other, for the address of the primary.
    async fn find(&self, sentinels: &[Address], primary: &str, credentials: &Credentials) -> Result<Address, Fault> {
        for sentinel in sentinels {
            match self.ask(sentinel, primary, credentials).await {
                Ok(address) => return Ok(address),
                Err(fault) => debug!(%sentinel, fault = fault.class().as_str(), "Sentinel named no primary"),
            }
        }
        Err(FaultClass::NoPrimary.into())
    }

    async fn ask(&self, sentinel: &Address, primary: &str, credentials: &Credentials) -> Result<Address, Fault> {
        let (link, mut driver) = connect(sentinel, credentials).await?;
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
        let asked = async {
            match link.command(&question).await {
                // Few Sentinels have a password. It is that of the server, or this one cannot be asked.
                Err(fault) if fault.class() == FaultClass::Denied => {
                    self.authenticate(&link, credentials).await?;
                    link.command(&question).await
                }
                answer => answer,
            }
        };
        address_of(driver.drive(&link, CONNECT_LIMIT, asked).await?)
    }

    async fn authenticate(&self, link: &Link, credentials: &Credentials) -> Result<(), Fault> {
        let Some(password) = &credentials.password else { return Ok(()) };
        let mut command = redis::cmd("AUTH");
        if let Some(username) = &self.settings.username {
            command.arg(username);
        }
        link.command(command.arg(password.as_str())).await.map(drop).map_err(|fault| match fault {
            // Of a server without a password, or of an unknown command.
            Fault::Of(FaultClass::Invalid) if !link.has_refused() => FaultClass::Denied.into(),
            fault => fault,
        })
    }

    async fn probe(&self, link: &Link, place: &Place) -> Result<(), Fault> {
        let call = Call { script: &self.probe, keys: &self.probe_keys, arguments: &[] };
        match link.call(&call, false).await {
            Ok(Value::Int(_)) => Ok(()),
            Ok(_) => Err(FaultClass::Invalid.into()),
            Err(Fault::Moved(_) | Fault::Ask(_)) if place.is_in_cluster() => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}

async fn connect(address: &Address, credentials: &Credentials) -> Result<(Link, Driver), Fault> {
    let connected = timeout(CONNECT_LIMIT, connect_unlimited(address, credentials)).await;
    connected.unwrap_or(Err(FaultClass::Timeout.into()))
}

async fn connect_unlimited(address: &Address, credentials: &Credentials) -> Result<(Link, Driver), Fault> {
    let unreachable = |_| Fault::Of(FaultClass::Unreachable);
    let (host, port) = match address {
        Address::Unix(path) => return Link::open(UnixStream::connect(path).await.map_err(unreachable)?).await,
        Address::Tcp { host, port } => (host, *port),
    };
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let Some(tls) = &credentials.tls else { return Link::open(stream).await };
    let name = ServerName::try_from(host.clone()).map_err(|_| FaultClass::Tls)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(|_| FaultClass::Tls)?;
    Link::open(stream).await
}

/// Reads a Sentinel's answer.
fn address_of(answer: Value) -> Result<Address, Fault> {
    let no_primary = || Fault::Of(FaultClass::NoPrimary);
    let Value::Array(parts) = answer else { return Err(no_primary()) };
    let texts: Vec<_> = parts.into_iter().filter_map(text).collect();
    let [host, port] = texts.as_slice() else { return Err(no_primary()) };
    Address::parse_node(&format!("{host}:{port}")).ok_or_else(no_primary)
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        _ => None,
    }
}
