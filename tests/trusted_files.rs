//! Files that decide identity, and another user of the host who tries to swap them. Only root can be another user.

#![cfg(all(feature = "server", feature = "client", feature = "simulator"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

mod certificates;
mod program;
mod thief;
mod tokens;

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;
use std::process::Command;

use certificates::Authority;
use program::{SERVE_SIMULATED, Server, run, signal};
use thief::{Host, THIEF, set_mode};
use tokens::Signer;

const PRIVATE: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
fn grant(uid: u32) -> String {
    format!(
        "[[grants]]\nid = \"of-{uid}\"\ncallers = [{{ uid = {uid} }}]\n\
         registries = [{{ accounts = [\"*\"], regions = [\"*\"] }}]\n"
    )
}

/// The figure: 0 credentials for the thief, and every call of the honest caller beside it is served.
#[test]
fn swapped_configuration_gives_its_author_no_credential() {
    let Some(host) = Host::new() else { return };
    let (config, socket) = (host.text("etc/broker.toml"), host.text("broker.sock"));
    fs::write(&config, grant(0)).unwrap();
    let address = format!("unix:{socket}");
    let broker = Server::start(&["serve", "--simulate", "--config", &config, "--listen", &address], &[]);
    set_mode(Path::new(&socket), 0o666);
    let honest = || run(&["get", PRIVATE, "--address", &address], &[]).out();
    let thief = || thief::run(&host.text("ecr-broker"), &["get", PRIVATE, "--address", &address]);
    honest();
    assert_eq!(thief().code, 4, "denied by the grants");
    assert_ne!(host.swap("etc/broker.toml", &grant(THIEF)).code, 0, "the directory protects the file");

    set_mode(&host.path("etc"), 0o777);
    assert_eq!(host.swap("etc/broker.toml", &grant(THIEF)).code, 0);
    signal(broker.pid(), "HUP");
    let etc = fs::canonicalize(host.path("etc")).unwrap();
    broker.until_logged(&format!("is in the world-writable directory {}; chmod o-w it", etc.display()));
    for _ in 0..20 {
        honest();
        assert_eq!(thief().code, 4);
    }
    // As advised. The file is still the thief's.
    set_mode(&etc, 0o755);
    signal(broker.pid(), "HUP");
    broker.until_logged(&format!("belongs to user {THIEF}, who can change it; chown it to root"));
    honest();
    assert_eq!(thief().code, 4);
    broker.stop();
    let restarted = run(&["serve", "--simulate", "--config", &config, "--listen", &address], &[]);
    assert!(restarted.code == 1 && restarted.error().contains("belongs to user 4242"), "{restarted:?}");
}

/// The figure: 0 bytes in the victim's file, and a record for each call beside it.
#[test]
fn swapped_audit_log_leads_to_no_other_file() {
    let Some(host) = Host::new() else { return };
    let (log, moved, victim) = (host.path("log/audit.jsonl"), host.path("log/moved"), host.path("victim"));
    fs::create_dir(host.path("log")).unwrap();
    set_mode(&host.path("log"), 0o750);
    fs::write(&victim, "").unwrap();
    set_mode(&victim, 0o600);
    let output = [("ECR_BROKER_AUDIT_OUTPUT", log.to_str().unwrap())];
    let broker = Server::start(&SERVE_SIMULATED, &output);
    let honest = || run(&["get", PRIVATE, "--address", &broker.address], &[]).out();
    honest();
    set_mode(&host.path("log"), 0o777);
    let script = "mv \"$1\" \"$2\" && ln -s \"$3\" \"$1\"";
    let [log_text, moved_text, victim_text] = [&log, &moved, &victim].map(|path| path.to_str().unwrap());
    assert_eq!(thief::run("sh", &["-c", script, "sh", log_text, moved_text, victim_text]).code, 0);
    for _ in 0..20 {
        honest();
    }
    broker.until_logged("audit log not reopened");
    let records = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((records(&moved), records(&victim)), (21, 0));
    broker.stop();
    let directory = fs::canonicalize(host.path("log")).unwrap();
    let refused = format!("{log_text} is in the world-writable directory {};", directory.display());
    for command in [&["config", "check"][..], &["serve", "--simulate"]] {
        let ended = run(command, &output);
        assert!(ended.code == 1 && ended.error().contains(&refused), "{ended:?}");
    }
    assert_eq!(records(&victim), 0);
}

