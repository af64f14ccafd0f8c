//! The input of a diagnosis.

use std::time::Duration;

use super::origin::Origin;
use super::registry::RegistryUrl;
use super::tools::ToolPaths;
use crate::client::{PartialConfig, Paths};
use crate::terminal::Format;

/// The input of a diagnosis, as flags and variables give it.
#[derive(Debug)]
pub struct Request {
    /// Registry host, URL or image reference. Without one the last step lists what the caller may request.
    pub registry: Option<String>,
    /// URL that receives the credential instead of the registry's own.
    pub registry_url: Option<RegistryUrl>,
    /// Time limit of the whole diagnosis; `None` for the default.
    pub timeout: Option<Duration>,
    /// Client settings from flags and variables.
    pub settings: PartialConfig,
    /// Origins of these settings, by name.
    pub origins: Vec<(&'static str, Origin)>,
    /// The user's directories.
    pub paths: Paths,
    /// Files of docker and podman.
    pub tools: ToolPaths,
    /// Output format.
    pub format: Format,
}

impl Request {
    /// Returns the origin of a setting from a flag or a variable.
    pub(super) fn origin(&self, name: &str) -> Origin {
        let origin = self.origins.iter().find(|(known, _)| *known == name);
        origin.map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}
