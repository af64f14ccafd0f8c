//! Other registries: auth files of docker and podman as delegates.

use super::*;

#[test]
fn other_registries_are_read_and_written_in_an_auth_file() {
    let place = Place::new("");
    let file = place.path("auth.json");
    let place = place.also(&format!("next = {file:?}\n"));
    assert_eq!(place.docker("get", "ghcr.io").stdout, NOT_FOUND);
    assert_eq!(place.docker("store", &credential("ghcr.io")).code, 0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let answer: Value = serde_json::from_str(&place.docker("get", "https://ghcr.io/v2/").out()).unwrap();
    assert_eq!((answer["Username"].as_str(), answer["Secret"].as_str()), (Some("user"), Some("s3cret")));
    let list: Value = serde_json::from_str(&place.docker("list", "").stdout).unwrap();
    assert_eq!(list, json!({ "ghcr.io": "user" }));

    let other = BASE64.encode(b"a:b:c");
    let written = json!({ "credsStore": "x", "auths": { "https://index.docker.io/v1/": { "auth": other }, "ghcr.io": { "identitytoken": "t" } } });
    fs::write(&file, written.to_string()).unwrap();
    let answer: Value = serde_json::from_str(&place.docker("get", "https://index.docker.io/v1/").out()).unwrap();
    assert_eq!((answer["Username"].as_str(), answer["Secret"].as_str()), (Some("a"), Some("b:c")));
    let answer: Value = serde_json::from_str(&place.docker("get", "ghcr.io").out()).unwrap();
    assert_eq!((answer["Username"].as_str(), answer["Secret"].as_str()), (Some("<token>"), Some("t")));
    assert_eq!(place.docker("erase", "ghcr.io").code, 0);
    let left: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(left, json!({ "credsStore": "x", "auths": { "https://index.docker.io/v1/": { "auth": other } } }));

    // An entry for a repository is not the registry's, and Docker Hub has several names.
    let scoped = json!({ "auths": {
        "quay.io/a": { "auth": other }, "quay.io/b": { "auth": other }, "docker.io": { "auth": other }, "ghcr.io": {}, "https://ghcr.io": { "auth": other },
    } });
    fs::write(&file, scoped.to_string()).unwrap();
    assert_eq!(place.docker("get", "quay.io").stdout, NOT_FOUND);
    assert_eq!(place.docker("erase", "quay.io").code, 0);
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(&file).unwrap()).unwrap(), scoped);
    assert_eq!(place.docker("get", "https://index.docker.io/v1/").code, 0);
    assert_eq!(place.docker("get", "ghcr.io").code, 0);

    // A change follows a symbolic link and keeps the file's mode.
    let link = place.path("link.json");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let linked = Place::new(&format!("next = {link:?}\n"));
    assert_eq!(linked.docker("store", &credential("linked.example")).code, 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(place.docker("get", "linked.example").code, 0);
    fs::write(&file, written.to_string()).unwrap();
    assert_eq!(place.docker("erase", "ghcr.io").code, 0);

    // docker overwrites its own file after a store, without the new entry.
    let docker = Place::new("");
    let own = docker.path("config.json");
    let docker = docker.also(&format!("next = {own:?}\n"));
    let mut command = Command::new(HELPER);
    command.arg("store").env_clear().env("XDG_CONFIG_HOME", docker.directory.path());
    command.env("DOCKER_CONFIG", docker.directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(credential("ghcr.io").as_bytes()).unwrap();
    let refused = child.wait_with_output().unwrap();
    assert!(!refused.status.success() && String::from_utf8(refused.stdout).unwrap().contains("docker's own file"));

    // Concurrent changes lose nothing.
    std::thread::scope(|scope| {
        for number in 0..20 {
            let place = &place;
            scope.spawn(move || assert_eq!(place.docker("store", &credential(&format!("r{number}.example"))).code, 0));
        }
    });
    let list: Value = serde_json::from_str(&place.docker("list", "").stdout).unwrap();
    assert_eq!(list.as_object().unwrap().len(), 21);
    let names: Vec<_> = fs::read_dir(place.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "the directory of client.toml, the file, its lock and the link: {names:?}");
    fs::write(&file, "\"eyJsecret\"").unwrap();
    let broken = place.not_found("localhost");
    assert!(broken.contains("auth.json") && !broken.contains("eyJsecret"), "{broken}");
    let wrong = place.docker("store", &credential("123456789012.dkr-ecr.eu-central-1.amazonaws.com"));
    assert!(wrong.code == 1 && !fs::read_to_string(&file).unwrap().contains("dkr-ecr"), "{wrong:?}");
    assert_eq!(place.docker("list", "").code, 0);
}

/// A place whose delegate is a file with this content.
fn place_with_delegate_file(content: &Value) -> (Place, PathBuf) {
    let place = Place::new("next = \"../auth.json\"\n");
    let file = place.path("auth.json");
    fs::write(&file, content.to_string()).unwrap();
    (place, file)
}

#[test]
fn delegate_path_starts_at_home_or_at_the_file_that_names_it() {
    let entry = |user: &str| json!({ "auths": { "localhost": { "username": user, "password": "p" } } }).to_string();
    let place = Place::new("");
    for (name, user) in [("auth.json", "above"), ("ecr-broker/auth.json", "beside"), ("home.json", "home")] {
        fs::write(place.path(name), entry(user)).unwrap();
    }
    let home = place.path("");
    let home = ("HOME", home.to_str().unwrap());
    let get = |next: &str, variables: &[(&str, &str)]| {
        fs::write(place.path("ecr-broker/client.toml"), format!("next = {next:?}\n")).unwrap();
        place.run_with(HELPER, &["get"], "localhost", variables)
    };
    for (next, user) in [("../auth.json", "above"), ("./auth.json", "beside"), ("~/home.json", "home")] {
        let answer: Value = serde_json::from_str(&get(next, &[home]).out()).unwrap();
        assert_eq!(answer["Username"], user, "{next}");
    }
    assert!(not_found(get("~/home.json", &[])).contains("needs HOME, which is not set"));
    assert!(not_found(get("~other/home.json", &[home])).contains("the home of another user"));
    assert_eq!(not_found(get("~/missing.json", &[home])), "", "a file without entries yet");
    // The flag's path starts at the working directory.
    let mut command = Command::new(PROGRAM);
    command.args(["helper", "docker", "get", "--next", "./auth.json"]).env_clear().current_dir(place.path(""));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"localhost").unwrap();
    let answer: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(answer["Username"], "above");
}

