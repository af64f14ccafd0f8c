//! The sources of a broker and the layers around them: parents, AWS, or both.
//!
//! Each source has its own admission control, so that one that hangs or is down does not delay the others.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use tracing::warn;

use super::parts::Upstream;
use super::shared_cache::Shared;
use crate::cache::{IdentityTokens, SharedKeys, TokenScope};
use crate::clock::Clock;
use crate::config::Config;
use crate::hops::InstanceId;
use crate::metrics::{Registry, Scrape};
use crate::profile::ActiveProfiles;
use crate::source::aws::admission::{self, AdmissionControl};
use crate::source::aws::{self, Aws};
use crate::source::broker::{self, ParentBroker, WatchDriver, WatchMetrics};
use crate::source::instrumented::Instrumented;
use crate::source::measured::Measured;
use crate::source::route::Route;
use crate::source::verified::{self, RegistryClient, Verified, VerifiedKeys};
use crate::source::{self, CredentialSource};

/// A parent's settings, and the parent with its layers.
type Parent = (broker::Settings, Arc<dyn CredentialSource>);

/// Puts the layers around a source that is there already, or builds the sources that the configuration names.
pub(super) async fn start(
    (config, profiles): (&Config, &ActiveProfiles),
    upstream: Option<Upstream>,
    own: (InstanceId, Option<Shared>),
    (clock, registry): (&Arc<dyn Clock>, &mut Registry),
) -> anyhow::Result<Upstream> {
    match upstream {
        Some(upstream) => around_aws((config, profiles), upstream, verified::Metrics::new(registry), clock),
        None => build((config, profiles), own, clock, registry).await,
    }
}

