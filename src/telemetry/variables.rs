//! Access to the variables of the environment by name and by signal.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::anyhow;

use super::metrics::Signal;

/// The variables of the environment. One that is empty is unset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variables<'a>(&'a [(String, String)]);

impl<'a> Variables<'a> {
    pub(super) fn new(environment: &'a [(String, String)]) -> Self {
        Self(environment)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// Returns a variable of the exporter with its name: that of the signal, else that of all signals.
    pub(super) fn of_signal(&self, signal: Signal, suffix: &str) -> Option<(String, &'a str)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{suffix}", signal.text().to_ascii_uppercase());
        let names = [own, format!("OTEL_EXPORTER_OTLP_{suffix}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    /// Returns a duration that a variable has in milliseconds.
    pub(super) fn millis(&self, name: &str, range: RangeInclusive<u64>) -> anyhow::Result<Option<Duration>> {
        self.get(name).map(|value| millis(name, value, &range)).transpose()
    }
}

/// Reads the value of a variable in milliseconds.
pub(super) fn millis(name: &str, value: &str, range: &RangeInclusive<u64>) -> anyhow::Result<Duration> {
    let millis = value.parse().ok().filter(|millis| range.contains(millis)).map(Duration::from_millis);
    let (least, most) = (range.start(), range.end());
    millis.ok_or_else(|| anyhow!("{name}: expected milliseconds from {least} to {most}, got {value:?}"))
}
