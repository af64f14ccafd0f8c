//! `sync` and `watch`: the real program beside a broker with a simulated AWS, whose tokens last seconds.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod program;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use program::{Ended, Following, Server, program, run, signal};
use serde_json::{Value, json};

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const PUBLIC: &str = "public.ecr.aws";
const NO_BROKER: &str = "http://127.0.0.1:1";

/// Hook that prints the file after each change.
const SHOW: &str = "tr -d '[:space:]' <$ECR_SYNC_FILE; echo";

/// A directory for the broker's socket and for credential files.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("broker.toml"), "[cache]\nsafety_margin = \"1s\"\n").unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn address(&self) -> String {
        format!("unix:{}", self.text("broker.sock"))
    }

    fn broker(&self, lifetime: &str) -> Server {
        let (config, listen) = (self.text("broker.toml"), self.address());
        let arguments =
            ["serve", "--simulate", "--config", &config, "--listen", &listen, "--simulate-token-lifetime", lifetime];
        Server::start(&arguments, &[])
    }

    fn sync(&self, arguments: &[&str]) -> Following {
        let mut command = program(&[("ECR_BROKER_ADDRESS", &self.address())]);
        command.arg("sync").args(arguments).args(["--on-change", SHOW]);
        Following::start(command)
    }

    fn once(&self, arguments: &[&str]) -> Ended {
        run(&[&["sync", "--once"], arguments].concat(), &[("ECR_BROKER_ADDRESS", &self.address())])
    }

    fn config(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }
}

fn hosts(config: &Value) -> Vec<&String> {
    config["auths"].as_object().unwrap().keys().collect()
}

#[test]
fn sync_once_writes_a_private_file_and_only_when_it_changes() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let target = ["--docker-config", &place.text("docker")];
    let arguments = [&[PRIVATE, PUBLIC][..], &target].concat();
    let file = place.path("docker/config.json");
    assert!(place.once(&arguments).out().starts_with(&format!("{}: 2 registries, valid for 11h", file.display())));
    let first = fs::metadata(&file).unwrap();
    assert_eq!(first.permissions().mode() & 0o777, 0o600);
    assert_eq!(hosts(&place.config("docker/config.json")), [PRIVATE, PUBLIC]);
    let got = run(&["get", PRIVATE, PUBLIC, "-o", "docker-config"], &[("ECR_BROKER_ADDRESS", &place.address())]);
    assert_eq!(serde_json::from_str::<Value>(&got.out()).unwrap(), place.config("docker/config.json"));
    assert_eq!(place.once(&arguments).out(), format!("{} is up to date\n", file.display()));
    assert_eq!(fs::metadata(&file).unwrap().ino(), first.ino(), "not written again");
    // docker's file means its directory.
    place.once(&[&[PRIVATE, PUBLIC, "--docker-config"][..], &[file.to_str().unwrap()]].concat()).out();
    assert_eq!(fs::metadata(&file).unwrap().ino(), first.ino(), "not written again");
    // One that others came to read is closed again.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    place.once(&arguments).out();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    place.once(&[&[PRIVATE][..], &target].concat()).out();
    assert_eq!(hosts(&place.config("docker/config.json")), [PRIVATE]);
}

#[test]
fn sync_once_without_registries_writes_all_that_the_grants_name() {
    let place = Place::new();
    let grant = |registries: &str| {
        let uid = rustix::process::geteuid().as_raw();
        let grant = format!("[[grants]]\nid = \"a\"\ncallers = [{{ uid = {uid} }}]\nregistries = [{registries}]\n");
        fs::write(place.path("broker.toml"), grant).unwrap();
        place.broker("12h")
    };
    let file = place.text("new/config.json");
    let once = || place.once(&["--docker-config", &file]);
    let broker = grant("{ accounts = [\"123456789012\"], regions = [\"eu-central-1\"] }, { public = true }");
    assert!(once().out().starts_with(&format!("{file}: 2 registries, valid for ")));
    assert_eq!(hosts(&place.config("new/config.json")), [PRIVATE, PUBLIC]);
    broker.stop();
    let broker = grant("{ accounts = [\"123456789012\"], regions = [\"*\"] }");
    fs::remove_file(&file).unwrap();
    let ended = once();
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.error().contains("none of your grants names a full registry host"), "{ended:?}");
    assert!(!Path::new(&file).exists());
    broker.stop();
}

