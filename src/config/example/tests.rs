use super::*;
use crate::config::Config;
use crate::config::sources::Sources;
use crate::config::tests::load;
use crate::policy::Policy;

/// Settings whose example names files or needs another setting.
const NOT_ALONE: [&str; 13] = [
    "ca_bundle",
    "certificate",
    "key",
    "client_ca",
    "client_dns",
    "client_crl",
    "aws_api_listen",
    "aws_api_secret_file",
    "url",
    "keys_file",
    "username",
    "tls_cert",
    "tls_key",
];

#[test]
fn example_matches_the_defaults() {
    let from_defaults = Config::load(&Sources::default()).unwrap();
    let from_example = load(&example()).unwrap();
    assert_eq!(format!("{from_defaults:?}"), format!("{from_example:?}"));
}

#[test]
fn example_and_its_commented_values_are_valid() {
    load(&example()).unwrap();
    let settings = SECTIONS.iter().flat_map(|section| section.settings);
    for setting in settings.filter(|setting| !setting.example.is_empty() && !NOT_ALONE.contains(&setting.key)) {
        let heading = if setting.section.is_empty() { String::new() } else { format!("[{}]\n", setting.section) };
        let text = format!("{heading}{} = {}", setting.key, setting.example);
        assert!(load(&text).is_ok(), "{text}");
    }
}

#[test]
fn example_lists_are_valid() {
    let uncommented = |text: &str, heading: &str| {
        text[text.find(heading).unwrap()..].replace("# Operators", "## Operators").replace("# ", "")
    };
    let text = uncommented(GRANT, "# [[grants]]")
        + &uncommented(PROFILE, "# [[profiles]]")
        + &uncommented(ISSUER, "# [[authentication.jwt]]")
        + &uncommented(CALLER_LIMITS, "# [[limits.callers]]")
        + &uncommented(PARENT, "# [[parents]]")
        + &uncommented(ALIAS, "# [aliases]");
    let config = load(&text).unwrap();
    assert!(matches!(config.policy, Policy::Grants(grants) if grants.len() == 2));
    assert_eq!(config.aws.profiles.len(), 1);
    assert_eq!((config.server.issuers.len(), config.parents.len()), (1, 1));
    assert_eq!(config.limits.callers.len(), 1);
    assert_eq!(config.aliases.iter().count(), 1);
}

#[test]
fn example_lines_fit_100_columns() {
    let example = example();
    let wide: Vec<_> = example.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(wide.is_empty(), "{wide:#?}");
}