#[test]
fn delegate_file_entry_is_decoded_as_docker_does_or_reported() {
    let wrapped = BASE64.encode("w".repeat(60).as_bytes().iter().chain(b":p").copied().collect::<Vec<_>>().as_slice());
    let wrapped =
        wrapped.as_bytes().chunks(16).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect::<Vec<_>>();
    let (place, file) = place_with_delegate_file(&json!({ "auths": {
        "wrapped": { "auth": wrapped.join("\n") },
        "spare": { "auth": "dXNlcjpzM2NyZXR=" },
        "both": { "username": "x", "password": "y", "auth": BASE64.encode(b"first:p") },
        "plain": { "username": "x", "password": "y" },
        "https://url/some/path": { "auth": BASE64.encode(b"old:p") },
        "unpadded": { "auth": "dXNlcjpzM2NyZXQ" },
        "nocolon": { "auth": BASE64.encode(b"s3cret") },
        "nouser": { "auth": BASE64.encode(b":s3cret") },
        "garbage": { "auth": "s3cret!" },
        "emptied": {},
    } }));
    let (long, users) = ("w".repeat(60), [("spare", "user"), ("both", "first"), ("plain", "x"), ("url", "old")]);
    for (server, user) in users.into_iter().chain([("wrapped", long.as_str())]) {
        assert_eq!(place.user(server), user, "{server}");
    }
    let broken = ["unpadded", "nocolon", "nouser", "garbage"];
    for server in broken {
        let note = place.not_found(server);
        let expected = format!("auth of {server:?} is not base64 of USERNAME:PASSWORD");
        assert!(note.contains(&expected) && note.contains("auth.json") && !note.contains("s3cret"), "{note}");
    }
    assert_eq!(place.not_found("emptied"), "");
    let list = place.docker("list", "unused");
    assert_eq!(list.stdout.matches("\":\"").count(), 5, "{list:?}");
    assert!(broken.iter().all(|server| list.stderr.contains(server)), "{list:?}");
    fs::write(&file, "null").unwrap();
    assert_eq!(place.not_found("plain"), "");
    fs::write(&file, r#"{"auths":null,"credHelpers":null}"#).unwrap();
    assert_eq!(place.not_found("plain"), "");
    assert_eq!(place.docker("list", "unused").stdout, "{}\n");
    assert_eq!(place.docker("store", &credential("plain")).code, 0);
    assert_eq!(place.user("plain"), "user");
}

#[test]
fn cred_helpers_of_the_delegate_file_are_run_as_podman_does() {
    let (place, file) = place_with_delegate_file(&json!({
        "credHelpers": { "localhost": "other", "own": "ecr-broker" },
        "auths": { "own": { "username": "file", "password": "p" } },
    }));
    place.helper_script("docker-credential-other", r#"{"ServerURL":"x","Username":"helper","Secret":"s"}"#, 0);
    assert_eq!((place.user("localhost").as_str(), place.user("own").as_str()), ("helper", "file"));
    let before = fs::read_to_string(&file).unwrap();
    assert_eq!(place.docker("store", &credential("localhost")).code, 0);
    assert_eq!(place.docker("erase", "localhost").code, 0);
    assert!(place.requests().contains("store\n{") && place.requests().contains("erase\nlocalhost"));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    let list: Value = serde_json::from_str(&place.docker("list", "unused").stdout).unwrap();
    assert_eq!(list, json!({ "localhost": "", "own": "file" }));
}
