//! `[[authentication.jwt]]`: whose bearer tokens are taken, as typed in the file.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use crate::authn::jwt::{self, KeyLocation};
use crate::config::diagnostic::Diagnostic;
use crate::config::files::Document;
use crate::config::list::{Item, List, Listed};
use crate::config::reader::Reader;
use crate::config::value_type::ValueType;
use crate::config::values;

/// The list, which stands in a section.
pub(in crate::config) const HEADING: &str = "authentication.jwt";
pub(in crate::config) const ISSUERS: List = List {
    key: "jwt",
    heading: HEADING,
    one: HEADING,
    named_by: "name",
    unique: "name or issuer",
    keys: &["name", "issuer", "audience", "jwks_file", "ca_bundle", "max_lifetime"],
};
const MAX_LIFETIME: Duration = Duration::from_hours(1);
const LIFETIMES: ValueType<Duration> = values::duration(Duration::from_mins(1), Duration::from_hours(24));

/// Reads the issuers; only the main file can have them.
pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Vec<jwt::Settings> {
    let section = reader.file().get("authentication").and_then(Value::as_table).cloned().unwrap_or_default();
    let section = Document { place: reader.file_name(), table: section };
    reader.collect(parse(section))
}

/// The issuers in the section `[authentication]`, and what is wrong with them.
fn parse(section: Document) -> (Vec<jwt::Settings>, Vec<Diagnostic>) {
    let same = |one: &jwt::Settings, other: &jwt::Settings| one.name == other.name || one.issuer == other.issuer;
    let Listed { items, diagnostics, .. } = ISSUERS.read(&[section], read_issuer, same);
    (items, diagnostics)
}

fn read_issuer(item: &mut Item<'_>) -> Option<jwt::Settings> {
    let mut text = |key: &str, what: &str, fits: fn(&str) -> bool| {
        let text = item.get(key).and_then(Value::as_str).filter(|text| fits(text)).map(str::to_owned);
        item.take(text.ok_or_else(|| format!("{key} is missing or is not {what}")))
    };
    let name = text("name", "1 to 64 letters, digits, \".\", \"_\" and \"-\"", values::is_name);
    let issuer = text("issuer", "a URL that starts with https://, as the tokens have it in iss", jwt::is_safe_url);
    let audience = text("audience", "the audience that tokens for the broker have", |text| !text.is_empty());
    let keys = item.take(read_keys(item.get("jwks_file")));
    let ca_bundle = item.take(read_path("ca_bundle", item.get("ca_bundle")));
    if keys.as_ref().is_some_and(|keys| *keys != KeyLocation::Discovery)
        && ca_bundle.as_ref().is_some_and(Option::is_some)
    {
        item.wrong("ca_bundle is for the issuer that keys are fetched from, and jwks_file says that none are");
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
