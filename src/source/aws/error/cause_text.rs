//! Texts of causes for the log, without what may be secret.

use std::env::VarError;
use std::error::Error;

use aws_config::profile::ProfileParseError;

use super::first_line;

/// Beginnings of the SDK's texts that continue with text of another program or a value that may be secret, and what replaces them.
const CUT: [(&str, &str); 6] = [
    ("Error retrieving credentials: external process", "credential_process failed; run it by hand to see its error"),
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
    // Its text contains the variable's value, which may be a key.
    if cause.is::<VarError>() {
        return "a variable is not valid Unicode".to_owned();
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use aws_credential_types::provider::error::CredentialsError;

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
}
