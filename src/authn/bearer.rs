//! Bearer tokens in the headers of a call.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::bearer_token::BearerToken;

/// The bearer token of a call, or why its header is malformed.
pub(crate) type Bearer = Result<BearerToken, &'static str>;

/// Removes the authorization header and returns its token: nothing behind the middleware sees it.
pub(crate) fn take_bearer(headers: &mut HeaderMap) -> Option<Bearer> {
    let mut values: Vec<_> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
    headers.remove(AUTHORIZATION);
    let value = values.pop()?;
    if !values.is_empty() {
        return Some(Err("call has several authorization headers; send one"));
    }
    let text = value.to_str().unwrap_or_default();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| BearerToken::from(token.trim().to_owned()));
    Some(token.ok_or("authorization header is malformed; send \"Bearer <token>\""))
}
