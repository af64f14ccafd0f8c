//! Calls to the API server.

use std::fmt;
use std::time::Duration;

use kube::Client;
use kube::core::Request;
use kube::core::params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::applied::Applied;
use super::config;
use super::error::{ApiError, Scope};
use super::field_managers::FIELD_MANAGER;
use super::name::{SecretName, Selector};
use super::secret::{Manifest, Secret};
use super::sensitive::Sensitive;

/// Limit of a call, with its connection.
const CALL_TIMEOUT: Duration = Duration::from_secs(17);

/// A client of an API server.
#[derive(Clone)]
pub struct Api {
    client: Client,
    /// The API server's address in messages.
    server: String,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A list of objects, of which only the names are read.
#[derive(Deserialize)]
struct Names {
    items: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    metadata: NamedMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedMetadata {
    name: String,
    #[serde(default)]
    deletion_timestamp: Option<String>,
}

impl Api {
    /// Loads the configuration. Does not connect yet.
    ///
    /// # Errors
    /// Returns what the configuration lacks.
    pub async fn load() -> Result<Self, String> {
        let config = config::load().await?;
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| ApiError::from(error).message)?;
        Ok(Self::new(client, server.trim_end_matches('/').to_owned()))
    }

    /// Calls by a client of kube-rs.
    #[must_use]
    pub fn new(client: Client, server: String) -> Self {
        Self { client, server }
    }

    /// Returns the API server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns a Secret; `None` if it is not there.
    ///
    /// # Errors
    /// Returns why it cannot be read.
    pub async fn secret(&self, name: &SecretName) -> Result<Option<Secret>, ApiError> {
        match self.call(secrets(name).get(&name.name, &GetParams::default())).await {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.scope == Scope::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Applies a manifest on the server, without force. Creates the Secret if it is not there. Returns whether it has changed.
    ///
    /// # Errors
    /// Returns why the API server refuses it; that the version differs if another manager has created the Secret since it was read.
    pub async fn apply(
        &self,
        name: &SecretName,
        manifest: &Manifest,
        stored: Option<&Secret>,
    ) -> Result<bool, ApiError> {
        let body = manifest.body(name, stored.map(Secret::resource_version));
        let answered = |error: ApiError| without_values(error.of_write(), |text| manifest.is_repeated_in(text));
        let applied = self.patch(name, &body).await.map_err(answered)?;
        if stored.is_none() && applied.is_of_another() {
            // Until it succeeds the object has the credential, which a webhook may quote.
            self.release(name, applied.resource_version()).await.map_err(answered)?;
            return Err(ApiError::changed("another manager created the Secret at the same time".to_owned()));
        }
        Ok(stored.is_none_or(|stored| stored.resource_version() != applied.resource_version()))
    }

    /// Gives up all fields of a Secret, so that one of another manager is as before. `sensitive`: its values.
    ///
    /// # Errors
    /// Returns why the API server refuses it: the Secret still has the label and the credential.
    pub async fn give_up(&self, name: &SecretName, stored: &Secret, sensitive: &Sensitive) -> Result<(), ApiError> {
        let answer = self.release(name, stored.resource_version()).await;
        answer.map_err(|error| without_values(error.of_write(), |text| sensitive.is_repeated_in(text)))
    }

    /// Apply has no precondition that an object is absent, and RBAC cannot limit a create without apply to names. So what was applied to a
    /// Secret of another manager is given up.
    async fn release(&self, name: &SecretName, version: &str) -> Result<(), ApiError> {
        // With the version, because an apply would create a Secret that was deleted.
        let metadata = json!({ "name": name.name, "namespace": name.namespace, "resourceVersion": version });
        let body = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata });
        self.patch(name, &body).await.map(drop)
    }

    async fn patch(&self, name: &SecretName, body: &impl Serialize) -> Result<Applied, ApiError> {
        let parameters = PatchParams::apply(FIELD_MANAGER);
        self.call(secrets(name).patch_metadata(&name.name, &parameters, &Patch::Apply(body))).await
    }

    /// Deletes a Secret that has not changed since it was read. `sensitive`: its values.
    ///
    /// # Errors
    /// Returns why the API server refuses it.
    pub async fn delete(&self, name: &SecretName, stored: &Secret, sensitive: &Sensitive) -> Result<(), ApiError> {
        let preconditions = Preconditions {
            resource_version: Some(stored.resource_version().to_owned()),
            uid: Some(stored.uid().to_owned()),
        };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let answer = self.call(secrets(name).delete(&name.name, &parameters)).await;
        let _: serde::de::IgnoredAny =
            answer.map_err(|error| without_values(error.of_write(), |text| sensitive.is_repeated_in(text)))?;
        Ok(())
    }

    /// Returns the namespaces with a label, without those that are being deleted.
    ///
    /// # Errors
    /// Returns why they cannot be listed.
    pub async fn namespaces(&self, selector: &Selector) -> Result<Vec<String>, ApiError> {
        let parameters = ListParams::default().labels(&selector.to_string());
        let names: Names = self.call(Request::new("/api/v1/namespaces").list_metadata(&parameters)).await?;
        let kept = names.items.into_iter().filter(|named| named.metadata.deletion_timestamp.is_none());
        Ok(kept.map(|named| named.metadata.name).collect())
    }

    /// Sends a request and reads its answer. kube-rs's own functions would log an answer that they cannot parse.
    async fn call<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let answer = timeout(CALL_TIMEOUT, self.client.request_text(request)).await;
        let late = |_| ApiError::unreachable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
        let text = Zeroizing::new(answer.map_err(late)??);
        serde_json::from_str(&text).map_err(|_| ApiError::unreadable())
    }
}

fn secrets(SecretName { namespace, .. }: &SecretName) -> Request {
    Request::new(format!("/api/v1/namespaces/{namespace}/secrets"))
}

/// Drops a message that repeats a value, as an admission webhook may write it.
fn without_values(error: ApiError, is_repeated: impl Fn(&str) -> bool) -> ApiError {
    if is_repeated(&error.message) {
        let message = "the API server's message repeats the credential, and is not shown".to_owned();
        return ApiError { message, ..error };
    }
    error
}
