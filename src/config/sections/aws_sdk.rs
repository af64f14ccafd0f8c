//! Settings that the AWS SDK reads by itself, from the environment and its shared files: checks them like the broker's own.
//!
//! The SDK ignores some wrong values without an error, such as `AWS_USE_FIPS_ENDPOINT=yes`. Over others it fails, or panics, at each
//! call.

use http::uri::PathAndQuery;
use toml::Value;

use super::aws_endpoints::EndpointRules;
use crate::config::aws_files::AwsKey;
use crate::config::reader::Reader;
use crate::config::settings::Aws;
use crate::config::url;
use crate::config::value_type::Expected;

const IGNORE_ENDPOINTS: (&str, &str) = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls");
/// The problem of a file that the SDK could read without an end.
const ENDLESS: &str = "expected a regular file, got a pipe, socket or device; name a file, or /dev/null for none";
const FIPS: (&str, &str) = ("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint");
const IMDS_ENDPOINT: (&str, &str) = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
const IMDS_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
const ENDPOINT_VARIABLES: [&str; 5] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_SIGNIN",
    "AWS_ENDPOINT_URL_STS",
];
/// Keys and variables of STS's endpoint, which apply to the SDK's own credential chain even if configured endpoints are ignored.
const STS_ENDPOINTS: [&str; 4] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "endpoint_url", "sts.endpoint_url"];
/// Keys and variables of the endpoints of ECR, ECR Public and AWS Sign-In, which return registries' tokens.
const REGISTRY_ENDPOINTS: [&str; 8] = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_SIGNIN",
    "endpoint_url",
    "ecr.endpoint_url",
    "ecr-public.endpoint_url",
    "signin.endpoint_url",
];

/// Returns the problem of a value.
type Check = fn(&str) -> Result<(), String>;

/// The other settings: variable, key in a profile, check.
const CHECKS: [(&str, &str, Check); 7] = [
    (IGNORE_ENDPOINTS.0, IGNORE_ENDPOINTS.1, check_boolean),
    (FIPS.0, FIPS.1, check_boolean),
    ("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint", check_boolean),
    (IMDS_DISABLED, "", check_boolean),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "", check_imds_mode),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "", url::check),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "", check_path),
];

/// Reports each setting whose value the SDK cannot use.
pub(super) fn check(reader: &mut Reader<'_>, rules: EndpointRules) {
    for (variable, key, check) in CHECKS {
        check_variable(reader, variable, check);
        if let Some(found) = reader.aws_files().find(key) {
            check_key(reader, found, check);
        }
    }
    for path in reader.aws_files().endless() {
        reader.report_at(path.display().to_string(), ENDLESS.to_owned());
    }
    check_endpoints(reader, rules);
    check_container_token(reader);
}

/// Returns the region that the SDK would use: of `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile.
pub(super) fn region(reader: &mut Reader<'_>) -> Option<String> {
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if reader.variable(variable).is_some() {
            return reader.get_variable(variable, &Aws::region());
        }
    }
    let found = reader.aws_files().find("region")?;
    match Aws::region().read(&Value::String(found.value.clone())) {
        Ok(region) => region,
        Err(problem) => {
            reader.report_at(found.place.clone(), format!("{}: {problem}", found.key));
            None
        }
    }
}

/// Returns whether the environment keeps the SDK from asking IMDS.
pub(super) fn is_imds_disabled(reader: &Reader<'_>) -> bool {
    reader.variable(IMDS_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Returns whether the environment or the profile asks for FIPS endpoints; the variable takes precedence.
pub(super) fn uses_fips(reader: &Reader<'_>) -> bool {
    is_true(reader, FIPS)
}

/// Returns whether the environment or the profile replaces the endpoint of STS.
pub(super) fn has_sts_endpoint(reader: &Reader<'_>) -> bool {
    let is_set = |name: &&str| reader.variable(name).is_some() || reader.aws_files().find(name).is_some();
    !ignores_endpoints(reader) && STS_ENDPOINTS.iter().any(is_set)
}

/// Returns whether the environment or the profile replaces the endpoint of ECR or ECR Public.
pub(super) fn has_registry_endpoint(reader: &Reader<'_>) -> bool {
    let is_set = |name: &&str| reader.variable(name).is_some() || reader.aws_files().find(name).is_some();
    !ignores_endpoints(reader) && REGISTRY_ENDPOINTS.iter().any(is_set)
}

/// Returns whether the profile assumes a role, for which the SDK calls STS.
pub(super) fn profile_assumes_a_role(reader: &Reader<'_>) -> bool {
    reader.aws_files().find("role_arn").is_some()
}

fn check_endpoints(reader: &mut Reader<'_>, rules: EndpointRules) {
    check_variable(reader, IMDS_ENDPOINT.0, |text| rules.check_imds(text));
    if let Some(found) = reader.aws_files().find(IMDS_ENDPOINT.1) {
        check_key(reader, found, |text| rules.check_imds(text));
    }
    let ignored = ignores_endpoints(reader);
    let applies = |name: &str| !ignored || STS_ENDPOINTS.contains(&name);
    for variable in ENDPOINT_VARIABLES.into_iter().filter(|variable| applies(variable)) {
        check_variable(reader, variable, |text| rules.check_sdk(variable, text));
    }
    for found in reader.aws_files().endpoints().filter(|found| applies(&found.key)) {
        check_key(reader, found, |text| rules.check_sdk(&found.key, text));
    }
}

/// The token is a header's value. It is a secret, so the error does not show it.
fn check_container_token(reader: &mut Reader<'_>) {
    let name = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    if reader.variable(name).is_some_and(|token| token.contains(char::is_control)) {
        reader.report_at(name.to_owned(), "contains a line end or a control character; remove it".to_owned());
    }
}

fn check_variable(reader: &mut Reader<'_>, name: &str, check: impl Fn(&str) -> Result<(), String>) {
    if let Some(Err(problem)) = reader.variable(name).map(check) {
        reader.report_at(name.to_owned(), problem);
    }
}

fn check_key(reader: &mut Reader<'_>, found: &AwsKey, check: impl Fn(&str) -> Result<(), String>) {
    if let Err(problem) = check(&found.value) {
        reader.report_at(found.place.clone(), format!("{}: {problem}", found.key));
    }
}

fn ignores_endpoints(reader: &Reader<'_>) -> bool {
    is_true(reader, IGNORE_ENDPOINTS)
}

/// The variable takes precedence over the profile.
fn is_true(reader: &Reader<'_>, (variable, key): (&str, &str)) -> bool {
    let in_file = || reader.aws_files().find(key).map(|found| found.value.as_str());
    reader.variable(variable).or_else(in_file).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn check_boolean(text: &str) -> Result<(), String> {
    check_word(text, &["true", "false"], "true or false")
}

fn check_imds_mode(text: &str) -> Result<(), String> {
    check_word(text, &["ipv4", "ipv6"], "IPv4 or IPv6")
}

fn check_word(text: &str, words: &[&str], expected: &'static str) -> Result<(), String> {
    let is_valid = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_valid { Ok(()) } else { Err(Expected::Words(expected).but_got(&Value::String(text.to_owned()))) }
}

/// A query is part of the path, and can hold a token.
fn check_path(text: &str) -> Result<(), String> {
    let is_valid = text.starts_with('/') && text.parse::<PathAndQuery>().is_ok();
    let expected = Expected::Hidden("a path that begins with /");
    if is_valid { Ok(()) } else { Err(expected.but_got(&Value::String(text.to_owned()))) }
}

#[cfg(test)]
mod tests;
