//! Settings for programs that use the client as a library: of given addresses, or those that the commands would use.

use super::address::{AddressError, Addresses};
use super::config::{ConfigError, DEFAULT_TIMEOUT, MAX_TIMEOUT, PartialConfig, Paths};
use super::settings::Settings;

impl Settings {
    /// Returns settings with these addresses, with the default timeout and without token and certificates. Set the fields for those.
    ///
    /// The text has commas between the addresses: `unix:/run/ecr-broker/broker.sock` or `https://a.example,https://b.example`.
    ///
    /// # Errors
    /// Returns an error if a part of the text is not an address, or if it has none.
    pub fn for_addresses(text: &str) -> Result<Self, AddressError> {
        let Addresses(addresses) = text.parse()?;
        if addresses.is_empty() {
            return Err(AddressError::of(text));
        }
        Ok(Self {
            addresses,
            addresses_configured: true,
            tokens: None,
            token: None,
            tls_ca: None,
            tls_identity: None,
            has_x509_svid: false,
            connect_timeout: MAX_TIMEOUT,
            timeout: DEFAULT_TIMEOUT,
        })
    }

    /// Returns the settings of `ecr-broker get` without flags: from the variables `ECR_BROKER_…`, then from `client.toml`.
    ///
    /// # Errors
    /// Returns an error if a variable or a file has a mistake.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let paths = Paths::from_environment();
        let config = PartialConfig::from_flags_or_environment(|_| None)?.or(paths.files()?);
        Ok(config.settings(&paths)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Address;

    #[test]
    fn settings_for_addresses_have_them_in_order_and_need_one() {
        let settings = Settings::for_addresses("unix:/a.sock, https://b.example:1").unwrap();
        assert_eq!(settings.addresses, [Address::Unix("/a.sock".into()), Address::Tls("b.example:1".into())]);
        assert!(settings.addresses_configured && settings.timeout == DEFAULT_TIMEOUT);
        for text in ["", " , ", "ftp://a"] {
            assert!(Settings::for_addresses(text).is_err(), "{text:?}");
        }
    }
}