#[test]
fn sync_once_with_failures_prints_them_and_writes_the_rest() {
    let place = Place::new();
    let broker = place.broker("12h");
    let authfile = place.text("auth.json");
    let ended = place.once(&[PRIVATE, "ghcr.io/x", "--authfile", &authfile, "--on-change", "exit 3"]);
    assert_eq!(ended.code, 3, "the first failure decides, not the hook");
    assert!(
        ended.stderr.contains("ghcr.io/x: REGISTRY_NOT_ECR") && ended.stderr.contains("exit status: 3"),
        "{ended:?}"
    );
    assert_eq!(hosts(&place.config("auth.json")), [PRIVATE]);
    assert_eq!(place.once(&["ghcr.io/x", "--authfile", &authfile]).code, 3);
    for (arguments, expected) in [
        (&[PRIVATE][..], "--docker-config"),
        (&[PRIVATE, "--authfile", &authfile, "--docker-config", "/tmp"], "cannot be used with"),
    ] {
        let ended = place.once(arguments);
        assert!(ended.code == 2 && ended.stderr.contains(expected), "{ended:?}");
    }
    place.once(&[PRIVATE, "--authfile", &authfile]).out();
    broker.stop();
    let ended = place.once(&[PRIVATE, "--authfile", &authfile, "--timeout", "1s"]);
    assert_eq!(ended.code, 5, "{ended:?}");
    assert_eq!(hosts(&place.config("auth.json")), [PRIVATE], "valid entries stay");
}

#[test]
fn sync_refreshes_over_broker_restarts_and_removes_expired_entries() {
    let place = Place::new();
    let broker = place.broker("10s");
    let mut sync = place.sync(&[PRIVATE, "--docker-config", &place.text("docker")]);
    let shown = |line: &str| line.starts_with("{\"auths\":{\"123456789012.").then(|| line.to_owned());
    let first = sync.until(shown);
    // The broker refreshes a credential after half of its lifetime.
    let second = sync.until(shown);
    assert_ne!(first, second);
    broker.stop();
    let broker = place.broker("10s");
    let third = sync.until(shown);
    assert_ne!(second, third);
    broker.stop();
    sync.until(|line| line.contains("valid entries stay in").then_some(()));
    sync.until(|line| (line == "{\"auths\":{}}").then_some(()));
    assert_eq!(place.config("docker/config.json"), json!({"auths": {}}));
    assert!(sync.end("TERM").success());
}

#[test]
fn sync_keeps_foreign_content_with_merge_and_refuses_it_without() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let theirs = json!({
        "auths": { "ghcr.io": { "auth": "eDp5" }, PRIVATE: { "auth": "QVdTOm9sZA==" } }, "credsStore": "x", "HttpHeaders": { "A": "b" }
    });
    fs::write(place.path("auth.json"), theirs.to_string()).unwrap();
    let authfile = place.text("auth.json");
    let refused = place.once(&[PRIVATE, "--authfile", &authfile]);
    assert!(refused.code == 1 && refused.error().contains("--merge"), "{refused:?}");
    assert_eq!(place.config("auth.json"), theirs);
    // Nor is an entry for the same host that sync did not write replaced; docker's placeholder says nothing.
    let mut theirs = theirs;
    theirs["auths"][PUBLIC] = json!({});
    fs::write(place.path("auth.json"), theirs.to_string()).unwrap();
    let merge = || place.once(&[PRIVATE, PUBLIC, "--authfile", &authfile, "--merge"]);
    for _ in 0..2 {
        let kept = merge();
        let problem = format!("the entry for {PRIVATE} is not sync's, and stays; remove it (docker logout {PRIVATE})");
        assert!(kept.code == 1 && kept.error().contains(&problem), "{kept:?}");
        let mut merged = place.config("auth.json");
        assert!(merged["auths"][PUBLIC]["auth"].is_string(), "{merged}");
        merged["auths"][PUBLIC] = json!({});
        assert_eq!(merged, theirs);
    }
    theirs["auths"].as_object_mut().unwrap().remove(PRIVATE);
    fs::write(place.path("auth.json"), theirs.to_string()).unwrap();
    merge().out();
    // A login of the user's replaces sync's entry, and stays then.
    let mut again = place.config("auth.json");
    again["auths"][PRIVATE] = json!({ "auth": "QVdTOm9sZA==" });
    fs::write(place.path("auth.json"), again.to_string()).unwrap();
    assert_eq!(merge().code, 1);
    assert_eq!(place.config("auth.json"), again);

    fs::write(place.path("auth.json"), "{\"auths\": [").unwrap();
    for merge in [&[][..], &["--merge"]] {
        let refused = place.once(&[&[PRIVATE, "--authfile", &authfile][..], merge].concat());
        assert!(refused.code == 1 && refused.error().contains("not a JSON object"), "{refused:?}");
    }
}

/// Lets the entry of a host expire.
fn expire(place: &Place, file: &str, host: &str) {
    let path = place.path(&format!("{file}.sync"));
    let mut notes: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for note in notes[host].as_array_mut().unwrap() {
        note["end"] = 1.into();
    }
    fs::write(path, notes.to_string()).unwrap();
}

