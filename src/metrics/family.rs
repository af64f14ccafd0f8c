//! The metrics of one name, by labels of closed sets.

use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::label::Labels;

/// Metrics by labels. A clone is another handle of the same.
///
/// A combination of labels is exposed from its first use on. Later uses take no lock and allocate nothing.
pub struct Family<L, M>(Arc<Inner<M>>, PhantomData<fn(L)>);

#[derive(Debug)]
struct Inner<M> {
    metric_type: MetricType,
    new: fn() -> M,
    by_index: Box<[OnceLock<M>]>,
}

impl<L: Labels, M> Family<L, M> {
    pub(super) fn new(metric_type: MetricType, new: fn() -> M) -> Self {
        let by_index = std::iter::repeat_with(OnceLock::new).take(L::COUNT).collect();
        Self(Arc::new(Inner { metric_type, new, by_index }), PhantomData)
    }

    /// Returns the metric of a combination of labels.
    #[must_use]
    pub fn with(&self, labels: L) -> &M {
        self.at(labels.index())
    }

    /// Exposes every combination of labels from the start, so that the first event of one is an increase.
    #[must_use]
    pub(super) fn with_all(self) -> Self {
        for index in 0..L::COUNT {
            _ = self.at(index);
        }
        self
    }

    fn at(&self, index: usize) -> &M {
        self.0.by_index[index].get_or_init(self.0.new)
    }
}

impl<L, M> Clone for Family<L, M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<L, M: Debug> Debug for Family<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.0.by_index).finish()
    }
}

impl<L: Labels, M: EncodeMetric> EncodeMetric for Family<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (index, metric) in self.0.by_index.iter().enumerate() {
            let Some(metric) = metric.get() else { continue };
            metric.encode(encoder.encode_family(&L::pairs(index))?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type
    }

    fn is_empty(&self) -> bool {
        self.0.by_index.iter().all(|metric| metric.get().is_none())
    }
}
