//! Settings of a client, complete and checked.

use std::path::PathBuf;
use std::time::Duration;

use super::address::Address;
use super::token::Tokens;
use crate::bearer_token::BearerToken;

/// The broker's addresses, and how a client authenticates to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses, tried in this order.
    pub addresses: Vec<Address>,
    /// Whether the user configured the addresses. Only then may a token travel over plaintext TCP, and loopback be used beside
    /// sockets that exist.
    pub addresses_configured: bool,
    /// Bearer tokens from a source, which is asked again before each ends.
    pub tokens: Option<Tokens>,
    /// Bearer token that takes precedence over the source.
    pub token: Option<BearerToken>,
    /// CA certificates that replace the system's.
    pub tls_ca: Option<PathBuf>,
    /// Certificate and key of the client.
    pub tls_identity: Option<(PathBuf, PathBuf)>,
    /// Whether certificate and key come from the SPIFFE Workload API, for each connection.
    pub has_x509_svid: bool,
    /// Time limit for connecting, within `timeout`. A helper does not wait as long for a broker as for an answer.
    pub connect_timeout: Duration,
    /// Time limit for connecting and the answer together.
    pub timeout: Duration,
}

impl Settings {
    /// Returns the settings without the default loopback address, for commands that write credentials for other programs: any user of
    /// the host may listen there while no broker does.
    #[must_use]
    pub fn without_default_loopback(mut self) -> Self {
        if !self.addresses_configured {
            self.addresses.retain(Address::is_socket);
        }
        self
    }
}
