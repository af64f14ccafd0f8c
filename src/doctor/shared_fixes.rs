//! Fixes that more than one step suggests.

/// In TLS 1.3 a client sees the rejection as an alert, or only as the end of the connection after its first bytes.
pub(super) const CLIENT_CERTIFICATE_REJECTED: &str = "if the broker rejects the client certificate (its log says why), get one from an authority of authentication.client_ca or client_dns, or authenticate with --token-file and without --tls-cert";

pub(super) const NO_AWS_CREDENTIALS: &str = "ask the operator to give the broker AWS credentials: a role of its instance, pod or task, or AWS_* variables or files; it needs no restart";
pub(super) const TOKEN_SOURCE_FAILED: &str = "make the token source answer, or set another one: --token-source, ECR_BROKER_TOKEN_SOURCE or token_source in client.toml";
