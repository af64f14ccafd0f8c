use super::*;
use crate::config::Config;
use crate::config::print::effective;
use crate::config::sources::Sources;
use crate::config::tests::problems;

/// Writes files to a folder; the first is the main file.
fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let main = Files::read(Some(&directory.path().join(files[0].0)));
    (directory, Sources { files: main, ..Sources::default() })
}

fn grant_of(id: &str, profile: &str) -> String {
    format!(
        "[[grants]]\nid = \"{id}\"\ncallers = [{{ uid = 1 }}]\nregistries = [{{ public = true }}]\nprofile = \"{profile}\"\n"
    )
}

fn ids(config: &Config) -> Vec<&str> {
    config.policy.grants().iter().map(|grant| grant.id.as_str()).collect()
}

#[test]
fn included_files_are_read_in_name_order_after_the_main_file() {
    let profile = "[[profiles]]\nname = \"a\"\nrole_chain = [\"arn:aws:iam::210987654321:role/a\"]\n";
    let main = format!("include = [\"grants.d/*.toml\", \"last.toml\", \"empty.d/*.toml\"]\n{}", grant_of("main", "a"));
    let (directory, sources) = folder(&[
        ("main.toml", &main),
        ("grants.d/b.toml", &grant_of("b", "a")),
        ("grants.d/a.toml", &(profile.to_owned() + &grant_of("a", "default"))),
        ("grants.d/.hidden.toml", "not TOML"),
        ("grants.d/README", "not TOML"),
        ("empty.d/README", "not TOML"),
        ("last.toml", &grant_of("last", "default")),
    ]);
    let config = Config::load(&sources).unwrap();
    assert_eq!(ids(&config), ["main", "a", "b", "last"]);
    assert_eq!(config.aws.profiles.len(), 1);
    let printed = effective(&sources);
    assert!(printed.contains("grants.d/a.toml\n") && printed.contains("id = \"b\""), "{printed}");

    let read = || Files::read(Some(&directory.path().join("main.toml")));
    assert_eq!(read(), sources.files);
    std::fs::write(directory.path().join("grants.d/c.toml"), grant_of("c", "a")).unwrap();
    let files = read();
    assert_ne!(files, sources.files);
    assert_eq!(ids(&Config::load(&Sources { files, ..sources }).unwrap()), ["main", "a", "b", "c", "last"]);
}

#[test]
fn problems_of_included_files_name_their_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, sources) = folder(&[
        (
            "main.toml",
            "include = [\"d/*.toml\", \"missing.toml\", 7, \"[\", \"open/*.toml\", \"gone.d/*.toml\"]\n[[grants]]\nid = \"x\"\ncallers = [{ uid = 1 }]\nregistries = [{ public = true }]",
        ),
        ("d/broken.toml", "= 1"),
        ("d/other.toml", "include = [\"more.toml\"]\n[server]\nlisten = []"),
        ("d/twice.toml", &grant_of("x", "default")),
        ("open/a.toml", &grant_of("y", "default")),
    ]);
    let open = directory.path().join("open");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let sources = Sources { files: Files::read(Some(&directory.path().join("main.toml"))), ..sources };
    let diagnostics = Config::load(&sources).unwrap_err();
    for (place, problem) in [
        ("main.toml", "expected a file, or a table { files, accounts, public, profiles }, got 7"),
        ("main.toml", "\"[\" is not a file pattern"),
        ("gone.d/*.toml", "gone.d cannot be read: No such file"),
        ("missing.toml", "cannot be read"),
        ("d/broken.toml", "line 1"),
        ("d/other.toml", "include is not allowed in an included file"),
        ("d/other.toml", "server is not allowed in an included file"),
        ("d/twice.toml", "grant \"x\": duplicate id"),
        ("open/a.toml", "is in the world-writable directory"),
    ] {
        let found = diagnostics.iter().any(|one| one.place.ends_with(place) && one.problem.contains(problem));
        assert!(found, "{place}: {problem}: {diagnostics:#?}");
    }
    assert_eq!(diagnostics.len(), 9, "{diagnostics:#?}");
    assert!(problems("include = \"a.toml\"")[0].contains("expected a list of files"));
}

