//! From what a tool holds (a host, a URL, an image reference) to its host.

use super::RegistryError;
use crate::quoted::Quoted;

/// Longer than any reference that a registry would take: 253 for the host, 255 for the repository, 128 for the tag, and a digest.
const LONGEST: usize = 2048;
/// DNS's own limit.
const LONGEST_HOST: usize = 253;
const SCHEMES: [&str; 4] = ["https", "http", "docker", "oci"];

/// The host, in lower case, and the port, if there is one.
///
/// The part before the first `/`, `?` or `#` decides and nothing after it. A user name before the host is refused, for in
/// `https://REGISTRY@evil.example/` the registry is one.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), RegistryError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(RegistryError::invalid("the registry is empty: name a host such as \"public.ecr.aws\""));
    }
    if text.len() > LONGEST {
        return Err(RegistryError::invalid(format!(
            "the registry has {} bytes; at most {LONGEST} are taken",
            text.len()
        )));
    }
    let rest = without_scheme(text)?;
    // By bytes, here and below: this is on the way of every hit, and texts are searched at a multiple of the cost.
    let end = rest.bytes().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.bytes().any(|byte| byte == b'@') {
        return Err(RegistryError::invalid(
            "the registry has a user name or an \"@\" before its first \"/\": leave that out",
        ));
    }
    let (host, port) = split_port(authority)?;
    let host = host.to_ascii_lowercase();
    check(&host)?;
    Ok((host, port))
}

fn without_scheme(text: &str) -> Result<&str, RegistryError> {
    let before_colon = text.bytes().position(|byte| byte == b':').map(|colon| text.split_at(colon));
    let Some((scheme, rest)) = before_colon.and_then(|(scheme, rest)| Some((scheme, rest.strip_prefix("://")?))) else {
        return Ok(text);
    };
    if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Ok(rest);
    }
    Err(RegistryError::invalid(format!("the scheme {} is none of {}", Quoted(scheme), SCHEMES.join(", "))))
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), RegistryError> {
    let Some(colon) = authority.bytes().position(|byte| byte == b':') else { return Ok((authority, None)) };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    match port.parse::<u16>() {
        Ok(number @ 1..) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(number))),
        _ => {
            Err(RegistryError::invalid(format!("{} after the host is not a port: those are 1 to 65535", Quoted(port))))
        }
    }
}

fn check(host: &str) -> Result<(), RegistryError> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.len() <= LONGEST_HOST && host.split('.').all(label) {
        return Ok(());
    }
    Err(RegistryError::invalid(format!("{} is not a host name", Quoted(host))))
}
