//! Other registries: delegate helpers that work, fail and hang.

use super::*;

#[test]
fn other_registries_go_to_the_delegate_helper() {
    let place = Place::new("next = \"other\"\n");
    place.helper_script("docker-credential-other", r#"{"ServerURL":"ghcr.io","Username":"u","Secret":"s"}"#, 0);
    assert_eq!(
        place.docker("get", "ghcr.io").out(),
        "{\"ServerURL\":\"ghcr.io\",\"Username\":\"u\",\"Secret\":\"s\"}\n"
    );
    assert_eq!(place.docker("store", &credential("ghcr.io")).code, 0);
    assert_eq!(place.docker("erase", "ghcr.io").code, 0);
    let requests = place.requests();
    assert!(
        requests.contains("get\nghcr.io") && requests.contains("s3cret") && requests.contains("erase\nghcr.io"),
        "{requests}"
    );
    place.helper_script("docker-credential-other", r#"{"https://ghcr.io":"u"}"#, 0);
    assert_eq!(place.docker("list", "unused").out_anyway(), "{\"https://ghcr.io\":\"u\"}\n");
    place.helper_script("docker-credential-other", NOT_FOUND.trim(), 1);
    assert!(!place.not_found("localhost").contains("docker-credential-other"));
    // Another error must not end calls for other registries.
    place.helper_script("docker-credential-other", "pass store is uninitialized", 1);
    assert!(place.not_found("localhost").contains("docker-credential-other (next in client.toml) failed: pass store"));
    assert_eq!(place.docker("store", &credential("localhost")).stdout, "pass store is uninitialized\n");
    place.helper_script("docker-credential-other", "", 1);
    assert!(place.not_found("localhost").contains("failed without a message"));
    place.helper_script("docker-credential-other", "Secret: s3cret", 0);
    let note = place.not_found("localhost");
    assert!(note.contains("answered without JSON") && !note.contains("s3cret"), "{note}");
    let missing = Place::new("next = \"no-such\"\n").not_found("localhost");
    assert!(missing.contains("docker-credential-no-such"), "{missing}");
    // The same program under another name.
    let place = Place::new("next = \"another\"\n");
    std::os::unix::fs::symlink(HELPER, place.path("docker-credential-another")).unwrap();
    let circle = place.not_found("localhost");
    assert!(circle.contains("an ecr-broker helper runs it already"), "{circle}");
}

/// Creates a program that hangs with a child, and returns a pipe that both hold open.
fn hanging_script(place: &Place, name: &str) -> PathBuf {
    let pipe = place.path(&format!("{name}.pipe"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let text =
        format!("#!/bin/sh\nexec 3>{}\necho started >&3\n(sleep 120; echo survived >&3) &\nwait\n", pipe.display());
    fs::write(place.path(name), text).unwrap();
    fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    pipe
}

#[test]
fn hanging_delegate_or_fallback_is_killed_with_its_children() {
    let place = Place::new(&format!(
        "address = \"{UNUSED_ADDRESS}\"\nnext = \"hang\"\ntimeout = \"3s\"\nfallback_timeout = \"3s\"\n"
    ));
    let pipe = hanging_script(&place, "docker-credential-hang");
    let program = place.path("docker-credential-hang");
    let fallback = ["helper", "docker", "get", "--fallback-exec", program.to_str().unwrap()];
    for (arguments, server) in [(&["get"][..], "localhost"), (&fallback, PRIVATE), (&["list"], "unused")] {
        // Held open until the helper ends, so that reading the pipe never waits for a first writer.
        let holder = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        let mut reader = fs::File::open(&pipe).unwrap();
        // Without a terminal, as in CI: with one, the other helper stays in the group of the terminal's programs.
        let program = if arguments.len() == 1 { HELPER } else { PROGRAM };
        let ended = place.run("setsid", &[&["--wait", program][..], arguments].concat(), server);
        drop(holder);
        assert!(ended.stderr.contains("no answer within 3s"), "{ended:?}");
        assert_eq!(ended.stdout, if server == "unused" { "{}\n" } else { NOT_FOUND });
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert_eq!(written, "started\n", "every process that holds the pipe is dead");
    }
}

#[test]
fn delegate_may_ask_at_the_terminal() {
    let place = Place::new("next = \"ask\"\n");
    let ask = place.helper_script("docker-credential-ask", "", 0);
    let text = "#!/bin/sh\nread line </dev/tty\nprintf '{\"Username\":\"u\",\"Secret\":\"%s\"}' \"$line\"\n";
    fs::write(&ask, text).unwrap();
    let in_terminal = format!("printf localhost | {HELPER} get");
    // script(1) runs the program in a new terminal, and types what is on its stdin.
    let ended = place.run("script", &["-qec", &in_terminal, "/dev/null"], "typed\n");
    assert!(ended.code == 0 && ended.stdout.contains(r#"{"Username":"u","Secret":"typed"}"#), "{ended:?}");
}

#[test]
fn failed_delegate_or_fallback_never_prints_a_secret() {
    for text in [r#"{"ServerURL":"x","Username":"u","Secret":"s3cr3t"}"#, "Secret: s3cr3t", r#"["s3cr3t"]"#] {
        let place = Place::new(&format!("address = \"{UNUSED_ADDRESS}\"\nnext = \"other\"\ntimeout = \"1s\"\n"));
        let other = place.helper_script("docker-credential-other", text, 1);
        let arguments = ["helper", "docker", "get", "--fallback-exec", other.to_str().unwrap()];
        for ended in [
            place.docker("get", "localhost"),
            place.docker("list", "unused"),
            place.docker("erase", "localhost"),
            place.run(PROGRAM, &arguments, PRIVATE),
        ] {
            assert!(!format!("{ended:?}").contains("s3cr3t"), "{ended:?}");
            assert!(ended.stderr.contains("fail") || ended.stdout.contains("fail"), "{ended:?}");
        }
    }
}

#[test]
fn answer_of_a_delegate_that_leaves_a_process_behind_is_used() {
    let place = Place::new("next = \"leave\"\ntimeout = \"60s\"\n");
    let pipe = hanging_script(&place, "docker-credential-leave");
    // The process that stays ends when the test closes the pipe.
    let text = format!(
        "#!/bin/sh\n(read line <{}) 2>/dev/null &\necho '{{\"Username\":\"u\",\"Secret\":\"s\"}}'\n",
        pipe.display()
    );
    fs::write(place.path("docker-credential-leave"), text).unwrap();
    let holder = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    assert_eq!(place.user("localhost"), "u");
    drop(holder);
}

#[test]
fn delegate_of_an_unreadable_file_is_not_replaced_by_another() {
    let place = Place::new("timeout = 9s\nnext = \"other\"\n");
    place.helper_script("docker-credential-other", "{}", 0);
    let get = place.not_found("localhost");
    assert!(get.contains("client.toml: line ") && get.contains("may set next"), "{get}");
    for (action, request) in [("store", credential("localhost")), ("erase", "localhost".to_owned())] {
        let ended = place.docker(action, &request);
        assert!(ended.code == 1 && ended.stdout.contains("may set next"), "{ended:?}");
    }
    assert_eq!(place.requests(), "");
}

#[test]
fn delegate_without_a_name_is_refused_by_its_origin() {
    for name in ["", " ", "~"] {
        let place = Place::new(&format!("next = {name:?}\n"));
        let note = place.not_found("localhost");
        assert!(note.contains("next in ") && note.contains("is not a helper's name"), "{note}");
        let flag = not_found(place.run(PROGRAM, &["helper", "docker", "get", "--next", name], "localhost"));
        assert!(flag.contains("--next: ") && flag.contains("is not a helper's name"), "{flag}");
    }
}

#[test]
fn delegate_keeps_a_valid_timeout_beside_a_mistake() {
    let place = Place::new("adress = 1\nnext = \"hang\"\ntimeout = \"1s\"\n");
    hanging_script(&place, "docker-credential-hang");
    let note = place.not_found("localhost");
    assert!(note.contains("no answer within 1s"), "{note}");
}
