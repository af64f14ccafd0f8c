//! The query string of the status pages. Its values have only letters, digits, `-` and `_`, so nothing is percent-encoded.

use crate::cache::{KeyFilter, KeyOrder, KeyQuery};
use crate::error::BrokerError;
use crate::pb::{GetStatusRequest, KeyOrder as Order};
use crate::status;

/// Orders by their names in a query string.
pub(super) const ORDERS: [(&str, KeyOrder, &str); 4] = [
    ("expiry", KeyOrder::Expiry, "Soonest expiry"),
    ("registry", KeyOrder::Registry, "Registry"),
    ("hits", KeyOrder::Hits, "Most hits"),
    ("failure", KeyOrder::Failure, "Newest failure"),
];

/// Reads the conditions, the order and the page. The error names what is wrong, and repeats nothing.
pub(super) fn parse(query: &str) -> Result<KeyQuery, String> {
    let mut request = GetStatusRequest::default();
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        set(&mut request, name, value)?;
    }
    status::query(&request).map_err(|error| match error {
        BrokerError::RequestInvalid { field, .. } | BrokerError::RegistryInvalid { field, .. } => malformed(field),
        _ => malformed("query"),
    })
}

fn set(request: &mut GetStatusRequest, name: &str, value: &str) -> Result<(), String> {
    match name {
        "order" => request.order = order(value).ok_or_else(|| malformed("order"))?.into(),
        "account" => value.clone_into(&mut request.account_id),
        "region" => value.clone_into(&mut request.region),
        "profile" => value.clone_into(&mut request.profile),
        "failing" => request.failing = flag(value).ok_or_else(|| malformed("failing"))?,
        "page" => value.clone_into(&mut request.page_token),
        "limit" => request.page_size = value.parse().map_err(|_| malformed("limit"))?,
        _ => return Err("unknown condition; use order, account, region, profile, failing, page or limit".to_owned()),
    }
    Ok(())
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "" | "0" | "false" => Some(false),
        _ => None,
    }
}

fn order(name: &str) -> Option<Order> {
    match ORDERS.iter().find(|(known, ..)| *known == name)?.1 {
        KeyOrder::Expiry => Some(Order::Expiry),
        KeyOrder::Registry => Some(Order::Registry),
        KeyOrder::Hits => Some(Order::Hits),
        KeyOrder::Failure => Some(Order::Failure),
    }
}

fn malformed(field: &str) -> String {
    format!("malformed {field}; correct it")
}

/// Returns the link to the status page with these conditions and order, and its first page.
pub(super) fn link(filter: &KeyFilter, order: KeyOrder) -> String {
    let name = ORDERS.iter().find(|(_, one, _)| *one == order).map_or("", |(name, ..)| name);
    let KeyFilter { account, region, profile, failing } = filter;
    let items = [
        (order != KeyOrder::default()).then(|| format!("order={name}")),
        account.map(|account| format!("account={account}")),
        region.as_ref().map(|region| format!("region={region}")),
        profile.as_ref().map(|profile| format!("profile={profile}")),
        failing.then(|| "failing=1".to_owned()),
    ];
    let items: Vec<_> = items.into_iter().flatten().collect();
    if items.is_empty() { "/status".to_owned() } else { format!("/status?{}", items.join("&")) }
}

/// Returns the link to another page of a query.
pub(super) fn page_link(query: &KeyQuery, token: &str) -> String {
    let link = link(&query.filter, query.order);
    let separator = if link.contains('?') { '&' } else { '?' };
    format!("{link}{separator}page={token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_parsed_as_its_link_writes_it() {
        for text in ["", "order=hits", "account=123456789012&region=eu-west-1&profile=ci_x&failing=1"] {
            let query = parse(text).expect("a query");
            let link = link(&query.filter, query.order);
            assert_eq!(link.trim_start_matches("/status").trim_start_matches('?'), text);
        }
        let form = parse("order=expiry&account=&region=&profile=").expect("an empty form");
        assert_eq!(form.filter, KeyFilter::default());
        assert_eq!(page_link(&form, "MTAw"), "/status?page=MTAw");
    }

    #[test]
    fn malformed_query_is_refused_and_not_repeated() {
        for text in [
            "order=<b>",
            "region=%3Cscript%3E",
            "region=<script>",
            "account=12",
            "profile=a+b",
            "page=zzz",
            "limit=-1",
            "limit=x",
            "failing=yes",
            "<script>=1",
            "secret",
        ] {
            let problem = parse(text).expect_err(text);
            assert!(!problem.contains('<') && !problem.contains("script") && !problem.contains("secret"), "{problem}");
        }
    }
}
