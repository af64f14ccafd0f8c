//! JWT-SVID from the SPIFFE Workload API.

use std::fmt;

use http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::bearer_token::BearerToken;
use crate::client::workload_api;

const METHOD: &str = "/SpiffeWorkloadAPI/FetchJWTSVID";

#[derive(Clone, prost::Message)]
struct JwtSvidRequest {
    #[prost(string, repeated, tag = "1")]
    audience: Vec<String>,
    /// Empty for the default identity.
    #[prost(string, tag = "2")]
    spiffe_id: String,
}

#[derive(Clone, prost::Message)]
struct JwtSvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<JwtSvid>,
}

#[derive(Clone, prost::Message)]
#[prost(skip_debug)]
struct JwtSvid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    #[prost(string, tag = "2")]
    svid: String,
}

impl fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSvid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// Requests a JWT-SVID for the audience.
pub(super) async fn request(audience: &str) -> Result<BearerToken, String> {
    fetch(audience).await.map_err(|problem| format!("token_source spiffe: {problem}"))
}

async fn fetch(audience: &str) -> Result<BearerToken, String> {
    let mut agent = workload_api::connect().await?;
    let message = JwtSvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
    let codec: ProstCodec<JwtSvidRequest, JwtSvidResponse> = ProstCodec::default();
    let answer = agent.unary(workload_api::request(message), PathAndQuery::from_static(METHOD), codec).await;
    let answer = answer.map_err(|status| workload_api::refusal(&status))?.into_inner();
    let first = answer.svids.into_iter().next();
    first
        .map(|svid| svid.svid.into())
        .ok_or_else(|| "the agent returned no JWT-SVID; check its registration".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_of_an_answer_is_not_printed() {
        let svid = JwtSvid { spiffe_id: "spiffe://a/b".to_owned(), svid: "s3cret".to_owned() };
        let answer = JwtSvidResponse { svids: vec![svid] };
        let text = format!("{answer:?}");
        assert!(text.contains("spiffe://a/b") && !text.contains("s3cret"), "{text}");
    }
}
