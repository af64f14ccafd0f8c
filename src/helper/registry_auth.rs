//! Credentials as a request to a registry carries them.

use data_encoding::BASE64;

use crate::client::{AuthScheme, RegistryCredentials};

/// Returns the value of Basic authentication, which is also the `auth` field of docker's auth files.
#[must_use]
pub fn basic(username: &str, password: &str) -> String {
    BASE64.encode(format!("{username}:{password}").as_bytes())
}

/// Returns the Authorization header of a direct request.
#[must_use]
pub fn authorization(credentials: &RegistryCredentials) -> String {
    let scheme = if credentials.auth_scheme() == AuthScheme::Bearer { "Bearer" } else { "Basic" };
    format!("{scheme} {}", basic(&credentials.username, &credentials.password))
}
