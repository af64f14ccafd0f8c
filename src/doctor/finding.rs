//! The result of one step, with notes and fixes below it.

use serde_json::{Value, json};

use super::problem::Problem;
use crate::client::Failure;
use crate::exit_code::Exit;
use crate::quoted::Visible;
use crate::terminal::Colours;

/// The finding of a step, and the value that the next step needs.
pub(super) type StepResult<T> = (Finding, Option<T>);

/// The result of one step.
#[derive(Debug)]
pub(super) struct Finding {
    state: State,
    text: String,
    below: Vec<Below>,
}

/// A line below the result.
#[derive(Debug)]
enum Below {
    Note(String),
    /// The lines after the first are text to copy.
    Fix(Vec<String>),
}

#[derive(Debug, Clone, Copy)]
enum State {
    Ok,
    Fail(Exit),
    Skip,
}

impl Finding {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self::new(State::Ok, text)
    }

    pub(super) fn skip(text: impl Into<String>) -> Self {
        Self::new(State::Skip, text)
    }

    /// A problem, with the facts of this case.
    pub(super) fn fail(problem: Problem, facts: impl AsRef<str>) -> Self {
        let (text, facts) = (problem.text(), facts.as_ref());
        let separator = if facts.is_empty() { "" } else { ": " };
        Self::new(State::Fail(problem.exit()), format!("{text}{separator}{facts}"))
    }

    /// A failed call to the broker, with the exit code that other commands have for it.
    pub(super) fn failed_call(failure: &Failure) -> Self {
        Self::new(State::Fail(failure.into()), failure.to_string())
    }

    fn new(state: State, text: impl Into<String>) -> Self {
        Self { state, text: text.into(), below: Vec::new() }
    }

    /// Adds a line of facts.
    pub(super) fn note(mut self, note: impl AsRef<str>) -> Self {
        self.below.push(Below::Note(on_one_line(note.as_ref())));
        self
    }

    /// Adds a fix. The lines after the first are text to copy, such as a grant.
    pub(super) fn fix(mut self, fix: impl AsRef<str>) -> Self {
        self.below.push(Below::Fix(fix.as_ref().lines().map(on_one_line).collect()));
        self
    }

    /// Returns the exit code if the step failed.
    pub(super) fn exit(&self) -> Option<Exit> {
        if let State::Fail(exit) = self.state { Some(exit) } else { None }
    }

    /// Returns the lines to print for a step of this name.
    pub(super) fn lines(&self, step: &str, colours: Colours) -> String {
        let state = format!("{:<4}", self.state.name());
        let state = match self.state {
            State::Ok => colours.good(&state),
            State::Fail(_) => colours.bad(&state),
            State::Skip => colours.faint(&state),
        };
        let head = format!("{state}  {step:<10}  {}", on_one_line(&self.text));
        let below = self.below.iter().map(|below| match below {
            Below::Note(note) => format!("      {note}"),
            Below::Fix(lines) => format!("      fix: {}", lines.join("\n           ")),
        });
        std::iter::once(head).chain(below).collect::<Vec<_>>().join("\n")
    }

    /// Returns the same for scripts.
    pub(super) fn json(&self, step: &str) -> Value {
        let mut notes = Vec::new();
        let mut fixes = Vec::new();
        for below in &self.below {
            match below {
                Below::Note(note) => notes.push(note.as_str()),
                Below::Fix(lines) => fixes.push(lines.join("\n")),
            }
        }
        let exit = self.exit().map(|exit| exit as u8);
        let text = on_one_line(&self.text);
        json!({
            "step": step, "result": self.state.name(), "text": text, "notes": notes, "fixes": fixes, "exit_code": exit,
        })
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail(_) => "FAIL",
            Self::Skip => "skip",
        }
    }
}

/// Texts of files, brokers and registries must not move the terminal's cursor.
fn on_one_line(text: &str) -> String {
    Visible(&text.replace(['\n', '\r', '\t'], " ")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_is_one_line_with_notes_and_fixes_below() {
        let finding = Finding::fail(Problem::TokenExpired, "a\nb").note("more").fix("write this:\n[[grants]]");
        assert_eq!(
            finding.lines("grant", Colours::NONE),
            "FAIL  grant       token has expired: a b\n      more\n      fix: write this:\n           [[grants]]"
        );
        assert_eq!(Finding::ok("x").lines("/v2/", Colours::NONE), "ok    /v2/        x");
        assert_eq!(
            Finding::fail(Problem::TokenExpired, "").lines("x", Colours::NONE),
            "FAIL  x           token has expired"
        );
    }

    #[test]
    fn control_characters_are_escaped() {
        let text = "a\u{1b}[2J\rb\u{9b}1m\nc\u{7}";
        let lines = Finding::ok(text).note(text).fix(text).lines("caller", Colours::NONE);
        assert!(!lines.replace('\n', "").contains(char::is_control), "{lines:?}");
        assert!(lines.ends_with("      fix: a\\u{1b}[2J b\\u{9b}1m\n           c\\u{7}"), "{lines:?}");
    }
}
