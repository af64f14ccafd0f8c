//! The outcome of a check, as text and as JSON. It has codes, IDs and names; never a token, a key or a text of AWS.

use serde_json::{Value, json};

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// AWS behaves as the broker assumes.
    Proven,
    /// AWS behaves otherwise.
    Refuted,
    /// The check could not be run, or its control failed.
    Skipped,
    /// The operator runs a command.
    Manual,
}

/// A check with what it did and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The name.
    pub check: String,
    /// The promise or sentence of the documentation.
    pub proves: &'static str,
    /// What it found.
    pub verdict: Verdict,
    /// Why, or the command to run.
    pub reason: String,
    /// Requests and AWS's answers.
    pub steps: Vec<Step>,
}

/// A request and AWS's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was done.
    pub did: String,
    /// AWS's status or code.
    pub answer: String,
    /// AWS's ID of the request.
    pub request_id: Option<Box<str>>,
}

impl Verdict {
    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Refuted => "REFUTED",
            Self::Skipped => "skipped",
            Self::Manual => "manual",
        }
    }
}

impl Outcome {
    /// Returns the lines for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!("{:<8}{:<16}{}", self.verdict.name(), self.check, self.reason)];
        lines.push(format!("        about: {}", self.proves));
        lines.extend(self.steps.iter().map(|Step { did, answer, request_id }| {
            let id = request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default();
            format!("        {did}: {answer}{id}")
        }));
        lines.join("\n")
    }

    /// Returns the object for scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let steps = self
            .steps
            .iter()
            .map(|Step { did, answer, request_id }| json!({ "did": did, "answer": answer, "request_id": request_id }));
        json!({
            "check": self.check, "result": self.verdict.name().to_lowercase(), "proves": self.proves,
            "reason": self.reason, "steps": steps.collect::<Vec<_>>(),
        })
    }
}
