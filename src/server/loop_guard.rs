//! An AWS endpoint that is one of our own listeners would have the broker wait for itself.

use std::net::{IpAddr, SocketAddr};

use anyhow::bail;

use crate::address::ListenAddress;

pub(super) async fn refuse_loop(
    endpoints: &[String],
    listening: &[ListenAddress],
    aws_api: Option<SocketAddr>,
) -> anyhow::Result<()> {
    for endpoint in endpoints {
        let Some((host, port)) = host_and_port(endpoint) else { continue };
        // A name that cannot be resolved now is no loop now.
        let Ok(addresses) = tokio::net::lookup_host((host.as_str(), port)).await else { continue };
        for address in addresses {
            // Not the whole endpoint: the secret of the AWS API may stand in it.
            if listening.iter().any(|listener| takes(listener, address)) {
                bail!(
                    "the AWS endpoint at {host}:{port} is the broker's own listener {address}; point it at AWS, or listen elsewhere"
                );
            }
            if aws_api.is_some_and(|own| takes(&ListenAddress::Tcp(own), address)) {
                bail!(
                    "the AWS endpoint at {host}:{port} is the AWS API of the broker itself, which asks AWS: start it without AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL_ECR_PUBLIC, which are for its callers, or set aws.ecr_endpoint (\"https://api.ecr.{{region}}.amazonaws.com\") and aws.ecr_public_endpoint (\"https://api.ecr-public.us-east-1.amazonaws.com\")"
                );
            }
        }
    }
    Ok(())
}

fn host_and_port(endpoint: &str) -> Option<(String, u16)> {
    let uri: http::Uri = endpoint.parse().ok()?;
    let usual = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((host, uri.port_u16().unwrap_or(usual)))
}

fn takes(listener: &ListenAddress, address: SocketAddr) -> bool {
    let ListenAddress::Tcp(own) = listener else { return false };
    own.port() == address.port() && reaches(address.ip().to_canonical(), own.ip().to_canonical())
}

/// What is sent to no address in particular arrives at loopback; a listener on all addresses takes what is sent to any of this
/// host's, and which those are is not asked: loopback stands for them.
fn reaches(target: IpAddr, own: IpAddr) -> bool {
    let here = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback();
    target == own || (target.is_unspecified() && here(own)) || (own.is_unspecified() && here(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_that_is_a_listener_is_refused_in_every_spelling() {
        let listening = ["127.0.0.1:4000", "0.0.0.0:5000", "unix:/x"].map(|text| text.parse().expect("an address"));
        for (endpoint, refused) in [
            ("http://127.0.0.1:4000", true),
            ("http://localhost:4000/path", true),
            ("http://[::ffff:127.0.0.1]:4000", true),
            ("http://127.0.0.1:5000", true),
            ("http://0.0.0.0:4000", true),
            ("http://[::]:4000", true),
            ("http://127.0.0.1:4001", false),
            ("https://127.0.0.1", false),
            ("not a url", false),
        ] {
            let result = refuse_loop(&[endpoint.to_owned()], &listening, None).await;
            assert_eq!(result.is_err(), refused, "{endpoint}");
        }
        let own = Some(([127, 0, 0, 1], 4001).into());
        let error = refuse_loop(&["http://localhost:4001/t/secret".to_owned()], &listening, own).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains("aws.ecr_endpoint") && !error.contains("secret"), "{error}");
    }
}