#[test]
fn sync_start_removes_expired_entries_even_without_a_broker() {
    let place = Place::new();
    let broker = place.broker("12h");
    let theirs = json!({ "auths": { "ghcr.io": { "auth": "eDp5" } }, "x": 1 });
    fs::write(place.path("theirs.json"), theirs.to_string()).unwrap();
    let cases = [("own.json", &[][..]), ("theirs.json", &["--merge"][..])];
    let arguments = |name: &str| vec![PRIVATE.to_owned(), PUBLIC.to_owned(), "--authfile".to_owned(), place.text(name)];
    for (name, merge) in cases {
        let arguments = arguments(name);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(merge.iter().copied()).collect();
        place.once(&arguments).out();
        expire(&place, name, PRIVATE);
    }
    broker.stop();
    for (name, merge) in cases {
        let arguments = arguments(name);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(merge.iter().copied()).collect();
        assert_eq!(place.once(&[&arguments[..], &["--timeout", "1s"]].concat()).code, 5);
        let config = place.config(name);
        assert!(config["auths"].get(PRIVATE).is_none() && config["auths"].get(PUBLIC).is_some(), "{config}");
        expire(&place, name, PUBLIC);
        let mut sync = place.sync(&arguments);
        sync.until(|line| line.starts_with("{\"auths\":{").then_some(()));
        assert!(sync.end("INT").success());
        assert!(place.config(name)["auths"].get(PUBLIC).is_none());
    }
    assert_eq!(place.config("theirs.json"), theirs);
}

#[test]
fn sync_removes_own_entries_no_longer_requested_and_no_others() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let authfile = place.text("auth.json");
    fs::write(place.path("auth.json"), json!({ "auths": {}, "x": 1 }).to_string()).unwrap();
    place.once(&[PRIVATE, PUBLIC, "--authfile", &authfile, "--merge"]).out();
    place.once(&[PRIVATE, "--authfile", &authfile, "--merge"]).out();
    assert_eq!(hosts(&place.config("auth.json")), [PRIVATE]);
    // sync does not know the expiry of an entry without a note, and must not remove it.
    let other = "210987654321.dkr.ecr.us-east-1.amazonaws.com";
    let foreign = json!({ "auths": { other: { "auth": "QVdTOm9sZA==" } } });
    fs::write(place.path("auth.json"), foreign.to_string()).unwrap();
    let refused = place.once(&[PRIVATE, "--authfile", &authfile]);
    assert!(refused.code == 1 && refused.error().contains("--merge"), "{refused:?}");
    assert_eq!(place.config("auth.json"), foreign);
    // The same with lost notes.
    place.once(&[PRIVATE, "--authfile", &place.text("own.json")]).out();
    fs::write(place.path("own.json.sync"), "{").unwrap();
    let refused = place.once(&[PRIVATE, "--authfile", &place.text("own.json")]);
    assert!(refused.code == 1 && refused.stderr.contains("--merge"), "{refused:?}");
}

