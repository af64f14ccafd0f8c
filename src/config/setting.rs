//! A setting: its name, default, accepted values and explanation.

use toml::Value;

use super::value_type::{EnvFormat, Expected, Read};

/// A setting with values of type `T`.
pub(super) struct Setting<T: 'static> {
    pub(super) meta: SettingMeta,
    pub(super) read: Read<T>,
}

/// The facts about a setting that do not depend on the type of its values.
#[derive(Clone, Copy)]
pub(super) struct SettingMeta {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    /// The default in TOML; empty: the setting has none.
    pub(super) default: &'static str,
    /// A value in TOML where the default does not show the syntax; else empty.
    pub(super) example: &'static str,
    pub(super) env_format: EnvFormat,
    pub(super) expected: Expected,
    /// The lines of the explanation, each with the space that its doc comment begins with.
    pub(super) doc: &'static [&'static str],
}

/// A section and its settings.
pub(super) struct Section {
    /// The name between the brackets; empty: its settings stand above every section.
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
    pub(super) settings: &'static [SettingMeta],
}

impl<T> Setting<T> {
    /// Reads a value; an error does not name the setting.
    pub(super) fn read(&self, value: &Value) -> Result<T, String> {
        (self.read)(value, self.meta.expected)
    }
}

impl SettingMeta {
    /// Returns the name in diagnostics and flags, such as `server.tls.key`.
    pub(super) fn name(&self) -> String {
        if self.section.is_empty() { self.key.to_owned() } else { format!("{}.{}", self.section, self.key) }
    }

    /// Returns the environment variable, such as `ECR_BROKER_SERVER_TLS_KEY`.
    pub(super) fn variable(&self) -> String {
        variable_prefix(self.section) + &self.key.to_ascii_uppercase()
    }
}

/// Returns the prefix of a section's environment variables, such as `ECR_BROKER_SERVER_TLS_`.
pub(super) fn variable_prefix(section: &str) -> String {
    let separator = if section.is_empty() { "" } else { "_" };
    format!("ECR_BROKER_{section}{separator}").replace('.', "_").to_ascii_uppercase()
}
