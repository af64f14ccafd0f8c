//! From requests for the status to queries of the cache's keys.

use data_encoding::BASE64URL_NOPAD;

use crate::cache::{KeyFilter, KeyOrder, KeyQuery};
use crate::error::BrokerError;
use crate::pb;
use crate::protocol::{DEFAULT_STATUS_KEYS, MAX_STATUS_KEYS};

/// Keys of an order that pages can reach. The memory of a query grows with it.
const MAX_DEPTH: usize = 10_000;
/// Longest page token: a number in base64 has fewer bytes.
const MAX_TOKEN_BYTES: usize = 16;

/// Reads the conditions, the order and the page of a request.
///
/// # Errors
/// A field is malformed.
pub fn query(request: &pb::GetStatusRequest) -> Result<KeyQuery, BrokerError> {
    let order = pb::KeyOrder::try_from(request.order)
        .map_err(|_| invalid("order", "unknown order; use a value of KeyOrder".to_owned()))?;
    let (skip, limit) = (skip(&request.page_token)?, page_size(request.page_size)?);
    Ok(KeyQuery { filter: filter(request)?, order: key_order(order), skip, limit: limit.min(MAX_DEPTH - skip) })
}

/// Returns the page token behind the last key of a page; empty after the last page.
#[must_use]
pub fn next_page_token(query: &KeyQuery, matching: usize) -> String {
    let end = query.skip + query.limit;
    if end < matching.min(MAX_DEPTH) { BASE64URL_NOPAD.encode(end.to_string().as_bytes()) } else { String::new() }
}

fn filter(request: &pb::GetStatusRequest) -> Result<KeyFilter, BrokerError> {
    let pb::GetStatusRequest { account_id, region, profile, failing, .. } = request;
    Ok(KeyFilter {
        account: parsed(account_id).map_err(|error| BrokerError::registry("account_id", &error))?,
        region: parsed(region).map_err(|error| BrokerError::registry("region", &error))?,
        profile: parsed(profile)
            .map_err(|error: crate::credential::ProfileNameError| invalid("profile", error.to_string()))?,
        failing: *failing,
    })
}

/// Parses a text; an empty one is none.
fn parsed<T: std::str::FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn key_order(order: pb::KeyOrder) -> KeyOrder {
    match order {
        pb::KeyOrder::Unspecified | pb::KeyOrder::Expiry => KeyOrder::Expiry,
        pb::KeyOrder::Registry => KeyOrder::Registry,
        pb::KeyOrder::Hits => KeyOrder::Hits,
        pb::KeyOrder::Failure => KeyOrder::Failure,
    }
}

fn page_size(asked: i32) -> Result<usize, BrokerError> {
    let problem = || format!("negative; give 1 to {MAX_STATUS_KEYS}, or 0 for {DEFAULT_STATUS_KEYS}");
    let size = if asked == 0 { DEFAULT_STATUS_KEYS } else { asked.min(MAX_STATUS_KEYS) };
    usize::try_from(size).map_err(|_| invalid("page_size", problem()))
}

fn skip(token: &str) -> Result<usize, BrokerError> {
    if token.is_empty() {
        return Ok(0);
    }
    let problem = || invalid("page_token", "not a page token of this broker; start again without one".to_owned());
    read_token(token).filter(|skip| *skip < MAX_DEPTH).ok_or_else(problem)
}

fn read_token(token: &str) -> Option<usize> {
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    String::from_utf8(BASE64URL_NOPAD.decode(token.as_bytes()).ok()?).ok()?.parse().ok()
}

fn invalid(field: &'static str, problem: String) -> BrokerError {
    BrokerError::RequestInvalid { field, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_token_is_the_place_of_the_next_page_up_to_the_deepest() {
        let query_of =
            |page_token, page_size| query(&pb::GetStatusRequest { page_token, page_size, ..Default::default() });
        let first = query_of(String::new(), 0).expect("a query");
        assert_eq!((first.skip, first.limit), (0, 100));
        assert_eq!(next_page_token(&first, 100), "");
        let second = query_of(next_page_token(&first, 101), 9_999).expect("a query");
        assert_eq!((second.skip, second.limit), (100, 500));
        let last = KeyQuery { skip: MAX_DEPTH - 100, limit: 100, ..KeyQuery::default() };
        assert_eq!(next_page_token(&last, 1_000_000), "");
        let deepest = query_of(BASE64URL_NOPAD.encode(b"9999"), 500).expect("a query");
        assert_eq!((deepest.skip, deepest.limit), (9_999, 1));
        for token in ["!", "aGVsbG8", "MTAwMDA", "AAAAAAAAAAAAAAAAAAAAAA", "LTE"] {
            assert!(matches!(query_of(token.to_owned(), 0), Err(BrokerError::RequestInvalid { .. })), "{token}");
        }
        assert!(query_of(String::new(), -1).is_err());
    }

    #[test]
    fn conditions_are_parsed_or_refused_by_field() {
        let request = pb::GetStatusRequest {
            account_id: "123456789012".into(),
            region: "eu-west-1".into(),
            profile: "ci".into(),
            failing: true,
            order: pb::KeyOrder::Hits.into(),
            ..Default::default()
        };
        let read = query(&request).expect("a query");
        assert!(read.filter.account.is_some() && read.filter.region.is_some() && read.filter.failing);
        assert_eq!((read.filter.profile, read.order), (Some("ci".into()), KeyOrder::Hits));
        for wrong in [
            pb::GetStatusRequest { account_id: "12".into(), ..request.clone() },
            pb::GetStatusRequest { region: "<b>".into(), ..request.clone() },
            pb::GetStatusRequest { profile: "a b".into(), ..request.clone() },
            pb::GetStatusRequest { order: 99, ..request.clone() },
        ] {
            query(&wrong).expect_err("a malformed field");
        }
    }
}