#[test]
fn include_without_grants_is_refused() {
    let (directory, sources) = folder(&[("main.toml", "include = [\"grants.d/*.toml\"]"), ("grants.d/README", "")]);
    let diagnostics = Config::load(&sources).unwrap_err();
    assert!(diagnostics[0].problem.contains("every caller would have full access"), "{diagnostics:?}");
    // A name that is not UTF-8 is read; a pipe without a writer is refused without waiting.
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"a\xff.toml");
    std::fs::write(directory.path().join("grants.d").join(name), grant_of("strange", "default")).unwrap();
    let pipe = directory.path().join("grants.d/pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let files = Files::read(Some(&directory.path().join("main.toml")));
    let diagnostics = Config::load(&Sources { files, ..sources }).unwrap_err();
    assert!(diagnostics[0].problem.contains("is not a regular file"), "{diagnostics:?}");
}

/// A main file with two profiles, and a team's file with the limits of `include`.
fn bounded(limits: &str, team: &str) -> Vec<String> {
    let profile = |name: &str| {
        format!("[[profiles]]\nname = \"{name}\"\nrole_chain = [\"arn:aws:iam::210987654321:role/{name}\"]\n")
    };
    let main = format!(
        "include = [{{ files = \"team.toml\", {limits} }}]\ngrants = []\n{}{}",
        profile("pull"),
        profile("admin")
    );
    let (_directory, sources) = folder(&[("main.toml", &main), ("team.toml", team)]);
    let diagnostics = Config::load(&sources).err().unwrap_or_default();
    let of_team = |one: &Diagnostic| assert!(one.place.ends_with("/team.toml"), "{one}");
    diagnostics.iter().for_each(of_team);
    diagnostics.into_iter().map(|one| one.problem).collect()
}

#[test]
fn bounded_file_reaches_only_its_accounts_and_profiles() {
    const LIMITS: &str = "accounts = [\"111111111111\"], profiles = [\"pull\", \"team\"]";
    let grant = |registries: &str, more: &str| {
        format!("[[grants]]\nid = \"t\"\ncallers = [{{ uid = 1 }}]\nregistries = [{registries}]\n{more}\n")
    };
    let private = |account: &str| format!("{{ accounts = [\"{account}\"], regions = [\"*\"] }}");
    let (own, other) = (private("111111111111"), private("222222222222"));
    let role = |name: &str, account: &str| {
        format!(
            "[[profiles]]\nname = \"{name}\"\nrole_chain = [\"arn:aws:iam::999999999999:role/hub\", \"arn:aws:iam::{account}:role/x\"]\n"
        )
    };
    let (pull, deny) = ("profile = \"pull\"", "profile = \"pull\"\neffect = \"deny\"");
    for (limits, team, problem) in [
        (LIMITS, grant(&own, pull), None),
        (LIMITS, grant(&own, deny), None),
        (LIMITS, role("team", "111111111111") + &grant(&own, "profile = \"team\""), None),
        (LIMITS, role("team", "{account}"), None),
        (
            LIMITS,
            grant(&other, pull),
            Some("grant \"t\": registries: account 222222222222 is not in this file's include"),
        ),
        (LIMITS, grant(&other, deny), Some("grant \"t\": registries: account 222222222222 is not")),
        (LIMITS, grant(&private("*"), pull), Some("grant \"t\": registries: every account is not")),
        (LIMITS, grant("{ public = true }", pull), Some("grant \"t\": registries: public is not")),
        (
            LIMITS,
            grant(&own, "profile = \"admin\""),
            Some("grant \"t\": profile: \"admin\" is not in this file's include"),
        ),
        (LIMITS, grant(&own, ""), Some("grant \"t\": profile: \"default\" is not")),
        (LIMITS, grant(&own, "effect = \"deny\""), Some("grant \"t\": profile is missing; name one of")),
        (
            LIMITS,
            "[[grants]]\nid = \"t\"\ncallers = [{ uid = 1 }]\noperator = true\n".to_owned(),
            Some("grant \"t\": operator: a file with limits cannot name operators"),
        ),
        (LIMITS, role("mine", "111111111111"), Some("profile \"mine\": name: \"mine\" is not")),
        (LIMITS, role("team", "222222222222"), Some("profile \"team\": role_chain: account 222222222222 of the last")),
        (LIMITS, role("pull", "111111111111"), Some("profile \"pull\": duplicate name")),
        (
            LIMITS,
            grant("{ accounts = [\"111111111111\"], regions = [\"eu-aaa-1\"] }", pull),
            Some("grant \"t\": registries: region eu-aaa-1 is not one of AWS's"),
        ),
        (LIMITS, grant("{ accounts = [\"111111111111\"], regions = [\"eu-aaa-*\"] }", pull), None),
        ("public = true", grant("{ public = true }", ""), None),
        ("public = true", grant(&own, ""), Some("grant \"t\": registries: account 111111111111 is not")),
        ("accounts = [\"*\"], profiles = [\"admin\"]", grant(&private("*"), "profile = \"admin\""), None),
    ] {
        let problems = bounded(limits, &team);
        match problem {
            None => assert_eq!(problems, Vec::<String>::new(), "{limits}: {team}"),
            Some(problem) => {
                assert!(problems.len() == 1 && problems[0].starts_with(problem), "{limits}: {team}: {problems:#?}");
            }
        }
    }
}

