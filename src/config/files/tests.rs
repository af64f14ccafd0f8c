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

    assert_eq!(sources.files.read_again(), sources.files);
    std::fs::write(directory.path().join("grants.d/c.toml"), grant_of("c", "a")).unwrap();
    let files = sources.files.read_again();
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
    let sources = Sources { files: sources.files.read_again(), ..sources };
    let diagnostics = Config::load(&sources).unwrap_err();
    for (place, problem) in [
        ("main.toml", "expected a string, got 7"),
        ("main.toml", "\"[\" is not a file pattern"),
        ("main.toml", "gone.d cannot be read: No such file"),
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
    let diagnostics = Config::load(&Sources { files: sources.files.read_again(), ..sources }).unwrap_err();
    assert!(diagnostics[0].problem.contains("is not a regular file"), "{diagnostics:?}");
}
