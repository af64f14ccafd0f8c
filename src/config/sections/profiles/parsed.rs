//! Lists of texts that are parsed one by one.

use std::fmt::Display;
use std::str::FromStr;

use toml::Value;

use crate::config::values::strings;

/// Reads a list; a missing one is empty.
pub(super) fn parsed<T: FromStr>(key: &str, value: Option<&Value>) -> Result<Vec<T>, String>
where
    T::Err: Display,
{
    let Some(value) = value else { return Ok(Vec::new()) };
    let texts = strings(key, value)?;
    texts.iter().map(|text| text.parse().map_err(|error| format!("{key}: {error}"))).collect()
}
