//! Questions that are asked once: what comes back is what the broker says now, and not what it says after a while.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Client, Failure, LARGEST_ANSWER, Query, RegistryCredentials};
use crate::pb::registry_access::Target;
use crate::pb::registry_credentials_service_client::RegistryCredentialsServiceClient;
use crate::pb::{GetRegistryCredentialsRequest, ListRegistriesRequest};

/// Something that the caller may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// A registry's host, or a pattern of hosts.
    pub name: String,
    /// The profile that would mint its credential.
    pub profile: String,
    /// When the credential that the broker holds ends, where it holds one.
    pub expires: Option<SystemTime>,
}

impl Client<'_> {
    /// Gives what comes next this much time from now.
    pub fn allow(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }

    /// Asks for one registry's credentials, and for others than those of this id, which the registry refused; empty where it refused none.
    ///
    /// # Errors
    /// Where the broker gives none.
    pub async fn credentials_once(&self, query: &Query, rejected: &str) -> Result<RegistryCredentials, Failure> {
        let message = GetRegistryCredentialsRequest { rejected_credential_id: rejected.to_owned(), ..query.into() };
        let mut client =
            RegistryCredentialsServiceClient::new(self.link.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        let answer = self.within(client.get_registry_credentials(self.request(message)?)).await?;
        answer.credentials.ok_or_else(Failure::empty)
    }

    /// The first of what the caller may ask for, and whether there is more.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub async fn accesses(&self, most: i32) -> Result<(Vec<Access>, bool), Failure> {
        let mut client = RegistryCredentialsServiceClient::new(self.link.channel.clone());
        let request = ListRegistriesRequest { page_size: most, page_token: String::new() };
        let page = self.within(client.list_registries(self.request(request)?)).await?;
        let access = |listed: crate::pb::RegistryAccess| {
            let (Target::Registry(name) | Target::RegistryPattern(name)) = listed.target?;
            let expires = listed.expire_time.and_then(|time| time.try_into().ok());
            Some(Access { name, profile: listed.profile, expires })
        };
        Ok((page.registries.into_iter().filter_map(access).collect(), !page.next_page_token.is_empty()))
    }
}
