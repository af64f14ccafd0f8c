//! Prints the findings, one step after the other, and keeps the exit code.

use super::finding::{Finding, StepResult};
use crate::exit_code::Exit;
use crate::terminal::{Colours, Format, print_line};

const STEPS_WITH_REGISTRY: &[&str] = &["settings", "address", "health", "caller", "grant", "AWS", "token", "/v2/"];
const STEPS_WITHOUT_REGISTRY: &[&str] = &["settings", "address", "health", "caller", "registries"];

/// Names the steps in their order, and prints each with its finding.
#[derive(Debug)]
pub(super) struct Report {
    steps: std::slice::Iter<'static, &'static str>,
    format: Format,
    exit: Exit,
    /// The first step that failed.
    failed: Option<&'static str>,
}

impl Report {
    pub(super) fn new(with_registry: bool, format: Format) -> Self {
        let steps = if with_registry { STEPS_WITH_REGISTRY } else { STEPS_WITHOUT_REGISTRY };
        Self { steps: steps.iter(), format, exit: Exit::Success, failed: None }
    }

    /// Prints the finding of the next step and returns its value. The first failure decides the exit code.
    pub(super) fn record<T>(&mut self, result: StepResult<T>) -> anyhow::Result<Option<T>> {
        let step = self.steps.next().copied().unwrap_or_default();
        self.record_as(step, result)
    }

    /// Does the same for a step that needs no other step, after the others.
    pub(super) fn record_as<T>(
        &mut self,
        step: &'static str,
        (finding, value): StepResult<T>,
    ) -> anyhow::Result<Option<T>> {
        if let (Some(exit), None) = (finding.exit(), self.failed) {
            (self.exit, self.failed) = (exit, Some(step));
        }
        self.print(step, &finding)?;
        Ok(value)
    }

    /// Prints the steps that could not run after a failure.
    pub(super) fn skip_remaining(&mut self) -> anyhow::Result<()> {
        let why = self.failed.map_or_else(|| "not checked".to_owned(), |step| format!("not checked: see {step}"));
        for step in self.steps.by_ref().copied().collect::<Vec<_>>() {
            self.print(step, &Finding::skip(&why))?;
        }
        Ok(())
    }

    fn print(&self, step: &str, finding: &Finding) -> anyhow::Result<()> {
        match self.format {
            Format::Text => print_line(finding.lines(step, Colours::of_stdout())),
            Format::Json => print_line(finding.json(step)),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problem;
    use super::*;

    #[test]
    fn first_failure_decides_the_exit_code() {
        let mut report = Report::new(true, Format::Text);
        assert_eq!(report.record((Finding::ok("a"), Some(1))).unwrap(), Some(1));
        report.record::<()>((Finding::fail(Problem::BrokerUnreachable, "b"), None)).unwrap();
        report.record::<()>((Finding::fail(Problem::CredentialRefused, "c"), None)).unwrap();
        report.record_as("mode", (Finding::fail(Problem::FallbackNotRunnable, "d"), Some(()))).unwrap();
        assert_eq!((report.exit(), report.failed), (Exit::Unavailable, Some("address")));
    }
}
