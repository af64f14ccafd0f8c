//! `[[authentication.jwt]]`: accepted issuers of bearer tokens.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use crate::authn::jwt::{self, KeyLocation};
use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed};
use crate::config::reader::Reader;
use crate::config::value_type::{Expected, ValueType};
use crate::config::values::{self, NAME};

/// The heading; the list is part of the section `[authentication]`.
pub(in crate::config) const HEADING: &str = "authentication.jwt";
pub(in crate::config) const ISSUERS: List = List {
    key: "jwt",
    heading: HEADING,
    one: HEADING,
    named_by: "name",
    unique: "name or issuer",
    keys: &["name", "issuer", "audience", "jwks_file", "ca_bundle", "max_lifetime"],
};
/// Default of `max_lifetime`.
const MAX_LIFETIME: Duration = Duration::from_hours(1);
const LIFETIMES: ValueType<Duration> = values::duration(Duration::from_mins(1), Duration::from_hours(24));

/// Reads the issuers; only the main file can have them.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Vec<jwt::Settings> {
    let section = reader.file().get("authentication").and_then(Value::as_table).cloned().unwrap_or_default();
    let section = Document { place: reader.file_name(), table: section };
    reader.collect(parse(section))
}

/// Reads the issuers of the section `[authentication]`.
fn parse(section: Document) -> (Vec<jwt::Settings>, Vec<Diagnostic>) {
    let same = |one: &jwt::Settings, other: &jwt::Settings| one.name == other.name || one.issuer == other.issuer;
    let Listed { items, diagnostics, .. } = ISSUERS.read([section].iter(), read_issuer, same);
    (items, diagnostics)
}

fn read_issuer(item: &mut Item<'_>) -> Option<jwt::Settings> {
    let mut text = |key, expected, is_valid: fn(&str) -> bool| {
        item.required(key, expected, |value| value.as_str().filter(|text| is_valid(text)).map(str::to_owned))
    };
    let name = text("name", NAME, values::is_name);
    let issuer = text("issuer", Expected::Words("the tokens' iss, a URL with https://"), jwt::is_safe_url);
    let audience = text("audience", Expected::Words("the tokens' audience"), |text| !text.is_empty());
    let keys = item.take(read_keys(item.get("jwks_file")));
    let ca_bundle = item.take(read_path("ca_bundle", item.get("ca_bundle")));
    if matches!((&keys, &ca_bundle), (Some(KeyLocation::File(_)), Some(Some(_)))) {
        item.report("ca_bundle has no effect with jwks_file; remove one of them");
    }
    let max_lifetime = item.take(read_max_lifetime(item.get("max_lifetime")));
    Some(jwt::Settings {
        name: name?,
        issuer: issuer?,
        audience: audience?,
        keys: keys?,
        ca_bundle: ca_bundle?,
        max_lifetime: max_lifetime?,
    })
}

fn read_max_lifetime(value: Option<&Value>) -> Result<Duration, String> {
    let Some(value) = value else { return Ok(MAX_LIFETIME) };
    LIFETIMES.read(value).map_err(|problem| format!("max_lifetime: {problem}"))
}

fn read_keys(value: Option<&Value>) -> Result<KeyLocation, String> {
    Ok(read_path("jwks_file", value)?.map_or(KeyLocation::Discovery, KeyLocation::File))
}

fn read_path(key: &str, value: Option<&Value>) -> Result<Option<PathBuf>, String> {
    let Some(value) = value else { return Ok(None) };
    values::path(value).map(Some).map_err(|problem| format!("{key}: {problem}"))
}
