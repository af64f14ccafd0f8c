//! Metrics that are read from their module at each scrape.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric as _, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

/// One scrape, for what a module adds to it.
#[derive(Debug)]
pub struct Scrape<'a>(DescriptorEncoder<'a>);

/// A name without what the format adds to it.
pub(super) struct Name {
    pub(super) stem: &'static str,
    pub(super) unit: Option<Unit>,
}

impl Name {
    /// Splits the name of a scrape.
    pub(super) fn of(name: &'static str, metric_type: MetricType) -> Self {
        let stem = if metric_type.as_str() == MetricType::Counter.as_str() {
            name.strip_suffix("_total").unwrap_or(name)
        } else {
            name
        };
        let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
        let of_unit = units.into_iter().find_map(|(suffix, unit)| Some((stem.strip_suffix(suffix)?, unit)));
        of_unit.map_or(Self { stem, unit: None }, |(stem, unit)| Self { stem, unit: Some(unit) })
    }
}

impl<'a> Scrape<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Adds a gauge.
    ///
    /// # Errors
    /// As of the writer.
    #[expect(clippy::needless_pass_by_value, reason = "a gauge is a number")]
    pub fn gauge(&mut self, name: &'static str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.describe(name, help, MetricType::Gauge, |mut encoder| encoder.encode_gauge(&value))
    }

    /// Adds a gauge if there is a value.
    ///
    /// # Errors
    /// As of the writer.
    pub fn gauge_if(&mut self, name: &'static str, help: &str, value: Option<impl EncodeGaugeValue>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.gauge(name, help, value))
    }

    /// Adds gauges with their labels.
    ///
    /// # Errors
    /// As of the writer.
    pub fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &'static str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        self.describe(name, help, MetricType::Gauge, |mut encoder| {
            values.try_for_each(|(labels, value)| encoder.encode_family(&labels)?.encode_gauge(&value))
        })
    }

    /// Adds a counter that its module keeps.
    ///
    /// # Errors
    /// As of the writer.
    pub fn counter(&mut self, name: &'static str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        self.describe(name, help, MetricType::Counter, |encoder| ConstCounter::new(value).encode(encoder))
    }

    /// Adds counters with their labels.
    ///
    /// # Errors
    /// As of the writer.
    pub fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &'static str,
        help: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.describe(name, help, MetricType::Counter, |mut encoder| {
            let mut values = values.into_iter();
            values.try_for_each(|(labels, value)| ConstCounter::new(value).encode(encoder.encode_family(&labels)?))
        })
    }

    fn describe(
        &mut self,
        name: &'static str,
        help: &str,
        metric_type: MetricType,
        encode: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let Name { stem, unit } = Name::of(name, metric_type);
        encode(self.0.encode_descriptor(stem, &format!("{help}."), unit.as_ref(), metric_type)?)
    }
}