/// Builds the sources that the configuration names.
async fn build(
    (config, profiles): (&Config, &ActiveProfiles),
    (own, shared): (InstanceId, Option<Shared>),
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> anyhow::Result<Upstream> {
    let (metrics, verified) = (source::Metrics::new(registry), verified::Metrics::new(registry));
    let aws = if config.needs_aws() {
        let aws = of_aws((config, profiles), shared, (clock, &metrics), registry).await?;
        Some(around_aws((config, profiles), aws, verified, clock)?)
    } else {
        None
    };
    let aws = match aws {
        Some(aws) if config.parents.is_empty() => return Ok(aws),
        aws => aws,
    };
    let region = config.aws.region.as_ref().map(|region| region.parse()).transpose().context("aws.region")?;
    let (region, endpoints, aws) = match aws {
        Some(aws) => (aws.region, aws.endpoints, Some(aws.source)),
        None => (region, Vec::new(), None),
    };
    let parent_addresses = config.parents.iter().flat_map(|parent| parent.addresses.iter().map(ToString::to_string));
    let parent_addresses = parent_addresses.collect();
    let (parents, watches) = parents(config, own, (clock, &metrics), registry);
    Ok(Upstream { region, endpoints, parent_addresses, watches, source: Arc::new(Route::new(parents, aws)) })
}

async fn of_aws(
    (config, profiles): (&Config, &ActiveProfiles),
    shared: Option<Shared>,
    (clock, metrics): (&Arc<dyn Clock>, &source::Metrics),
    registry: &mut Registry,
) -> anyhow::Result<Upstream> {
    let aws = Aws::following(config.aws.clone(), profiles.clone(), Arc::clone(clock), (metrics, registry)).await?;
    let aws = Arc::new(aws);
    let admitted = admitted(Arc::clone(&aws), metrics.clone(), &config.aws.admission);
    let source: Arc<dyn CredentialSource> = match shared {
        Some(shared) => Arc::new(Instrumented::new(shared.layer(admitted, &aws, clock))),
        None => Arc::new(Instrumented::new(admitted)),
    };
    Ok(Upstream {
        region: aws.region().map(|region| region.parse()).transpose().context("the AWS region")?,
        endpoints: aws.endpoint_overrides(),
        parent_addresses: Vec::new(),
        watches: Vec::new(),
        source,
    })
}

fn parents(
    config: &Config,
    own: InstanceId,
    (clock, metrics): (&Arc<dyn Clock>, &source::Metrics),
    registry: &mut Registry,
) -> (Vec<Parent>, Vec<WatchDriver>) {
    let watches = WatchMetrics::new(registry);
    let max_keys = usize::try_from(config.cache.capacity).unwrap_or(usize::MAX);
    let watching = |settings| ParentBroker::new(settings, own, Arc::clone(clock)).watching(max_keys, &watches);
    let (brokers, drivers): (Vec<_>, Vec<_>) = config.parents.iter().map(watching).unzip();
    let sources = brokers.iter().map(|one| {
        let admitted = admitted(one.clone(), metrics.clone(), &config.aws.admission);
        Arc::new(Instrumented::new(admitted)) as Arc<dyn CredentialSource>
    });
    let parents = config.parents.iter().cloned().zip(sources).collect();
    registry.on_scrape(move |scrape| expose(&brokers, scrape));
    (parents, drivers)
}

/// Puts the layers around AWS that the configuration asks for. Parents have none of them: what a parent allows for one account says
/// nothing about another, and a parent verifies what it fetches itself.
fn around_aws(
    (config, profiles): (&Config, &ActiveProfiles),
    upstream: Upstream,
    metrics: verified::Metrics,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Upstream> {
    verified_layer((&config.aws, profiles), token_layer((config, profiles), upstream, clock), metrics, clock)
}

/// Puts the layer around the source by which accounts share tokens, if the configuration asks for it.
fn token_layer((config, profiles): (&Config, &ActiveProfiles), upstream: Upstream, clock: &Arc<dyn Clock>) -> Upstream {
    match config.token_scope {
        TokenScope::Account => upstream,
        TokenScope::Identity => {
            let shared_keys = SharedKeys::following(profiles.clone());
            let source = IdentityTokens::start(upstream.source, shared_keys, &config.cache, Arc::clone(clock));
            Upstream { source, ..upstream }
        }
    }
}

/// Puts the layer around the source that tries new credentials at their registries, if the configuration asks for it.
fn verified_layer(
    (aws, profiles): (&aws::Settings, &ActiveProfiles),
    upstream: Upstream,
    metrics: verified::Metrics,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Upstream> {
    let keys = VerifiedKeys::following(aws.verification.own, profiles.clone());
    if keys.is_empty() {
        return Ok(upstream);
    }
    if aws.overrides_registries() {
        warn!("endpoint of ECR or ECR Public overridden: new credentials are not verified");
        return Ok(upstream);
    }
    let registries = Arc::new(RegistryClient::new(aws.ca_bundle.as_deref(), &aws.proxies)?);
    let source = Arc::new(Verified::new(upstream.source, keys, registries, metrics, Arc::clone(clock)));
    Ok(Upstream { source, ..upstream })
}

/// Puts the layers around a source that each source has alone: metrics of each call, and admission control.
fn admitted<S: CredentialSource>(
    source: S,
    metrics: source::Metrics,
    admission: &admission::Settings,
) -> AdmissionControl<Measured<S>> {
    AdmissionControl::new(Measured::new(source, metrics), admission)
}

/// Exposes how many addresses of each parent are known, and how many of them are left aside.
fn expose(parents: &[ParentBroker], scrape: &mut Scrape<'_>) -> fmt::Result {
    let values = parents.iter().flat_map(|parent| {
        let (known, aside) = parent.addresses();
        let labels = |state| [("parent", parent.name().to_string()), ("state", String::from(state))];
        [(labels("live"), known - aside), (labels("aside"), aside)]
    });
    let values = values.map(|(labels, count)| (labels, i64::try_from(count).unwrap_or(i64::MAX)));
    scrape.gauges("ecr_broker_parent_addresses", "Addresses of a parent broker by state", values)
}