/// A shared volume of a pod.
#[test]
fn sync_in_a_world_writable_directory_refuses_foreign_files_and_links() {
    let place = Place::new();
    let _broker = place.broker("12h");
    fs::create_dir(place.path("open")).unwrap();
    fs::set_permissions(place.path("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let authfile = place.text("open/auth.json");
    let once = || place.once(&[PRIVATE, "--authfile", &authfile]);
    once().out();
    fs::remove_file(&authfile).unwrap();
    std::os::unix::fs::symlink(place.path("elsewhere.json"), &authfile).unwrap();
    let refused = once();
    assert!(refused.code == 1 && refused.error().contains("is a link in a world-writable directory"), "{refused:?}");
    fs::remove_file(&authfile).unwrap();
    fs::write(&authfile, "{}").unwrap();
    // Only root can create a file of another user.
    if std::os::unix::fs::chown(&authfile, Some(12_345), None).is_ok() {
        let refused = once();
        assert!(refused.code == 1 && refused.error().contains("belongs to user 12345"), "{refused:?}");
    }
}

/// docker's file on a tmpfs that is empty after a boot.
#[test]
fn sync_writes_through_a_dangling_link_and_locks_the_target() {
    let place = Place::new();
    let _broker = place.broker("12h");
    fs::create_dir(place.path("docker")).unwrap();
    let (link, target) = (place.path("docker/config.json"), place.text("tmpfs/config.json"));
    std::os::unix::fs::symlink("../second", &link).unwrap();
    std::os::unix::fs::symlink(&target, place.path("second")).unwrap();
    let directory = place.text("docker");
    let arguments = [PRIVATE, "--docker-config", &directory];
    let refused = place.once(&arguments);
    assert!(refused.code == 1 && refused.error().contains("whose directory does not exist"), "{refused:?}");
    assert_eq!(fs::read_link(&link).unwrap(), PathBuf::from("../second"));
    fs::create_dir(place.path("tmpfs")).unwrap();
    place.once(&arguments).out();
    assert_eq!(fs::read_link(&link).unwrap(), PathBuf::from("../second"));
    assert_eq!(hosts(&place.config("tmpfs/config.json")), [PRIVATE]);
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(place.path("docker")).unwrap().count(), 1, "nothing is written beside the link");
    // A sync of the target itself finds the notes and the lock.
    let mut sync = place.sync(&arguments);
    sync.until(|line| line.contains(PRIVATE).then_some(()));
    let second = place.once(&[PRIVATE, "--authfile", &target]);
    assert!(second.code == 1 && second.error().contains("another sync updates"), "{second:?}");
    assert!(sync.end("TERM").success());
    place.once(&[PUBLIC, "--authfile", &target]).out();
    assert_eq!(hosts(&place.config("docker/config.json")), [PUBLIC]);
}

/// Only root can create files of other users.
#[test]
fn link_to_a_directory_of_another_user_is_refused_and_creates_nothing() {
    use std::os::unix::fs::{chown, lchown, symlink};
    let place = Place::new();
    let _broker = place.broker("12h");
    for directory in ["user", "root", "other"] {
        fs::create_dir(place.path(directory)).unwrap();
    }
    let (link, own_link) = (place.text("user/config.json"), place.text("root/link.json"));
    symlink(place.path("root/missing.json"), &link).unwrap();
    symlink(place.path("other/missing.json"), &own_link).unwrap();
    let owned = [chown(place.path("user"), Some(4242), None), chown(place.path("other"), Some(4343), None)];
    if owned.iter().any(Result::is_err) || lchown(&link, Some(4242), None).is_err() {
        program::skipped("only root can give files to other users");
        return;
    }
    fs::write(place.path("root/theirs.json"), r#"{"x":1}"#).unwrap();
    fs::set_permissions(place.path("root/theirs.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let refuse = |file: &str, problem: &str| {
        let before = [0, 1].map(|at| fs::read_dir(place.path(["root", "other"][at])).unwrap().count());
        for arguments in [
            &["sync", "--once", PRIVATE, "--merge", "--authfile", file][..],
            &["configure", "docker", PRIVATE, "--file", file],
        ] {
            let refused = run(arguments, &[("ECR_BROKER_ADDRESS", &place.address())]);
            assert!(refused.code == 1 && refused.error().contains(problem), "{refused:?}");
        }
        let after = [0, 1].map(|at| fs::read_dir(place.path(["root", "other"][at])).unwrap().count());
        assert_eq!(after, before, "{file}");
    };
    let users_link = "root follows no link of user 4242; run the command as that user, or name";
    refuse(&link, users_link);
    refuse(&own_link, "not the link's owner");
    fs::remove_file(&link).unwrap();
    symlink(place.path("root/theirs.json"), &link).unwrap();
    lchown(&link, Some(4242), None).unwrap();
    refuse(&link, users_link);
    assert_eq!(fs::read_to_string(place.path("root/theirs.json")).unwrap(), r#"{"x":1}"#);
    assert_eq!(fs::metadata(place.path("root/theirs.json")).unwrap().mode() & 0o777, 0o644);
    // A link of the user to a directory.
    symlink(place.path("root"), place.path("user/.docker")).unwrap();
    lchown(place.path("user/.docker"), Some(4242), None).unwrap();
    refuse(&place.text("user/.docker/new.json"), users_link);
    // A link within the user's directories: root could be led elsewhere between two steps.
    fs::create_dir(place.path("user/own")).unwrap();
    chown(place.path("user/own"), Some(4242), None).unwrap();
    fs::remove_file(&link).unwrap();
    symlink("own/config.json", &link).unwrap();
    lchown(&link, Some(4242), None).unwrap();
    refuse(&link, users_link);
    // The file itself stays the user's.
    let file = place.text("user/own/config.json");
    fs::write(&file, "{}").unwrap();
    chown(&file, Some(4242), None).unwrap();
    place.once(&[PRIVATE, "--authfile", &file]).out();
    assert_eq!(fs::metadata(&file).unwrap().uid(), 4242);
}

/// The names, contents, modes and owners of a directory's files.
fn snapshot(directory: &Path) -> Vec<(PathBuf, String, u32, u32)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let (path, metadata) = (entry.as_ref().unwrap().path(), entry.unwrap().metadata().unwrap());
            (path.clone(), fs::read_to_string(path).unwrap(), metadata.mode(), metadata.uid())
        })
        .collect();
    files.sort();
    files
}

/// Whatever user 4242 plants, root makes, changes and opens no file where a link leads. Only root can create files of other users.
#[test]
fn planted_links_make_root_write_nothing_elsewhere() {
    use std::os::unix::fs::{chown, lchown, symlink};
    let place = Place::new();
    let _broker = place.broker("12h");
    let root = place.path("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("daemon.json"), r#"{"x":1}"#).unwrap();
    let before = snapshot(&root);
    let commands: [&[&str]; 3] = [
        &["sync", "--once", PRIVATE, "--authfile"],
        &["sync", "--once", PRIVATE, "--merge", "--authfile"],
        &["configure", "docker", PRIVATE, "--file"],
    ];
    let (users, shared) = ("root follows no link of user 4242", "is a link in a world-writable directory");
    for (owner, mode) in [(4242, 0o755), (0, 0o777), (0, 0o1777)] {
        for (planted, target, problem) in [
            ("config.json", "root/daemon.json", Some(if owner == 0 { shared } else { users })),
            ("config.json", "root/missing.json", Some(if owner == 0 { shared } else { users })),
            ("config.json.lock", "root/nologin", Some("the lock file is a link")),
            ("config.json.sync.lock", "root/nologin", Some("the lock file is a link")),
            ("config.json.new", "root/daemon.json", None),
            ("config.json.sync", "root/daemon.json", None),
            (".docker", "root", Some(if owner == 0 { shared } else { users })),
        ] {
            for command in commands {
                let directory = place.path("theirs");
                fs::create_dir(&directory).unwrap();
                let link = directory.join(planted);
                symlink(place.path(target), &link).unwrap();
                fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
                if chown(&directory, Some(owner), None).is_err() || lchown(&link, Some(4242), None).is_err() {
                    return;
                }
                let below = if planted == ".docker" { "theirs/.docker/config.json" } else { "theirs/config.json" };
                let file = place.text(below);
                let ended = run(&[command, &[file.as_str()]].concat(), &[("ECR_BROKER_ADDRESS", &place.address())]);
                assert_eq!(snapshot(&root), before, "{mode:o} {planted} {command:?}: {ended:?}");
                let unused = command[0] == "configure" && planted.contains(".sync");
                match problem.filter(|_| !unused) {
                    Some(problem) => {
                        assert!(ended.code == 1 && ended.error().contains(problem), "{mode:o} {planted}: {ended:?}");
                    }
                    None => assert_eq!(ended.code, 0, "{mode:o} {planted} {command:?}: {ended:?}"),
                }
                fs::remove_dir_all(&directory).unwrap();
            }
        }
    }
}

/// As dotfile managers make them. Only root can run a command as another user.
#[test]
fn user_writes_through_its_own_links_to_its_own_files() {
    use std::os::unix::fs::{chown, lchown, symlink};
    use std::os::unix::process::CommandExt as _;
    let place = Place::new();
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    program::copy_to(place.path("ecr-broker"));
    for directory in ["home", "home/.docker", "home/dotfiles"] {
        fs::create_dir(place.path(directory)).unwrap();
        if chown(place.path(directory), Some(4242), Some(4242)).is_err() {
            return;
        }
    }
    let link = place.path("home/.docker/config.json");
    symlink("../dotfiles/config.json", &link).unwrap();
    lchown(&link, Some(4242), Some(4242)).unwrap();
    for registry in [PRIVATE, PUBLIC] {
        let mut command = std::process::Command::new(place.path("ecr-broker"));
        command.args(["configure", "docker", registry]).env_clear().env("HOME", place.path("home"));
        let output = command.uid(4242).gid(4242).current_dir("/").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let written = place.config("home/dotfiles/config.json");
    assert_eq!(written["credHelpers"], json!({ PRIVATE: "ecr-broker", PUBLIC: "ecr-broker" }));
}

#[test]
fn lock_that_is_a_link_is_refused() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let authfile = place.text("auth.json");
    for name in ["auth.json.sync.lock", "auth.json.lock"] {
        std::os::unix::fs::symlink(place.path("planted"), place.path(name)).unwrap();
        let refused = place.once(&[PRIVATE, "--authfile", &authfile]);
        assert!(refused.code == 1 && !refused.error().is_empty(), "{name}: {refused:?}");
        assert!(!place.path("planted").exists(), "{name}");
        fs::remove_file(place.path(name)).unwrap();
    }
}

#[test]
fn sync_takes_null_for_no_content() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let authfile = place.text("auth.json");
    for (merge, text) in
        [(&[][..], r#"{"auths":null,"credHelpers":null}"#), (&["--merge"], r#"{"auths":null,"x":1}"#), (&[], "null")]
    {
        fs::write(&authfile, text).unwrap();
        place.once(&[&[PRIVATE, "--authfile", &authfile][..], merge].concat()).out();
        assert_eq!(hosts(&place.config("auth.json")), [PRIVATE]);
    }
}

#[test]
fn sync_with_merge_keeps_key_order_and_indentation() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let before = "{\n  \"z\": 1,\n  \"auths\": {\n    \"x.example\": {},\n    \"a.example\": {}\n  },\n  \"b\": 2\n}\n";
    fs::write(place.path("auth.json"), before).unwrap();
    place.once(&[PRIVATE, "--authfile", &place.text("auth.json"), "--merge"]).out();
    let after = fs::read_to_string(place.path("auth.json")).unwrap();
    let (head, tail) = after.split_once(",\n    \"123456789012.").unwrap();
    assert_eq!(head, "{\n  \"z\": 1,\n  \"auths\": {\n    \"x.example\": {},\n    \"a.example\": {}");
    assert!(tail.ends_with("\n    }\n  },\n  \"b\": 2\n}\n"), "{tail}");
}

#[test]
fn second_sync_of_the_same_file_is_refused() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let authfile = place.text("auth.json");
    let mut first = place.sync(&[PRIVATE, "--authfile", &authfile]);
    first.until(|line| line.contains(PRIVATE).then_some(()));
    let second = place.once(&[PUBLIC, "--authfile", &authfile, "--merge"]);
    assert!(second.code == 1 && second.error().contains("another sync updates"), "{second:?}");
    assert!(first.end("TERM").success());
    place.once(&[PUBLIC, "--authfile", &authfile, "--merge"]).out();
}

#[test]
fn special_file_is_not_replaced() {
    use std::os::unix::fs::FileTypeExt as _;
    let place = Place::new();
    let _broker = place.broker("12h");
    let socket = place.text("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for arguments in [
        &["sync", "--once", PRIVATE, "--authfile", &socket][..],
        &["configure", "docker", PRIVATE, "--file", &socket],
        &["configure", "docker", PRIVATE, "--file", place.directory.path().to_str().unwrap()],
    ] {
        let refused = run(arguments, &[("ECR_BROKER_ADDRESS", &place.address())]);
        assert!(refused.code == 1 && !refused.error().is_empty(), "{refused:?}");
        assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    }
    let left: Vec<_> = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn deleted_directory_is_created_again() {
    let place = Place::new();
    let _broker = place.broker("10s");
    let mut sync = place.sync(&[PRIVATE, "--docker-config", &place.text("docker")]);
    let shown = |line: &str| line.starts_with("{\"auths\":{\"123456789012.").then_some(());
    sync.until(shown);
    fs::remove_dir_all(place.path("docker")).unwrap();
    sync.until(shown);
    assert_eq!(hosts(&place.config("docker/config.json")), [PRIVATE]);
    let second = place.once(&[PRIVATE, "--docker-config", &place.text("docker")]);
    assert!(second.code == 1 && second.error().contains("another sync updates"), "{second:?}");
}

#[test]
fn sync_without_a_valid_registry_exits() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let authfile = place.text("auth.json");
    let ended =
        run(&["sync", "ghcr.io/x", "nonsense:", "--authfile", &authfile], &[("ECR_BROKER_ADDRESS", &place.address())]);
    assert!(ended.code == 3 && ended.stderr.contains("REGISTRY_NOT_ECR"), "{ended:?}");
}

#[test]
fn sync_exits_on_a_permanent_failure() {
    let place = Place::new();
    fs::write(place.path("broker.toml"), "grants = []").unwrap();
    let _broker = place.broker("12h");
    let ended = run(&["sync", "--authfile", &place.text("auth.json")], &[("ECR_BROKER_ADDRESS", &place.address())]);
    assert!(ended.code == 1 && ended.error().contains("list the registries to watch"), "{ended:?}");
}

#[test]
fn sync_without_registries_writes_those_of_the_grants() {
    let place = Place::new();
    let grants = format!(
        "[[grants]]\nid = \"a\"\ncallers = [{{ uid = {} }}]\nregistries = [{{ public = true }}]\n",
        fs::metadata(place.directory.path()).unwrap().uid()
    );
    fs::write(place.path("broker.toml"), grants).unwrap();
    let _broker = place.broker("12h");
    let mut sync = place.sync(&["--authfile", &place.text("auth.json")]);
    sync.until(|line| line.contains(PUBLIC).then_some(()));
    assert!(sync.end("TERM").success());
}

/// Each sync writes at its start, because it requests other registries than the one before.
#[test]
fn two_hundred_kills_leave_a_complete_file() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let authfile = place.text("auth.json");
    let started = tokio::time::Instant::now();
    place.once(&[PRIVATE, PUBLIC, "--authfile", &authfile]).out();
    let whole = started.elapsed();
    let (mut changes, mut before) = (0, place.config("auth.json"));
    for round in 0..200 {
        let registries = [&[PRIVATE][..], &[PUBLIC], &[PRIVATE, PUBLIC]][round % 3];
        let mut command = program(&[("ECR_BROKER_ADDRESS", &place.address())]);
        command.arg("sync").args(registries).args(["--authfile", &authfile]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        // The delays cover the time from before its first step until after its last, on this machine as it is loaded now.
        std::thread::sleep(whole * (u32::try_from(round).unwrap() * 37 % 200) / 100);
        child.kill().unwrap();
        child.wait().unwrap();
        let now = place.config("auth.json");
        assert!(hosts(&now).iter().all(|host| [PRIVATE, PUBLIC].contains(&host.as_str())), "{now}");
        assert!(now["auths"].as_object().unwrap().values().all(|entry| entry["auth"].as_str().unwrap().len() > 1_000));
        let notes = place.config("auth.json.sync");
        assert!(hosts(&now).iter().all(|host| notes.get(host.as_str()).is_some()), "every entry has a note");
        changes += u32::from(now != before);
        before = now;
    }
    assert!(
        (50..200).contains(&changes),
        "{changes} of 200 wrote the file before the kill; some must, and some must not"
    );
    let left: Vec<_> = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() <= 9, "{left:?}");
    place.once(&[PRIVATE, "--authfile", &authfile]).out();
}

