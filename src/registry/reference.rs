//! The host in a host name, a URL or an image reference.

use super::error::RegistryError;
use crate::quoted::Quoted;

/// Longer than any reference that a registry accepts: 253 for the host, 255 for the repository, 128 for the tag, and a digest.
const MAX_LENGTH: usize = 2048;
/// The limits of DNS (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;
const SCHEMES: [&str; 4] = ["https", "http", "docker", "oci"];

/// Returns the host in lower case, and the port if there is one.
///
/// Only the part before the first `/`, `?` or `#` counts. A user name before the host is an error, because in
/// `https://REGISTRY@evil.example/` the user name looks like a registry.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), RegistryError> {
    let rest = without_scheme(check_length(text.trim())?)?;
    // Bytes here and below: every cache hit parses its registry, and a search by `char` costs several times as much.
    let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.bytes().any(|byte| byte == b'@') {
        return Err(RegistryError::invalid(
            "the registry has a user name or an \"@\" before its first \"/\"; remove it",
        ));
    }
    let (host, port) = split_port(authority)?;
    let host = host.to_ascii_lowercase();
    check_host(&host)?;
    Ok((host, port))
}

fn check_length(text: &str) -> Result<&str, RegistryError> {
    match text.len() {
        0 => Err(RegistryError::invalid("the registry is empty; name a host such as \"public.ecr.aws\"")),
        1..=MAX_LENGTH => Ok(text),
        length => Err(RegistryError::invalid(format!(
            "the registry is too long: {length} bytes; shorten it to at most {MAX_LENGTH}"
        ))),
    }
}

fn without_scheme(text: &str) -> Result<&str, RegistryError> {
    let before_colon = text.bytes().position(|byte| byte == b':').map(|colon| text.split_at(colon));
    let Some((scheme, rest)) = before_colon.and_then(|(scheme, rest)| Some((scheme, rest.strip_prefix("://")?))) else {
        return Ok(text);
    };
    if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Ok(rest);
    }
    Err(RegistryError::invalid(format!(
        "scheme {} is not supported; use one of {}",
        Quoted(scheme),
        SCHEMES.join(", ")
    )))
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), RegistryError> {
    let Some(colon) = authority.bytes().position(|byte| byte == b':') else { return Ok((authority, None)) };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    match port.parse::<u16>() {
        Ok(number @ 1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err(RegistryError::invalid(format!("{} after the host is not a port; use 1 to 65535", Quoted(port)))),
    }
}

fn check_host(host: &str) -> Result<(), RegistryError> {
    if host.len() <= MAX_HOST && host.split('.').all(is_label) {
        return Ok(());
    }
    Err(RegistryError::invalid(format!("{} is not a host name; name a host such as \"public.ecr.aws\"", Quoted(host))))
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(allowed)
}
