//! Texts of causes for the log, without what may be secret.

use std::env::VarError;
use std::error::Error;

use aws_config::imds::client::error::{ImdsError, InvalidEndpointMode};
use aws_config::profile::ProfileParseError;

use super::first_line;

const PROCESS_FAILED: &str = "credential_process failed; run it by hand to see its error";
const INVALID_ANSWER: &str = "the credentials are not valid JSON";
/// Beginnings of the SDK's texts that continue with text of another program or a value that may be secret, and what replaces them.
const CUT: [(&str, &str); 11] = [
    ("Error retrieving credentials: external process", PROCESS_FAILED),
    ("Error retrieving credentials from external process", PROCESS_FAILED),
    ("invalid JSON in response", INVALID_ANSWER),
    ("expected object key, found", INVALID_ANSWER),
    ("Invalid field in response", "a field of the credentials is not valid"),
    ("header value `", "a header is not valid UTF-8"),
    ("Error retrieving credentials from IMDS", "IMDS answered with an error"),
    ("Incorrect IMDS/IAM configuration", "IMDS has no credentials for the instance's role; check its trust policy"),
    ("failed to load credentials [", "the container's credential endpoint answered with an error"),
    ("invalid relative URI for ECS provider", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not valid"),
    (
        "invalid full URI for ECS provider",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI is not valid: it must be https, or http to an address that the SDK allows",
    ),
];

/// Returns the text of one cause, on one line. Of a longer text only the first line is safe: see [`first_line`].
pub(in crate::source::aws) fn cause_text(cause: &(dyn Error + 'static)) -> String {
    if let Some(text) = text_of_type(cause) {
        return text;
    }
    let text = cause.to_string();
    if let Some((_, replacement)) = CUT.iter().find(|(start, _)| text.starts_with(start)) {
        return (*replacement).to_owned();
    }
    if cause.is::<ProfileParseError>() {
        return text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    first_line(&text).to_owned()
}

/// Returns the text for a type whose own text contains a variable's value, which may be a key, or a response, headers and body.
fn text_of_type(cause: &(dyn Error + 'static)) -> Option<String> {
    if cause.is::<VarError>() {
        return Some("a variable is not valid Unicode".to_owned());
    }
    if cause.is::<InvalidEndpointMode>() {
        return Some("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6".to_owned());
    }
    match cause.downcast_ref()? {
        ImdsError::ErrorResponse(answer) => Some(format!("IMDS answered HTTP {}", answer.response().status())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use aws_config::imds::client::EndpointMode;
    use aws_credential_types::provider::error::CredentialsError;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn value_of_a_variable_and_output_of_a_program_are_replaced() {
        let value = VarError::NotUnicode(OsString::from("very-secret"));
        assert!(value.to_string().contains("very-secret"), "std prints it");
        assert_eq!(cause_text(&value), "a variable is not valid Unicode");
        let text =
            "Error retrieving credentials: external process exited with code exit status: 1. Stderr: very-secret";
        let error = CredentialsError::provider_error(text);
        assert_eq!(cause_text(error.source().unwrap()), "credential_process failed; run it by hand to see its error");
    }
    #[test]
    fn texts_with_words_of_a_source_are_replaced() {
        for text in [
            "Error retrieving credentials from external process, could not parse response: very-secret",
            "Error retrieving credentials from IMDS: very-secret",
            "Incorrect IMDS/IAM configuration: [very-secret]",
            "failed to load credentials [very-secret]: very-secret",
            "invalid JSON in response: very-secret",
            "expected object key, found: very-secret",
            "Invalid field in response: `Expiration`. very-secret",
            "header value `very-secret` contains non-UTF8 octet at index 3",
        ] {
            let error = CredentialsError::provider_error(text);
            assert!(!cause_text(error.source().unwrap()).contains("very-secret"), "{text}");
        }
        let mode = "very-secret".parse::<EndpointMode>().unwrap_err();
        assert!(mode.to_string().contains("very-secret"), "the SDK prints it");
        assert!(!cause_text(&mode).contains("very-secret"));
    }

    async fn answer(mut stream: TcpStream) {
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let (head, body) = if request[..read].starts_with(b"PUT ") {
            ("200 OK\r\nx-aws-ec2-metadata-token-ttl-seconds: 600", "token")
        } else {
            ("500 Internal Server Error\r\nx-note: very-secret", "very-secret")
        };
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn error_response_of_imds_is_replaced_by_its_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        let imds = aws_config::imds::Client::builder().endpoint(endpoint).unwrap().max_attempts(1).build();
        let error = imds.get("/latest/meta-data/iam/security-credentials/").await.unwrap_err();
        assert!(error.to_string().contains("very-secret"), "the SDK prints it");
        assert_eq!(cause_text(&error), "IMDS answered HTTP 500");
    }
}
