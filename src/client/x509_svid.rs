//! X.509-SVID from the SPIFFE Workload API: certificate and key of a client. The agent rotates them, so each connection asks for them.

use std::fmt;

use data_encoding::BASE64;
use http::uri::PathAndQuery;
use tonic::transport::Identity;
use tonic_prost::ProstCodec;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::workload_api;

const METHOD: &str = "/SpiffeWorkloadAPI/FetchX509SVID";

#[derive(Clone, prost::Message)]
struct X509SvidRequest {}

#[derive(Clone, prost::Message)]
struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    svids: Vec<X509Svid>,
}

#[derive(Clone, prost::Message)]
#[prost(skip_debug)]
struct X509Svid {
    #[prost(string, tag = "1")]
    spiffe_id: String,
    /// Certificates in DER form, one after the other, the workload's first.
    #[prost(bytes = "vec", tag = "2")]
    chain: Vec<u8>,
    /// Private key in the DER form of PKCS#8.
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
}

impl fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Svid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

impl Drop for X509Svid {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Requests the certificate and key of this process.
pub(super) async fn request() -> Result<Identity, String> {
    fetch().await.map_err(|problem| format!("tls_source spiffe: {problem}"))
}

async fn fetch() -> Result<Identity, String> {
    let mut agent = workload_api::connect().await?;
    let codec: ProstCodec<X509SvidRequest, X509SvidResponse> = ProstCodec::default();
    let request = workload_api::request(X509SvidRequest {});
    let refusal = |status| workload_api::refusal(&status);
    let answers = agent.server_streaming(request, PathAndQuery::from_static(METHOD), codec).await;
    let first = answers.map_err(refusal)?.into_inner().message().await.map_err(refusal)?;
    let svid = first.and_then(|answer| answer.svids.into_iter().next());
    let svid = svid.ok_or("the agent returned no X.509-SVID; check its registration")?;
    identity(&svid).ok_or_else(|| "the agent returned a malformed X.509-SVID; read its log".to_owned())
}

fn identity(svid: &X509Svid) -> Option<Identity> {
    let mut chain = String::new();
    let mut rest = svid.chain.as_slice();
    while !rest.is_empty() {
        let (after, _) = X509Certificate::from_der(rest).ok()?;
        chain += &pem("CERTIFICATE", rest.get(..rest.len() - after.len())?);
        rest = after;
    }
    let key = Zeroizing::new(pem("PRIVATE KEY", &svid.key));
    (!chain.is_empty()).then(|| Identity::from_pem(chain, key.as_bytes()))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(BASE64.encode(der));
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_is_split_and_the_key_is_not_printed() {
        let certificate = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
            (certificate.der().to_vec(), key.serialize_der())
        };
        let ((leaf, key), (parent, _)) = (certificate(), certificate());
        let svid = |chain: Vec<u8>| X509Svid { spiffe_id: String::new(), chain, key: key.clone() };
        let good = svid([leaf.clone(), parent].concat());
        assert!(identity(&good).is_some());
        assert_eq!(format!("{good:?}"), "X509Svid { spiffe_id: \"\", .. }");
        for chain in [Vec::new(), leaf[..leaf.len() - 1].to_vec(), [leaf.as_slice(), b"x"].concat()] {
            assert!(identity(&svid(chain)).is_none());
        }
    }
}
