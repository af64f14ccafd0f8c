use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::*;

/// Returns the folder of a package's source in cargo's registry.
fn source_of(package: &str) -> PathBuf {
    // One platform: of the others not every package was downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version=1", "--locked", "--offline", "--filter-platform", &platform];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"));
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages.iter().find(|one| one["name"] == package).unwrap();
    PathBuf::from(found["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned()
}

/// Returns the partitions of the SDK: a JSON text in its source, which its public interface does not show.
fn partitions_of_the_sdk() -> Vec<Value> {
    let source = std::fs::read_to_string(source_of("aws-sdk-ecr").join("src/endpoint_lib.rs")).unwrap();
    let (_, text) = source.split_once("new_from_json(b\"").unwrap();
    let (text, _) = text.split_once("\")").unwrap();
    let json = text.replace("\\\"", "\"").replace("\\\\", "\\");
    let document: Value = serde_json::from_str(&json).unwrap();
    document["partitions"].as_array().unwrap().clone()
}

#[test]
fn table_has_the_regions_of_the_sdk_and_no_other() {
    let mut of_the_sdk = BTreeSet::new();
    for partition in partitions_of_the_sdk() {
        let name = partition["id"].as_str().unwrap();
        let regions = partition["regions"].as_object().unwrap().keys();
        // The endpoints of global services count as a region in the SDK's data.
        let regions = regions.filter(|region| !region.ends_with("-global"));
        of_the_sdk.extend(regions.map(|region| (region.clone(), name.to_owned())));
    }
    let table = REGIONS.map(|(region, partition)| (region.to_owned(), partition.name().to_owned()));
    assert_eq!(BTreeSet::from(table), of_the_sdk);
}

#[test]
fn table_is_sorted_and_each_region_is_well_formed() {
    assert!(REGIONS.is_sorted_by(|(one, _), (next, _)| one < next));
    for (region, partition) in REGIONS {
        assert_eq!(Partition::owning(region), Some(partition), "{region}");
        assert_eq!(Partition::known_region(region), Some((region, partition)));
    }
}

#[test]
fn region_with_more_than_32_bytes_is_malformed() {
    let region = |letters: usize| format!("aa-{}-1", "b".repeat(letters));
    assert_eq!(Partition::owning(&region(27)), Some(Partition::Aws));
    assert_eq!(Partition::owning(&region(28)), None);
    assert_eq!(Partition::known_region(&region(27)), None);
}
