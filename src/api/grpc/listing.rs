//! Pages of `ListRegistries`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;

use crate::error::BrokerError;
use crate::pb;
use crate::pb::registry_access::Target;
use crate::policy::Listing;
use crate::protocol::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE};

/// Longest page token: a host, a profile and a letter in base64 have fewer.
const MAX_TOKEN_BYTES: usize = 512;

/// Returns the page that `request` asks for.
///
/// A page token holds the last entry of the page before. So an entry that appears or disappears between two requests moves no other
/// entry to another page.
pub(super) fn page(
    listings: &BTreeMap<Listing, Option<SystemTime>>,
    request: &pb::ListRegistriesRequest,
) -> Result<pb::ListRegistriesResponse, BrokerError> {
    let size = page_size(request.page_size)?;
    let start = match request.page_token.as_str() {
        "" => Bound::Unbounded,
        token => Bound::Excluded(read_token(token)?),
    };
    let mut rest = listings.range((start, Bound::Unbounded));
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let next_page_token = match (rest.next(), page.last()) {
        (Some(_), Some((last, _))) => write_token(last),
        _ => String::new(),
    };
    let registries = page.into_iter().map(|(listing, end)| access(listing, *end)).collect();
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

    fn listings() -> BTreeMap<Listing, Option<SystemTime>> {
        let listing = |is_pattern, name: &str| Listing { is_pattern, name: name.into(), profile: "default".into() };
        let names = ["a", "b", "c"].map(|name| (listing(false, name), Some(SystemTime::UNIX_EPOCH)));
        names.into_iter().chain([(listing(true, "*"), None)]).collect()
    }

    fn names(response: &pb::ListRegistriesResponse) -> Vec<String> {
        let name = |access: &pb::RegistryAccess| match access.target.clone() {
            Some(Target::Registry(name) | Target::RegistryPattern(name)) => name,
            None => "no target".into(),
        };
        response.registries.iter().map(name).collect()
    }

    #[test]
    fn pages_continue_until_the_last_has_no_token() {
        let request = pb::ListRegistriesRequest { page_size: 3, page_token: String::new() };
        let first = page(&listings(), &request).expect("the first page");
        assert_eq!(names(&first), ["a", "b", "c"]);
        let request = pb::ListRegistriesRequest { page_size: 3, page_token: first.next_page_token };
        let second = page(&listings(), &request).expect("the second page");
        assert_eq!(names(&second), ["*"]);
        assert_eq!(second.next_page_token, "");
    }

    #[test]
    fn entry_removed_between_two_pages_moves_no_other() {
        let request = pb::ListRegistriesRequest { page_size: 2, page_token: String::new() };
        let first = page(&listings(), &request).expect("the first page");
        let mut fewer = listings();
        fewer.retain(|listing, _| listing.name != "b");
        let request = pb::ListRegistriesRequest { page_size: 2, page_token: first.next_page_token };
        assert_eq!(names(&page(&fewer, &request).expect("the second page")), ["c", "*"]);
    }

    #[test]
    fn invalid_page_size_or_token_is_rejected() {
        for (name, page_size, page_token) in
            [("negative size", -1, ""), ("not base64", 0, "!"), ("not a token", 0, "aGVsbG8"), ("no text", 0, "_w")]
        {
            let request = pb::ListRegistriesRequest { page_size, page_token: page_token.into() };
            assert!(matches!(page(&listings(), &request), Err(BrokerError::RequestInvalid { .. })), "{name}");
        }
    }
}