/// Writes each file that the configuration names to a directory of its name, and returns the configuration.
fn write_files(host: &Host) -> String {
    let authority = Authority::new(host.0.path(), "authority.pem", "roots");
    let signer = Signer::new("k1");
    let file = |name: &str, text: &str, mode: u32| {
        let directory = host.path(name);
        fs::create_dir_all(&directory).unwrap();
        set_mode(&directory, 0o755);
        fs::write(directory.join("file"), text).unwrap();
        set_mode(&directory.join("file"), mode);
        host.text(&format!("{name}/file"))
    };
    let server = authority.server();
    let (certificate, key) = (file("certificate", &server.certificate, 0o644), file("key", &server.key, 0o600));
    let (roots, bundle) = (file("roots", &authority.pem(), 0o644), file("bundle", &authority.pem(), 0o644));
    let (keys, secret) = (file("keys", &signer.jwks(), 0o644), file("secret", &"s".repeat(43), 0o600));
    let include = file("include", &grant(1), 0o644);
    format!(
        "include = [{include:?}]\n\
         [server]\naws_api_listen = \"127.0.0.1:0\"\naws_api_secret_file = {secret:?}\n\
         [server.tls]\ncertificate = {certificate:?}\nkey = {key:?}\n\
         [authentication]\nclient_ca = {{ \"prod.example\" = {roots:?} }}\n\
         [[authentication.jwt]]\nname = \"blue\"\nissuer = \"https://issuer.example\"\naudience = \"ecr-broker\"\n\
         jwks_file = {keys:?}\n[aws]\nca_bundle = {bundle:?}\n{}",
        grant(0)
    )
}