#[test]
fn limits_of_a_file_must_be_valid_and_the_same_everywhere() {
    for (include, problem) in [
        ("{ accounts = [\"*\"] }", "expected a file, or a table"),
        ("{ files = \"a.toml\" }", "set accounts or public = true"),
        ("{ files = \"a.toml\", account = [\"*\"] }", "account: unknown key; the keys are files, accounts"),
        ("{ files = \"a.toml\", accounts = [\"1\"] }", "twelve digits"),
        ("{ files = \"a.toml\", accounts = [\"*\"], profiles = [\"a b\"] }", "profiles: expected 1 to 32"),
        ("{ files = \"a.toml\", public = 1 }", "public: expected true or false"),
        ("\"*.toml\", { files = \"a.toml\", public = true }", "matches two items with different limits"),
    ] {
        let main = format!("include = [{include}]\ngrants = []\n");
        let (_directory, sources) = folder(&[("main", &main), ("a.toml", "")]);
        let diagnostics = Config::load(&sources).unwrap_err();
        assert!(diagnostics.len() == 1 && diagnostics[0].problem.contains(problem), "{include}: {diagnostics:?}");
        assert!(diagnostics[0].place.ends_with("/main") && diagnostics[0].problem.starts_with("include: "));
    }
}

/// Returns the denials of a team's file, written as TOML, under a main file that makes them invalid.
fn denials_under(main: &str, denial: &str) -> String {
    let denial = format!("[[grants]]\nid = \"never\"\ncallers = [{{ uid = 1 }}]\neffect = \"deny\"\n{denial}");
    let (_directory, sources) = folder(&[("main.toml", main), ("team.toml", &denial)]);
    let (config, problems) = Config::load_valid_parts(&sources);
    assert!(!problems.is_empty() && problems.iter().all(|one| one.place.ends_with("team.toml")), "{problems:?}");
    let is_denial = |grant: &&crate::policy::Grant| grant.effect == crate::policy::Effect::Deny;
    let denials: Vec<_> = config.policy.grants().iter().filter(is_denial).cloned().collect();
    crate::policy::grants_as_toml(&denials)
}

/// The main file's grants, limits and profiles can make a denial invalid that the team wrote and that was valid.
#[test]
fn denial_stays_active_within_its_files_limits() {
    const BOTH: &str =
        "registries = [{ accounts = [\"111111111111\", \"222222222222\"], regions = [\"*\"] }, { public = true }]";
    let bounded = |profiles: &str| {
        format!(
            "include = [{{ files = \"team.toml\", accounts = [\"111111111111\"], profiles = [{profiles}] }}]\ngrants = []\n"
        )
    };
    let narrowed = denials_under(&bounded("\"default\""), &format!("{BOTH}\nprofile = \"default\""));
    assert!(narrowed.contains("111111111111") && narrowed.contains("profile"), "{narrowed}");
    assert!(!narrowed.contains("222222222222") && !narrowed.contains("public"), "{narrowed}");
    let every_account = "registries = [{ accounts = [\"*\"], regions = [\"*\"] }]";
    let for_each = denials_under(&bounded("\"default\", \"pull\""), every_account);
    assert_eq!((for_each.matches("never").count(), for_each.matches("111111111111").count()), (2, 2), "{for_each}");
    assert_eq!(denials_under(&bounded("\"pull\""), &format!("{BOTH}\nprofile = \"default\"")), "");
    // An ID that the main file uses, too, and a profile that it no longer has.
    let taken = format!("include = [\"team.toml\"]\n{}", grant_of("never", "default"));
    for denial in [every_account.to_owned(), format!("{BOTH}\nprofile = \"pull\"")] {
        let whole = denials_under(&taken, &denial);
        assert!(whole.matches("never").count() == 1 && whole.contains("accounts"), "{whole}");
    }
}

