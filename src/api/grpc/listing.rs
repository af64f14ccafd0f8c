//! Pages of `ListRegistries`.

use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;

use crate::broker::{Broker, ListPage};
use crate::caller::Caller;
use crate::error::BrokerError;
use crate::pb;
use crate::pb::registry_access::Target;
use crate::policy::Listing;
use crate::protocol::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE};

/// Longest page token: a host, a profile and a letter in base64 have fewer.
const MAX_TOKEN_BYTES: usize = 512;
/// Entries of a page that cost about as much as one request for a credential.
const ENTRIES_PER_REQUEST: usize = 10;

/// Returns the number of requests that a page counts as, for the caller's rate and its requests in flight.
pub(super) fn weight(request: &pb::ListRegistriesRequest) -> usize {
    page_size(request.page_size).map_or(1, |size| size.div_ceil(ENTRIES_PER_REQUEST))
}

/// Returns the page that `request` asks for.
///
/// A page token holds the last entry of the page before, or the last denied one that it passed over. So an entry that appears or disappears between two requests moves no other
/// entry to another page.
pub(super) fn page(
    broker: &Broker,
    caller: &Caller,
    request: &pb::ListRegistriesRequest,
) -> Result<pb::ListRegistriesResponse, BrokerError> {
    let size = page_size(request.page_size)?;
    let after = Some(request.page_token.as_str()).filter(|token| !token.is_empty()).map(read_token).transpose()?;
    let ListPage { entries, next } = broker.registries(caller, after.as_ref(), size);
    let next_page_token = next.as_ref().map(write_token).unwrap_or_default();
    let registries = entries.iter().map(|(listing, end)| access(listing, *end)).collect();
    Ok(pb::ListRegistriesResponse { registries, next_page_token })
}

fn page_size(asked: i32) -> Result<usize, BrokerError> {
    let size = if asked == 0 { DEFAULT_PAGE_SIZE } else { asked.min(MAX_PAGE_SIZE) };
    usize::try_from(size).map_err(|_| BrokerError::RequestInvalid {
        field: "page_size",
        problem: format!("negative; give 1 to {MAX_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}"),
    })
}

fn write_token(last: &Listing) -> String {
    let kind = if last.is_pattern { 'p' } else { 'r' };
    BASE64URL_NOPAD.encode(format!("{kind} {} {}", last.name, last.profile).as_bytes())
}

fn read_token(token: &str) -> Result<Listing, BrokerError> {
    parse_token(token).ok_or_else(|| BrokerError::RequestInvalid {
        field: "page_token",
        problem: "not a page token of this broker; start again without one".to_owned(),
    })
}

fn parse_token(token: &str) -> Option<Listing> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let text = String::from_utf8(BASE64URL_NOPAD.decode(token.as_bytes()).ok()?).ok()?;
    let mut parts = text.splitn(3, ' ');
    let is_pattern = match parts.next()? {
        "p" => true,
        "r" => false,
        _ => return None,
    };
    Some(Listing { is_pattern, name: parts.next()?.to_owned(), profile: parts.next()?.parse().ok()? })
}

fn access(listing: &Listing, end: Option<SystemTime>) -> pb::RegistryAccess {
    let name = listing.name.clone();
    let target = if listing.is_pattern { Target::RegistryPattern(name) } else { Target::Registry(name) };
    pb::RegistryAccess {
        target: Some(target),
        profile: listing.profile.to_string(),
        expire_time: end.map(prost_types::Timestamp::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_token_is_read_as_it_was_written() {
        for (is_pattern, name) in [(false, "a.example:5000"), (true, "*.dkr.ecr.eu-*.amazonaws.com")] {
            let listing = Listing { is_pattern, name: name.into(), profile: "ci".into() };
            assert_eq!(read_token(&write_token(&listing)), Ok(listing));
        }
        for (name, token) in [
            ("not base64", "!".to_owned()),
            ("not a token", "aGVsbG8".to_owned()),
            ("no text", "_w".to_owned()),
            ("no profile", BASE64URL_NOPAD.encode(b"r a b c")),
            ("too long", BASE64URL_NOPAD.encode(format!("r {} ci", "a".repeat(400)).as_bytes())),
        ] {
            assert!(matches!(read_token(&token), Err(BrokerError::RequestInvalid { .. })), "{name}");
        }
    }

    #[test]
    fn page_counts_as_one_request_for_each_ten_entries() {
        let weight = |page_size| weight(&pb::ListRegistriesRequest { page_size, page_token: String::new() });
        assert_eq!([0, 1, 10, 11, 1_000, i32::MAX, -1].map(weight), [10, 1, 1, 2, 100, 100, 1]);
    }
}
