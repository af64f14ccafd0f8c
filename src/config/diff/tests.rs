use super::*;
use crate::config::tests::{file, sources};

const BASE: &str = r#"
    [[profiles]]
    name = "ci"
    role_chain = ["arn:aws:iam::210987654321:role/ci"]
    external_id = "farm-secret"
    [[profiles]]
    name = "deploy"
    role_chain = ["arn:aws:iam::210987654321:role/deploy"]
    [[grants]]
    id = "builders"
    callers = [{ uid = 1001 }]
    registries = [{ accounts = ["123456789012"], regions = ["eu-*"] }]
    profile = "ci"
    [aliases]
    "a.example" = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    [cache]
    capacity = 100
"#;

fn changes(new: &str) -> Vec<Change> {
    let [old, new] = [BASE, new].map(file);
    let [old, new] = [&old, &new].map(|file| sources(file, &[]));
    let [of_old, of_new] = [&old, &new].map(|sources| Config::load(sources).unwrap());
    diff((&old, &of_old), (&new, &of_new))
}

fn restarts(new: &str) -> Vec<String> {
    let [old, new] = [BASE, new].map(file);
    restart_settings(&sources(&old, &[]), &sources(&new, &[]))
}

#[test]
fn changed_profile_names_its_settings_and_callers_and_hides_secrets() {
    let new = BASE.replace("role/ci\"]", "role/ci2\"]").replace("farm-secret", "other-secret");
    let found = changes(&new);
    let [Change { kind: "profile", name, settings, grants, callers, registries, drops, needs_restart, .. }] =
        &found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((name.as_str(), *needs_restart), ("ci", false));
    assert_eq!(settings.iter().map(|one| one.setting.as_str()).collect::<Vec<_>>(), ["external_id", "role_chain"]);
    assert_eq!(settings[1].new, serde_json::json!(["arn:aws:iam::210987654321:role/ci2"]));
    assert_eq!((grants.len(), callers.first().unwrap().as_str()), (1, r#"{"uid":1001}"#));
    assert_eq!(registries.len(), 1);
    assert_eq!(*drops, Some("its cached sessions and credentials"));
    assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    assert_eq!(restarts(&new), Vec::<String>::new());
}

#[test]
fn text_that_means_the_same_is_not_a_change() {
    assert_eq!(changes(BASE), []);
    let new = BASE.replace("name = \"deploy\"", "name = \"deploy\"\naccess = \"pull\"");
    assert_eq!(changes(&format!("# a comment\n{new}")), []);
}

#[test]
fn added_and_removed_items_and_settings_are_told_apart() {
    let new = BASE
        .replace("\"a.example\"", "\"b.example\"")
        .replace("name = \"deploy\"", "name = \"release\"")
        .replace("capacity = 100", "capacity = 101\nkeep_warm = [\"public.ecr.aws\"]");
    let found = changes(&new);
    let told: Vec<_> = found.iter().map(|one| (one.kind, one.name.as_str(), one.change, one.needs_restart)).collect();
    assert_eq!(
        told,
        [
            ("profile", "deploy", ChangeKind::Removed, false),
            ("profile", "release", ChangeKind::Added, false),
            ("alias", "a.example", ChangeKind::Removed, false),
            ("alias", "b.example", ChangeKind::Added, false),
            ("setting", "cache.capacity", ChangeKind::Changed, true),
            ("setting", "cache.keep_warm", ChangeKind::Changed, false),
        ]
    );
    assert_eq!((found[0].drops.is_some(), found[1].drops), (true, None));
    assert_eq!(found[2].grants.iter().collect::<Vec<_>>(), ["builders"]);
    assert_eq!(restarts(&new), ["cache.capacity"]);
}

#[test]
fn configuration_that_opens_the_broker_needs_a_restart() {
    let open = &BASE[..BASE.find("[[grants]]").unwrap()];
    let found = changes(open);
    let opened = found.iter().find(|one| one.name == "grants").unwrap();
    assert!(opened.needs_restart && opened.callers.contains("every caller"), "{found:?}");
    assert_eq!(restarts(open), ["cache.capacity"]);
}

/// A setting that a reload does not apply can neither be left out of the report nor be applied without a word.
#[test]
fn every_changed_setting_is_reported_with_its_need_of_a_restart() {
    let base = "[policy]\n[audit]\n";
    let old = file(base);
    let of_old = sources(&old, &[]);
    for setting in SECTIONS.iter().flat_map(|section| section.settings) {
        // Not what its reader accepts; the difference counts.
        let new = sources(&old, &[(&setting.variable(), "another")]);
        let [config, of_new] = [&of_old, &new].map(|sources| Config::load_valid_parts(sources).0);
        let found = diff((&of_old, &config), (&new, &of_new));
        let [change] = &found[..] else { panic!("{}: {found:?}", setting.name()) };
        let is_reloaded = ["cache.keep_warm", "experimental", "policy.mode"].contains(&setting.name().as_str());
        assert_eq!((change.name.clone(), change.needs_restart), (setting.name(), !is_reloaded));
        let expected: Vec<_> = (!is_reloaded).then(|| setting.name()).into_iter().collect();
        assert_eq!(restart_settings(&of_old, &new), expected);
    }
}

/// Of a broker without an issuer, or with parents alone.
#[test]
fn change_that_a_reload_refuses_has_the_reason() {
    let issuer = "\n[[authentication.jwt]]\nname = \"blue\"\nissuer = \"https://issuer.example\"\naudience = \"a\"\n";
    let issuers = changes(&BASE.replace("[aliases]", &format!("{issuer}[aliases]")));
    let observed = changes(&format!("{BASE}[audit]\noutput = \"stderr\"\n[policy]\nmode = \"observe\"\n"));
    for (found, kind, name, reason) in [
        (issuers, "issuer", "blue", "started without issuers"),
        (observed, "setting", "policy.mode", "allows every authenticated caller everything"),
    ] {
        let change = found.iter().find(|change| (change.kind, change.name.as_str()) == (kind, name)).unwrap();
        assert!(change.needs_restart && change.refused.as_ref().unwrap().contains(reason), "{found:?}");
    }
}
