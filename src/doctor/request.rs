//! What to diagnose, as the command line gives it.

use std::time::Duration;

use super::origin::Origin;
use super::registry::RegistryUrl;
use super::tools::ToolPaths;
use crate::client::{PartialConfig, Paths};

/// A diagnosis to make.
#[derive(Debug)]
pub struct Request {
    /// A registry host, URL or image reference; without one the last step lists what the caller may request.
    pub registry: Option<String>,
    /// The URL that gets the registry's check instead of the registry's own.
    pub registry_url: Option<RegistryUrl>,
    /// The time for all checks together; `None` for the default.
    pub timeout: Option<Duration>,
    /// The client settings that flags and variables give.
    pub given: PartialConfig,
    /// The origin of each of these settings, by its name.
    pub origins: Vec<(&'static str, Origin)>,
    /// The user's directories.
    pub home: Paths,
    /// The files of docker and podman.
    pub tools: ToolPaths,
}

impl Request {
    /// Returns the origin of a setting that a flag or variable gives.
    pub(super) fn origin(&self, name: &str) -> Origin {
        let origin = self.origins.iter().find(|(given, _)| *given == name);
        origin.map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}
