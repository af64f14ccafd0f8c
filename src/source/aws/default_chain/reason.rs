//! Reasons why providers have no credentials, in words without secrets.

use std::error::Error;

use aws_credential_types::provider::error::{CredentialsError, TokenError};
use aws_smithy_types::error::ErrorMetadata;

use super::super::error::{answer_of_sts, cause_text, causes, first_line, safe_name};

/// The SDK's text for an answer that is an error. The causes below it are AWS's own words.
const SERVICE_ERROR: &str = "service error";
/// Why one provider has no credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source::aws) struct Reason {
    provider: &'static str,
    text: String,
    /// AWS's own words, which may hold ARNs: for the log only.
    message: Option<String>,
}

impl Reason {
    pub(super) fn new(provider: &'static str, error: &CredentialsError) -> Self {
        let mut texts = Texts::default();
        causes(error).for_each(|cause| texts.add(cause));
        let text = if texts.own.is_empty() { "not configured".to_owned() } else { texts.own.join(": ") };
        Self { provider, text, message: texts.message }
    }

    /// Adds what the SDK's error does not say.
    pub(super) fn with_facts(mut self, facts: &[String]) -> Self {
        if !facts.is_empty() {
            self.text = format!("{} ({})", self.text, facts.join(", "));
        }
        self
    }

    /// Returns the reason without AWS's own words.
    pub(in crate::source::aws) fn text(&self) -> String {
        format!("{}: {}", self.provider, self.text)
    }

    /// Returns the reason for the log.
    pub(in crate::source::aws) fn log_text(&self) -> String {
        match &self.message {
            Some(message) => format!("{}: {message}", self.text()),
            None => self.text(),
        }
    }
}

/// The texts of an error and its causes.
#[derive(Debug, Default)]
struct Texts {
    own: Vec<String>,
    is_answer: bool,
    message: Option<String>,
}

impl Texts {
    fn add(&mut self, cause: &(dyn Error + 'static)) {
        if self.is_answer {
            return self.add_answer(cause);
        }
        // The SDK's own frames only say that something failed.
        if cause.is::<CredentialsError>() || cause.is::<TokenError>() {
            return;
        }
        let text = cause_text(cause);
        self.is_answer = text == SERVICE_ERROR;
        let text = if self.is_answer { "AWS answered with an error".to_owned() } else { text };
        if self.own.last() != Some(&text) {
            self.own.push(text);
        }
    }

    /// Adds an error code to the text, and the rest to the message.
    fn add_answer(&mut self, cause: &(dyn Error + 'static)) {
        let metadata = answer_of_sts(cause).or_else(|| cause.downcast_ref::<ErrorMetadata>());
        if let Some(code) = metadata.and_then(ErrorMetadata::code).and_then(safe_name) {
            self.own.pop();
            self.own.push(format!("AWS answered {code}"));
        }
        if !cause.is::<ErrorMetadata>() {
            self.message.get_or_insert_with(|| cause_text(cause));
        }
        if let Some(message) = metadata.and_then(ErrorMetadata::message) {
            self.message = Some(first_line(message).to_owned());
        }
    }
}
