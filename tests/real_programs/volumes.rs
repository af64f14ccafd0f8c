//! Kubernetes volumes, mounted as kubelet mounts them in a pod: each test has a mount namespace. Only root can mount.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::PRIVATE;
use super::other::{run, text};
use super::program::{PROGRAM, Server, copy_to, simulated_broker};

/// The broker's user and group in its image.
const BROKER: &str = "65532";
/// Another container's user.
const CALLER: &str = "1001";
/// kubelet's folder of `ConfigMap` volumes, by which the root of such a mount is recognised.
const CONFIG_MAP: &str = "kubelet/pods/6f1c3b1e/volumes/kubernetes.io~configmap/config";
const GRANT: &str = "[[grants]]\nid = \"ID\"\ncallers = [{ uid = 0 }]\nregistries = [{ public = true }]\n";
/// Log event of a socket directory that others can write.
const ACCEPTED: &str = "shared socket directory accepted";

/// The files of a pod: a directory that every user can enter, with the program in it.
struct Pod(tempfile::TempDir);

impl Pod {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o755);
        copy_to(directory.path().join("ecr-broker"));
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a command of the broker's user in a mount namespace in which `mount` has run; `$1` is the volume's path.
    fn broker(&self, mount: &str, volume: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        let script = format!("set -e; {mount}; shift; exec \"$@\"");
        command.args(["--mount", "--", "sh", "-c", &script, "sh"]).arg(self.path(volume));
        command.args(["setpriv", "--clear-groups", "--regid", BROKER, "--reuid", BROKER, "--"]);
        command.arg(self.path("ecr-broker")).args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Makes a volume with kubelet's links: `NAME` -> `..data/NAME`, and `..data` -> `..2026`.
    fn volume(&self, volume: &str, mode: u32, files: &[(&str, &str)], file_mode: u32) -> PathBuf {
        let root = self.path(volume);
        fs::create_dir_all(root.join("..2026")).unwrap();
        symlink("..2026", root.join("..data")).unwrap();
        for (name, contents) in files {
            let file = root.join("..2026").join(name);
            fs::write(&file, contents).unwrap();
            set_mode(&file, file_mode);
            chown(&file, Some(0), Some(BROKER.parse().unwrap())).unwrap();
            symlink(format!("..data/{name}"), root.join(name)).unwrap();
        }
        set_mode(&root, mode);
        root
    }

    /// Makes a `ConfigMap` volume: the broker's configuration, which includes the grants of a team.
    fn config_map(&self, volume: &str, more: &str) -> PathBuf {
        let main = format!("include = [\"team-*.toml\"]\n{more}");
        let team = GRANT.replace("ID", "team-a");
        let files = [("broker.toml", main.as_str()), ("team-a.toml", team.as_str())];
        self.volume(volume, 0o777, &files, 0o644)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const EMPTY_DIR: &str = "mount -t tmpfs -o mode=0777 tmpfs \"$1\"";
/// kubelet's `emptyDir` on disk is a bind mount: its device number is its parent's.
const EMPTY_DIR_ON_DISK: &str = "mkdir -m 0777 \"$1.disk\"; mount --bind \"$1.disk\" \"$1\"";
const READ_ONLY: &str = "mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"";
const BIND: &str = "mount --bind \"$1\" \"$1\"";
/// What systemd's `ProtectSystem=strict` makes of a service's mounts. Some cannot be remounted.
const STRICT: &str = "while read -r _ _ _ _ at _; do mount -o remount,bind,ro \"$at\" 2>/dev/null || :; done \
     </proc/self/mountinfo; ! touch \"$1/file\" 2>/dev/null";
/// A broker that should not start must not run forever if it does.
const BOUNDED: &str = "volume=$1; shift; set -- \"$volume\" timeout 60 \"$@\"";
/// A file system of its directory alone, such as a disk for scratch data.
const DISK: &str = "cp -a \"$1\" \"$1.copy\"; mount -t tmpfs tmpfs \"$1\"; cp -a \"$1.copy/.\" \"$1\"; \
     chown --reference \"$1.copy\" \"$1\"; chmod --reference \"$1.copy\" \"$1\"; rm -r \"$1.copy\"";

/// Runs a client of another container: a user whose only other group is `group`, with the volume `run` mounted read-only.
fn call(pod: &Pod, broker: &Server, group: &str, address: &str) -> Output {
    let mut command = Command::new("nsenter");
    command.arg(format!("--mount=/proc/{}/ns/mnt", broker.pid())).args(["--", "unshare", "--mount", "--", "sh", "-c"]);
    command.args(["mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"", "sh"]).arg(pod.path("run"));
    command.args(["setpriv", "--reuid", CALLER, "--regid", CALLER, "--groups", group, "--"]);
    command.arg(pod.path("ecr-broker")).args(["get", PRIVATE, "--address", address]);
    run(command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
}

/// As deploy/README.md says: an `emptyDir` (0777) with the broker's socket, and its group among the callers' groups.
#[test]
#[ignore = "needs root, to mount"]
fn socket_in_an_empty_dir_serves_other_users_of_its_group() {
    let pod = Pod::new();
    for mount in [EMPTY_DIR, EMPTY_DIR_ON_DISK] {
        fs::create_dir_all(pod.path("run")).unwrap();
        let listen = format!("unix:{}", pod.path("run/broker.sock").display());
        let broker = Server::spawn_logging(pod.broker(mount, "run", &["serve", "--simulate", "--listen", &listen]));
        let served = call(&pod, &broker, BROKER, &listen);
        assert!(served.status.success(), "{mount}: {}", text(&served.stderr));
        let outsider = call(&pod, &broker, CALLER, &listen);
        assert_eq!(outsider.status.code(), Some(5), "{mount}: a user outside the group cannot connect");
        let logs = broker.stop();
        let line = logs.lines().find(|line| line.contains(ACCEPTED)).unwrap_or_else(|| panic!("{logs}"));
        assert!(line.contains("INFO") && line.contains("every process that has this volume mounted"), "{line}");
        assert_eq!(logs.matches(ACCEPTED).count(), 1, "{logs}");
    }
}

#[test]
#[ignore = "needs root, to mount"]
fn socket_in_a_world_writable_directory_without_a_volume_is_refused() {
    let pod = Pod::new();
    fs::create_dir(pod.path("run")).unwrap();
    set_mode(&pod.path("run"), 0o777);
    let listen = format!("unix:{}", pod.path("run/broker.sock").display());
    // systemd mounts the runtime directory of a service at its own path.
    for mount in [":", BIND] {
        let mount = format!("{mount}; {BOUNDED}");
        let refused = run(&mut pod.broker(&mount, "run", &["serve", "--simulate", "--listen", &listen]));
        let error = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && error.contains("is in the world-writable directory"), "{error}");
        assert!(error.contains("use /run/ecr-broker or $XDG_RUNTIME_DIR/ecr-broker"), "{error}");
    }
}

#[test]
#[ignore = "needs root, to mount"]
fn include_in_a_config_map_needs_its_read_only_mount() {
    let pod = Pod::new();
    let check = |mount, volume: &str| {
        let config = pod.path(volume).join("broker.toml").display().to_string();
        run(&mut pod.broker(mount, volume, &["config", "check", "--config", &config]))
    };
    let volume = pod.config_map(CONFIG_MAP, "");
    // With fsGroup, kubelet sets the group's bit of the directory.
    for mode in [0o777, 0o2777] {
        set_mode(&volume, mode);
        let accepted = check(READ_ONLY, CONFIG_MAP);
        assert!(accepted.status.success(), "{mode:o} {}", text(&accepted.stderr));
    }
    // Any user that sees a writable volume can replace its files, and so can those of the node that see another directory.
    pod.config_map("config", "");
    for (mount, volume) in [(BIND, CONFIG_MAP), (":", CONFIG_MAP), (READ_ONLY, "config")] {
        let refused = check(mount, volume);
        let error = text(&refused.stderr);
        assert!(!refused.status.success(), "{mount}");
        assert!(error.contains("broker.toml: is in the world-writable directory"), "{error}");
        assert!(error.contains("(Kubernetes: use a ConfigMap, Secret or projected volume)"), "{error}");
    }
    chown(volume, Some(CALLER.parse().unwrap()), None).unwrap();
    let refused = check(READ_ONLY, CONFIG_MAP);
    assert!(!refused.status.success(), "kubelet's directories are root's");
}

/// The shipped unit has `ProtectSystem=strict`: the broker cannot write the files that decide identity, and other users still can.
#[test]
#[ignore = "needs root, to mount and to give files away"]
fn read_only_mounts_of_a_service_excuse_neither_mode_nor_owner() {
    const ROOT: u32 = 0;
    let pod = Pod::new();
    let other: u32 = CALLER.parse().unwrap();
    let volume = pod.path("etc");
    let file = volume.join("broker.toml");
    fs::create_dir(&volume).unwrap();
    fs::write(&file, GRANT.replace("ID", "a")).unwrap();
    let change = |path: &Path, owner, group, mode| {
        chown(path, Some(owner), Some(group)).unwrap();
        set_mode(path, mode);
    };
    let serve = |mount: &str| {
        let mut arguments = vec!["serve", "--simulate", "--listen", "127.0.0.1:0", "--allow-loopback", "--config"];
        arguments.push(file.to_str().unwrap());
        pod.broker(mount, "etc", &arguments)
    };
    for mount in
        [STRICT.to_owned(), READ_ONLY.to_owned(), format!("{DISK}; {STRICT}"), format!("{READ_ONLY}; {STRICT}")]
    {
        Server::spawn_logging(serve(&mount)).stop();
        for (path, owner, group, mode, problem) in [
            (&volume, ROOT, ROOT, 0o777, "is in the world-writable directory"),
            (&volume, ROOT, other, 0o775, "which group 1001 can write"),
            (&volume, other, ROOT, 0o755, "which belongs to user 1001"),
            (&file, ROOT, other, 0o664, "is writable by group 1001"),
            (&file, other, ROOT, 0o644, "belongs to user 1001"),
        ] {
            change(path, owner, group, mode);
            let refused = run(&mut serve(&format!("{mount}; {BOUNDED}")));
            let error = text(&refused.stderr);
            assert!(refused.status.code() == Some(1) && error.contains(problem), "{mount}: {error}");
            change(path, ROOT, ROOT, if path == &file { 0o644 } else { 0o755 });
        }
    }
}

/// A Secret volume is 1777; with fsGroup and `defaultMode: 0440` the broker's group can read its files.
#[test]
#[ignore = "needs root, to mount and to give files away"]
fn secret_volume_is_trusted_with_entries_of_root() {
    let pod = Pod::new();
    let text_of_secret = "s".repeat(43);
    let secret = pod.volume("secret", 0o1777, &[("aws-api", &text_of_secret)], 0o440);
    let file = secret.join("aws-api");
    let server = format!("[server]\naws_api_listen = \"127.0.0.1:0\"\naws_api_secret_file = \"{}\"\n", file.display());
    let config = pod.path("broker.toml");
    fs::write(&config, server + &GRANT.replace("ID", "a")).unwrap();
    let arguments = ["config", "check", "--config", config.to_str().unwrap()];
    let check = |mount| run(&mut pod.broker(mount, "secret", &arguments));
    for mount in [READ_ONLY, BIND] {
        assert!(check(mount).status.success(), "{mount}");
    }
    lchown(&file, Some(CALLER.parse().unwrap()), None).unwrap();
    for mount in [READ_ONLY, BIND] {
        let refused = check(mount);
        let error = text(&refused.stderr);
        assert!(!refused.status.success() && error.contains("replaceable by its owner, user 1001"), "{error}");
    }
    lchown(&file, Some(0), None).unwrap();
    for (mode, problem) in [(0o400, "defaultMode: 0440 and fsGroup"), (0o444, "defaultMode: 0440, fsGroup")] {
        set_mode(&secret.join("..2026/aws-api"), mode);
        let refused = check(READ_ONLY);
        let error = text(&refused.stderr);
        assert!(!refused.status.success() && error.contains(problem), "{mode:o}: {error}");
        assert!(!error.contains(&text_of_secret), "{error}");
    }
}

/// What systemd makes of `LoadCredential=`: a read-only tmpfs of the unit's user below a directory of root. And a projected token.
#[test]
#[ignore = "needs root, to mount"]
fn credentials_of_a_systemd_unit_and_projected_tokens_are_read() {
    let pod = Pod::new();
    fs::create_dir_all(pod.path("credentials/unit")).unwrap();
    let file = pod.path("credentials/unit/aws-api");
    let server = format!("[server]\naws_api_listen = \"127.0.0.1:0\"\naws_api_secret_file = \"{}\"\n", file.display());
    let config = pod.path("broker.toml");
    fs::write(&config, server + &GRANT.replace("ID", "a")).unwrap();
    let arguments = ["config", "check", "--config", config.to_str().unwrap()];
    for (directory, mode) in [("0500", "0400"), ("1777", "0600")] {
        let mount = format!(
            "mount -t tmpfs -o mode=0700 tmpfs \"$1\"; printf %043d 1 >\"$1/aws-api\"; chmod {mode} \"$1/aws-api\"; \
             chown {BROKER}:{BROKER} \"$1\" \"$1/aws-api\"; chmod {directory} \"$1\"; mount -o remount,ro \"$1\""
        );
        let checked = run(&mut pod.broker(&mount, "credentials/unit", &arguments));
        assert!(checked.status.success(), "{directory} {mode}: {}", text(&checked.stderr));
    }
}

#[test]
#[ignore = "needs root and unshare"]
fn exec_avoids_a_tmp_volume_that_every_user_can_write() {
    let broker = simulated_broker(&[], &[]);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o mode=0777 none /tmp && exec \"$@\"";
    command.args(["--mount", "--", "sh", "-c", script, "sh", PROGRAM, "exec", "--address", &broker.address, PRIVATE]);
    command.args(["--", "sh", "-c", "echo \"$DOCKER_CONFIG\""]).env_clear().env("PATH", "/usr/bin:/bin");
    let output = run(&mut command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("/dev/shm/ecr-broker-exec-"), "{}", text(&output.stdout));
}
