//! Names of Secrets, and selectors of namespaces.

use std::fmt;
use std::str::FromStr;

use crate::kubernetes_name;

/// The longest namespace, label value and name of a label without its prefix.
const LONGEST_LABEL: usize = 63;
const NOT_A_SECRET: &str = "not a Secret; use NAMESPACE/NAME";
const NOT_A_SELECTOR: &str = "not a label with its value; use LABEL=VALUE";

/// A Secret in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for SecretName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (namespace, name) = text.split_once('/').ok_or(NOT_A_SECRET)?;
        if namespace.len() > LONGEST_LABEL || namespace.contains('.') {
            return Err(NOT_A_SECRET);
        }
        Ok(Self { namespace: kubernetes_name::parse(namespace)?, name: kubernetes_name::parse(name)? })
    }
}

/// A label of namespaces and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(String);

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Selector {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (label, value) = text.split_once('=').ok_or(NOT_A_SELECTOR)?;
        let name = match label.split_once('/') {
            Some((prefix, name)) => kubernetes_name::parse(prefix).map(|_| name)?,
            None => label,
        };
        if is_label(name) && is_label(value) { Ok(Self(text.to_owned())) } else { Err(NOT_A_SELECTOR) }
    }
}

/// Returns whether a text may be a label's name or value. An empty value is refused: it is a variable that was not set.
fn is_label(text: &str) -> bool {
    let edges = [text.bytes().next(), text.bytes().last()];
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    edges.iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()))
        && text.len() <= LONGEST_LABEL
        && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_name_is_a_namespace_and_a_name() {
        let name: SecretName = "team-a/ecr.pull".parse().unwrap();
        assert_eq!((name.namespace.as_str(), name.name.as_str()), ("team-a", "ecr.pull"));
        assert_eq!(name.to_string(), "team-a/ecr.pull");
        for wrong in ["ecr", "/ecr", "a/", "a/b/c", "a.b/c", "A/b", "a/../b", "a /b", "a/b?x"] {
            assert!(wrong.parse::<SecretName>().is_err(), "{wrong}");
        }
        assert!(format!("{}/a", "n".repeat(64)).parse::<SecretName>().is_err());
    }

    #[test]
    fn selector_is_one_label_with_its_value() {
        for good in ["ecr=on", "example.com/ecr-pull=Yes_1", "a.b=c.d"] {
            assert_eq!(good.parse::<Selector>().unwrap().to_string(), good);
        }
        for wrong in ["ecr", "ecr=", "=on", "a=b,c=d", "a!=b", "a=b c", "a/b/c=d", "A.B/c=d", "a==b"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }
}