fn lines(child: &mut Child) -> impl Iterator<Item = Value> {
    BufReader::new(child.stdout.take().unwrap()).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
}

fn watch(place: &Place, arguments: &[&str]) -> Child {
    let mut command = program(&[("ECR_BROKER_ADDRESS", &place.address())]);
    command.arg("watch").args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn watch_prints_events_without_secrets_by_default() {
    let place = Place::new();
    let _broker = place.broker("10s");
    for secrets in [false, true] {
        let flags = if secrets { &["--show-secrets"][..] } else { &[] };
        let mut child = watch(&place, &[&[PRIVATE, "ghcr.io/x"][..], flags].concat());
        let mut events = lines(&mut child);
        let mut first: Vec<_> = events.by_ref().take(3).collect();
        first.sort_by_key(|event| event["event"].as_str().unwrap().to_owned());
        let [credentials, error, complete] = first.as_slice() else { panic!("{first:?}") };
        assert_eq!((&credentials["event"], &credentials["registry"]), (&"CREDENTIALS".into(), &PRIVATE.into()));
        assert_eq!(credentials.get("password").is_some(), secrets);
        assert_eq!((&error["reason"], &error["registry"]), (&"REGISTRY_NOT_ECR".into(), &"ghcr.io/x".into()));
        assert_eq!(complete, &json!({ "event": "SNAPSHOT_COMPLETE" }));
        let refreshed = events.next().unwrap();
        assert_eq!(refreshed["event"], "CREDENTIALS");
        assert_ne!(refreshed["credential_id"], credentials["credential_id"]);
        drop(events);
        signal(child.id(), "TERM");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn watch_that_cannot_connect_prints_why_and_exits() {
    for (address, arguments, code) in [(NO_BROKER, &[PRIVATE][..], 5), (NO_BROKER, &[], 5)] {
        let ended = run(&[&["watch", "--timeout", "200ms", "--address", address][..], arguments].concat(), &[]);
        assert!(ended.code == code && ended.error().contains("no broker answers"), "{ended:?}");
    }
    let many = vec![PRIVATE; 101];
    assert_eq!(run(&[&["watch"][..], &many].concat(), &[]).code, 2);
}

/// An API server of Kubernetes over plaintext. Answers a request's head and body with a status code and an object, until the test ends.
#[cfg(feature = "kubernetes")]
fn api_server(mut answer: impl FnMut(&str, &str) -> (u16, Value) + Send + 'static) -> String {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(connection);
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                head.push_str(&std::mem::take(&mut line).to_ascii_lowercase());
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let (code, object) = answer(&head, &String::from_utf8(body).unwrap());
            let (object, end) = (object.to_string(), "connection: close");
            let answer = format!("HTTP/1.1 {code} X\r\n{end}\r\ncontent-length: {}\r\n\r\n{object}", object.len());
            _ = reader.get_mut().write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

#[cfg(feature = "kubernetes")]
fn refusal(code: u16, message: &str) -> (u16, Value) {
    (code, json!({ "kind": "Status", "status": "Failure", "code": code, "message": message }))
}

/// Refuses every write, and repeats it.
#[cfg(feature = "kubernetes")]
fn repeating(head: &str, body: &str) -> (u16, Value) {
    if head.starts_with("get ") { refusal(404, "not found") } else { refusal(422, body) }
}

/// Writes a kubeconfig with this API server, and returns its path.
#[cfg(feature = "kubernetes")]
fn kubeconfig(place: &Place, server: &str) -> String {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "users": [{ "name": "u", "user": { "token": "canary-of-the-kubeconfig" } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    });
    fs::write(place.path("kubeconfig"), kubeconfig.to_string()).unwrap();
    place.text("kubeconfig")
}

#[test]
#[cfg(feature = "kubernetes")]
fn secret_is_written_once_an_overloaded_api_server_answers() {
    let place = Place::new();
    let _broker = place.broker("12h");
    let mut first = Some(refusal(503, "busy"));
    let server = api_server(move |head, body| {
        let answer = if head.starts_with("get ") {
            refusal(404, "not found")
        } else {
            (201, serde_json::from_str(body).unwrap())
        };
        first.take().unwrap_or(answer)
    });
    let environment = [("ECR_BROKER_ADDRESS", &*place.address()), ("KUBECONFIG", &kubeconfig(&place, &server))];
    let ended = run(&["sync", "--once", PRIVATE, "--kubernetes-secret", "a/pull"], &environment);
    assert!(ended.code == 0 && ended.stdout.starts_with("a/pull: 1 registry"), "{ended:?}");
    assert!(ended.stderr.contains(": busy; ") && ended.stderr.contains("Kubernetes API answers again"), "{ended:?}");
}

#[test]
#[cfg(feature = "kubernetes")]
fn removal_reports_a_list_of_namespaces_that_fails() {
    let place = Place::new();
    let mut answers = [(403, "User \"u\" cannot list resource \"namespaces\""), (503, "busy")].into_iter();
    let server = api_server(move |_, _| {
        let (code, message) = answers.next().unwrap();
        refusal(code, message)
    });
    let kubeconfig = kubeconfig(&place, &server);
    for (code, problem) in [(4, "; grant list of namespaces"), (5, "namespaces: busy")] {
        let arguments = ["sync", "--remove", "--kubernetes-secret", "pull", "--namespace-selector", "a=b"];
        let ended = run(&arguments, &[("KUBECONFIG", &kubeconfig)]);
        assert!(ended.code == code && ended.stderr.contains(problem), "{ended:?}");
    }
}

#[test]
#[cfg(feature = "kubernetes")]
fn secret_that_an_api_server_repeats_is_not_printed_at_trace() {
    let place = Place::new();
    let broker = place.broker("12h");
    let (address, kubeconfig) = (place.address(), kubeconfig(&place, &api_server(repeating)));
    let environment = [("ECR_BROKER_ADDRESS", &*address), ("KUBECONFIG", &kubeconfig), ("RUST_LOG", "trace")];
    let password = run(&["get", PRIVATE, "-o", "password"], &environment).stdout.trim().to_owned();
    let auth = data_encoding::BASE64.encode(format!("AWS:{password}").as_bytes());
    let sync = |arguments: &[&str]| run(&[&["sync", "--once", PRIVATE], arguments].concat(), &environment);
    let ended = sync(&["--kubernetes-secret", "a/pull"]);
    assert!(
        ended.code == 1 && ended.stderr.contains("a/pull: the API server's message repeats the credential"),
        "{ended:?}"
    );
    for canary in [&password, &auth, "canary-of-the-kubeconfig"] {
        assert!(!ended.stderr.contains(canary) && !ended.stdout.contains(canary), "{ended:?}");
    }
    for (arguments, problem) in [
        (&["--kubernetes-secret", "pull"][..], "use NAMESPACE/NAME, or add --namespace-selector"),
        (&["--kubernetes-secret", "a/pull", "--namespace-selector", "a=b"], "--namespace-selector selects nothing"),
        (&["--kubernetes-secret", "a/pull", "--template", "flux", PUBLIC], "name one registry"),
        (&["--kubernetes-secret", "a/pull", "--merge"], "cannot be used with"),
        (&["--kubernetes-secret", "a/pull", "--authfile", "x"], "cannot be used with"),
        (&["--authfile", "x", "--namespace-selector", "a=b"], "cannot be used with"),
    ] {
        let ended = sync(arguments);
        assert!(ended.code == 2 && ended.stderr.contains(problem), "{ended:?}");
    }
    broker.stop();
    fs::write(place.path("kubeconfig"), "token: canary-of-the-kubeconfig\n  x: [").unwrap();
    let ended = sync(&["--kubernetes-secret", "a/pull"]);
    assert!(ended.code == 1 && ended.stderr.contains("kubeconfig: not valid YAML"), "{ended:?}");
    assert!(!ended.stderr.contains("canary"), "{ended:?}");
}
