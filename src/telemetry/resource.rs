//! The resource: what spans and metrics are about.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use super::environment::Named;

/// Returns the resource of the environment, with the version of the broker, and with its name and an instance ID unless the environment
/// has them. Without the ID the cumulative metrics of several brokers would be one series in a collector.
pub(super) fn resource(named: Named) -> Resource {
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    let resource = if named.service { resource } else { resource.with_service_name("ecr-broker") };
    let instance = (!named.instance).then(|| KeyValue::new("service.instance.id", random_uuid()));
    resource.with_attributes(instance).build()
}

/// Returns a random UUID (RFC 9562, version 4), which OpenTelemetry recommends for instances.
fn random_uuid() -> String {
    let version_and_variant = 0x4_0008_u128 << 60;
    let random = fastrand::u128(..) & !(0xf_000c << 60) | version_and_variant;
    let hex = format!("{random:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use opentelemetry::Key;

    use super::*;

    #[test]
    fn process_has_its_own_instance_id_unless_the_environment_names_one() {
        let key = Key::from_static_str("service.instance.id");
        let id = |instance| resource(Named { service: false, instance }).get(&key).map(|id| id.to_string());
        let (first, second) = (id(false).expect("an ID"), id(false).expect("an ID"));
        assert_ne!(first, second);
        let parts: Vec<_> = first.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{first}");
        assert!(&first[14..15] == "4" && "89ab".contains(&first[19..20]), "{first}");
        assert_eq!(id(true), None);
    }
}
