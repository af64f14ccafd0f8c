//! Required parameters and validation errors of STS.

use super::query::Form;
use crate::aws_wire::AwsError;

/// Returns a required parameter.
pub(super) fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, AwsError> {
    form.get(name).ok_or_else(|| constraint(name, "Member must not be null"))
}

/// Returns the error for an invalid parameter. It leaves the value out, because some values are secrets.
pub(super) fn constraint(parameter: &str, constraint: &str) -> AwsError {
    validation(format!(
        "1 validation error detected: Value at '{parameter}' failed to satisfy constraint: {constraint}"
    ))
}

pub(super) fn validation(problem: impl Into<String>) -> AwsError {
    AwsError::bad_request("ValidationError", problem)
}
