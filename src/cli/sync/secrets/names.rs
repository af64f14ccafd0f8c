//! The Secrets that the command line names.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::cli::sync::target::Problem;
use crate::exit_code::Exit;
use crate::kubernetes::{ApiError, SecretName, Selector};
use crate::kubernetes_name;

/// The subject of problems with the list of namespaces.
const NAMESPACES: &str = "namespaces";

/// A Secret, or the name of one in each selected namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::sync) enum SecretArg {
    Fixed(SecretName),
    Selected(String),
}

impl FromStr for SecretArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') {
            text.parse().map(Self::Fixed)
        } else {
            kubernetes_name::parse(text).map(Self::Selected)
        }
    }
}

/// All named Secrets.
#[derive(Debug)]
pub(super) struct Names {
    secrets: Vec<SecretArg>,
    selector: Option<Selector>,
}

impl Names {
    /// Returns what is missing, if the arguments do not fit together.
    pub(super) fn new(secrets: &[SecretArg], selector: Option<&Selector>) -> Result<Self, &'static str> {
        let is_selected = |secret: &SecretArg| matches!(secret, SecretArg::Selected(_));
        match (secrets.iter().any(is_selected), selector) {
            (true, None) => Err("a Secret without a namespace; use NAMESPACE/NAME, or add --namespace-selector"),
            (false, Some(_)) => Err("--namespace-selector selects nothing; add --kubernetes-secret NAME"),
            _ => Ok(Self { secrets: secrets.to_vec(), selector: selector.cloned() }),
        }
    }

    pub(super) fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()
    }

    pub(super) fn fixed(&self) -> impl Iterator<Item = &SecretName> {
        self.secrets.iter().filter_map(|secret| match secret {
            SecretArg::Fixed(name) => Some(name),
            SecretArg::Selected(_) => None,
        })
    }

    /// Returns all Secrets, with these selected namespaces.
    pub(super) fn in_namespaces(&self, namespaces: &[String]) -> BTreeSet<SecretName> {
        let selected = self.secrets.iter().filter_map(|secret| match secret {
            SecretArg::Fixed(_) => None,
            SecretArg::Selected(name) => Some(name),
        });
        let selected = selected.flat_map(|name| {
            namespaces.iter().map(|namespace| SecretName { namespace: namespace.clone(), name: name.clone() })
        });
        self.fixed().cloned().chain(selected).collect()
    }

    /// Returns the problem of a selector that selects nothing, as a mistyped one does.
    pub(super) fn without_match(&self, namespaces: &[String], fix: &str) -> Option<Problem> {
        let selector = self.selector.as_ref().filter(|_| namespaces.is_empty())?;
        let text = format!("{NAMESPACES}: none has the label {selector}; {fix}");
        Some(Problem { subject: NAMESPACES.to_owned(), text, exit: Exit::Failure })
    }
}

/// Returns the problem of namespaces that cannot be listed.
pub(super) fn unlisted(error: &ApiError) -> Problem {
    let fix = if error.message.contains(" cannot ") { "; grant list of namespaces" } else { "" };
    Problem { subject: NAMESPACES.to_owned(), text: format!("{NAMESPACES}: {error}{fix}"), exit: error.exit }
}