/// What the review tried with each file: the directory open to all, a group that writes, another owner, a link into an open one.
#[test]
fn each_file_of_the_configuration_is_judged_alike() {
    let Some(host) = Host::new() else { return };
    let config = host.text("etc/broker.toml");
    fs::write(&config, write_files(&host)).unwrap();
    let serve = || {
        let arguments = [&SERVE_SIMULATED[..], &["--config", &config]].concat();
        let mut command = Command::new("timeout");
        let program = program::program(&[]);
        command
            .arg("60")
            .arg(program.get_program())
            .args(arguments)
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let broker = program::simulated_broker(&["--config", &config], &[]);
    broker.stop();
    for name in ["include", "certificate", "key", "roots", "bundle", "keys", "secret"] {
        let (directory, file) = (host.path(name), host.path(&format!("{name}/file")));
        let refused = |problem: &str| {
            let error = serve();
            assert!(error.contains(problem) && error.contains(host.0.path().to_str().unwrap()), "{name}: {error}");
        };
        set_mode(&directory, 0o777);
        refused("is in the world-writable directory");
        set_mode(&directory, 0o755);
        chown(&directory, None, Some(THIEF)).unwrap();
        set_mode(&directory, 0o775);
        refused("which group 4242 can write");
        set_mode(&directory, 0o755);
        chown(&file, Some(THIEF), None).unwrap();
        refused("belongs to user 4242");
        chown(&file, Some(0), None).unwrap();
        // Its directory is private, and the link to it is not.
        fs::create_dir(host.path("open")).unwrap();
        fs::rename(&directory, host.path("moved")).unwrap();
        symlink(host.path("open/link"), &directory).unwrap();
        symlink(host.path("moved"), host.path("open/link")).unwrap();
        set_mode(&host.path("open"), 0o777);
        refused("is in the world-writable directory");
        fs::remove_dir_all(host.path("open")).unwrap();
        fs::remove_file(&directory).unwrap();
        fs::rename(host.path("moved"), &directory).unwrap();
    }
    set_mode(&host.path("key/file"), 0o644);
    let error = serve();
    assert!(error.contains("is world-readable, so it holds no secret; run chmod o-r"), "{error}");
}

/// With an access control list, the mode of the group is the limit of the list: root's group alone could not change the file.
#[test]
fn file_that_an_access_list_lets_others_write_is_refused() {
    let Some(host) = Host::new() else { return };
    let config = host.path("etc/broker.toml");
    let check = || run(&["config", "check", "--config", config.to_str().unwrap()], &[]);
    let list = [(1, 6, u32::MAX), (2, 6, THIEF), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 4, u32::MAX)];
    let entry = |(tag, permissions, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let list = [2_u32.to_le_bytes().to_vec(), list.map(entry).concat()].concat();
    let name = "system.posix_acl_access";
    fs::write(&config, grant(0)).unwrap();
    for path in [config.clone(), host.path("etc")] {
        check().out();
        rustix::fs::setxattr(&path, name, &list, rustix::fs::XattrFlags::empty()).unwrap();
        let refused = check();
        assert!(refused.code == 1 && refused.error().contains("access control list"), "{refused:?}");
        rustix::fs::removexattr(&path, name).unwrap();
        set_mode(&path, 0o755);
    }
    check().out();
}

#[test]
fn config_check_tells_for_which_user_files_are_valid() {
    let Some(host) = Host::new() else { return };
    let config = host.text("etc/broker.toml");
    let check = ["config", "check", "--config", &config];
    let check_for = |user| run(&[&check[..], &["--user", user]].concat(), &[]);
    fs::write(&config, grant(0)).unwrap();
    assert!(run(&check, &[]).out().starts_with("the configuration is valid ("));
    chown(&config, Some(THIEF), None).unwrap();
    let warned = run(&check, &[]);
    let warning = format!("ecr-broker: warning: {config} belongs to user {THIEF}; serve reads it only as this user");
    assert!(warned.code == 0 && warned.error().starts_with(&warning), "{warned:?}");
    let own = thief::run(&host.text("ecr-broker"), &check).out();
    assert!(own.starts_with(&format!("the configuration is valid for user {THIEF} (")), "{own}");
    assert_eq!(check_for("4242").out(), own);
    for user in ["root", "4343"] {
        let refused = check_for(user);
        assert!(refused.code == 1 && refused.error().contains("belongs to user 4242"), "{refused:?}");
    }
    let unknown = check_for("not-a-user");
    assert!(unknown.code == 2 && unknown.stderr.contains("/etc/passwd does not list this user"), "{unknown:?}");
}

#[test]
fn keygen_check_judges_the_owner_of_the_file_as_config_check_does() {
    let Some(host) = Host::new() else { return };
    let file = host.text("etc/cache-keys");
    fs::write(&file, run(&["keygen"], &[]).out()).unwrap();
    set_mode(Path::new(&file), 0o400);
    chown(&file, Some(THIEF), None).unwrap();
    let check_for = |user: &[&str]| run(&[&["keygen", "--check", &file][..], user].concat(), &[]);
    let warned = check_for(&[]);
    let warning = format!("ecr-broker: warning: {file} belongs to user {THIEF}; serve reads it only as this user");
    assert!(warned.code == 0 && warned.error().starts_with(&warning), "{warned:?}");
    assert_eq!(check_for(&["--user", "4242"]).out(), warned.stdout);
    let refused = check_for(&["--user", "root"]);
    assert!(refused.code == 1 && refused.stdout.is_empty(), "{refused:?}");
    assert!(refused.error().contains("belongs to user 4242"), "{refused:?}");
}
