//! Dialer: connects to the first address of a broker that answers, and retries until a deadline.
//!
//! Configured addresses are equal: one starts after the head start of the one before, or as soon as that one fails. Of the default
//! addresses, loopback is for a host without a default socket. Once a socket was there, loopback could be another user's program
//! that waits for the broker to stop.

use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint, Identity};

use self::attempts::Attempts;
pub(super) use self::attempts::Persistence;
use super::address::Address;
use super::connection::{self, Connection};
use super::connector;
use super::failure::Failure;
use super::problem::Problem;
use super::settings::Settings;

mod attempts;

/// The addresses of a broker, without those that this client must not use any more.
#[derive(Debug, Clone)]
pub(super) struct Dialer<'a> {
    settings: &'a Settings,
    addresses: Vec<Address>,
}

/// Endpoints of the addresses that were tried. Certificates are read once, not for every attempt.
#[derive(Debug)]
struct Endpoints<'a> {
    settings: &'a Settings,
    identity: Option<Identity>,
    known: Vec<(Address, Endpoint)>,
}

impl<'a> Dialer<'a> {
    /// Dials all addresses of the settings.
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, addresses: settings.addresses.clone() }
    }

    /// Dials this address only.
    pub(super) fn to(settings: &'a Settings, address: &Address) -> Self {
        Self { settings, addresses: vec![address.clone()] }
    }

    /// Returns whether the next connection may have another token or certificate once one has ended.
    pub(super) fn renews_proof(&self) -> bool {
        let Settings { token, tokens, tls_identity, has_x509_svid, .. } = self.settings;
        token.is_none() && (tokens.is_some() || tls_identity.is_some() || *has_x509_svid)
    }

    /// Returns the deadline of a call that starts now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.settings.timeout
    }

    /// Connects to the first address that answers. The connection has the same deadline; a failure names the time since `since`.
    pub(super) async fn open(
        &mut self,
        since: Instant,
        deadline: Instant,
        persistence: Persistence,
    ) -> Result<Connection<'a>, Failure> {
        let settings = self.settings;
        let identity = timeout_at(deadline, connection::issued_identity(settings)).await;
        let identity = identity.map_err(|_| Failure::timed_out())?.map_err(Failure::local)?;
        let mut endpoints = Endpoints { settings, identity, known: Vec::new() };
        let connect = |address: &Address| endpoints.connect(address);
        let mut attempts = Attempts::new(&self.addresses, settings.addresses_configured, connect);
        let limit = Instant::now().checked_add(settings.connect_timeout).map_or(deadline, |limit| limit.min(deadline));
        let connected = timeout_at(limit, attempts.run(persistence)).await.unwrap_or_default();
        let is_loopback_barred = attempts.is_loopback_barred();
        let failure = attempts.failure(since.elapsed());
        if is_loopback_barred {
            self.addresses.retain(Address::is_socket);
        }
        let (address, channel) = connected.ok_or(failure)?;
        Ok(Connection { settings, channel, address, deadline })
    }
}

impl Endpoints<'_> {
    /// Starts an attempt.
    fn connect(&mut self, address: &Address) -> impl Future<Output = Result<Channel, Problem>> + Send + use<> {
        let (endpoint, address) = (self.endpoint(address), address.clone());
        async move { connector::open(&endpoint?, address).await.map_err(|error| Problem::of(&error)) }
    }

    fn endpoint(&mut self, address: &Address) -> Result<Endpoint, Problem> {
        if let Some((_, endpoint)) = self.known.iter().find(|(known, _)| known == address) {
            return Ok(endpoint.clone());
        }
        let endpoint =
            connection::endpoint(address, self.settings, self.identity.clone()).map_err(Problem::of_settings)?;
        self.known.push((address.clone(), endpoint.clone()));
        Ok(endpoint)
    }
}