#[test]
fn file_with_too_many_keys_is_not_parsed() {
    let keys = |number: usize| (0..number).map(|key| format!("k{key} = 1\n")).collect::<Vec<_>>().concat();
    let problems = |files: &[(&str, &str)]| {
        let problems = Config::load(&folder(files).1).err().unwrap_or_default();
        problems.iter().map(|one| one.problem.clone() + "\n").collect::<String>()
    };
    let main = |text: &str| problems(&[("main.toml", text)]);
    let most = main(&keys(32_768));
    assert!(most.contains("[k0]: unknown section; ") && most.contains("and 32668 more problems; "), "{most}");
    for text in [keys(32_769), format!("{}a = 1", "a.".repeat(32_768)), format!("a = [{}]", "{b=1},".repeat(32_769))] {
        let problems = main(&text);
        assert!(
            problems.contains("has more than 32,768 keys and values; remove unknown ones")
                && problems.lines().count() == 1,
            "{problems}"
        );
    }
    // Of an item: the files that are parsed.
    let item = |files: [usize; 3]| {
        let texts = files.map(keys);
        let [a, b, c] = texts.each_ref().map(String::as_str);
        problems(&[("main.toml", "include = [\"d/*.toml\"]"), ("d/a.toml", a), ("d/b.toml", b), ("d/c.toml", c)])
    };
    assert!(item([32_768, 32_768, 1]).contains("its files have more than 65,536 keys and values in all"));
    let apart = item([32_769, 32_769, 1]);
    assert!(!apart.contains("in all") && apart.matches("has more than 32,768 keys and values").count() == 2, "{apart}");
}

/// Returns the only problem of a folder `d` with these files, which the main file includes.
fn problem_of_folder(pattern: &str, files: impl Iterator<Item = (String, usize)>) -> Option<String> {
    let main = format!("include = [{{ files = \"{pattern}\", accounts = [\"111111111111\"] }}]\ngrants = []\n");
    let (directory, sources) = folder(&[("main.toml", &main), ("d/README", "")]);
    std::os::unix::fs::symlink(".", directory.path().join("d/circle")).unwrap();
    for (name, length) in files {
        std::fs::write(directory.path().join("d").join(name), "#".repeat(length)).unwrap();
    }
    let files = Files::read(Some(&directory.path().join("main.toml")));
    let problems = Config::load(&Sources { files, ..sources }).err().unwrap_or_default();
    assert!(problems.iter().all(|one| one.place.ends_with(pattern)) && problems.len() <= 1, "{problems:?}");
    problems.into_iter().next().map(|one| one.problem)
}

#[test]
fn files_of_an_item_have_a_largest_number_and_length() {
    const MIB: usize = 1 << 20;
    let files = |number: usize, length: usize| (0..number).map(move |file| (format!("{file}.toml"), length));
    let problem = |number, length| problem_of_folder("d/*.toml", files(number, length)).unwrap_or_default();
    assert_eq!((problem(256, 0), problem(4, MIB), problem(5, MIB - MIB / 4)), Default::default());
    assert!(problem(257, 0).contains("it matches more than 256 files; remove some"));
    assert!(problem(5, MIB - MIB / 8).contains("its files have more than 4 MiB in all"));
    let one_more = files(4, MIB).chain([("more.toml".to_owned(), 1)]);
    assert!(problem_of_folder("d/*.toml", one_more).unwrap().contains("its files have more than 4 MiB in all"));
}

#[test]
fn folders_of_a_pattern_have_a_largest_number_of_entries() {
    let others = |number: usize| (0..number).map(|file| (file.to_string(), 0));
    let problem = |pattern, number| problem_of_folder(pattern, others(number)).unwrap_or_default();
    assert_eq!((problem("d/*.toml", 4_000), problem("*/none.toml", 4_100)), Default::default());
    assert!(problem("d/*.toml", 4_100).contains("its folders have more than 4096 entries"));
    assert!(problem("d/**/*.toml", 200).contains("its folders have more than 4096 entries"), "a circle of links");
}
