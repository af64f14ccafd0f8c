//! `configure` of docker, podman, kubelet and Bazel, and the names of the helper.

use super::*;

#[test]
fn configure_docker_and_podman_adds_the_helper_and_keeps_the_rest() {
    let place = Place::new("");
    place.install_helper();
    let file = place.path("config.json");
    fs::write(&file, json!({ "credsStore": "x", "credHelpers": { "public.ecr.aws": "ecr-login" } }).to_string())
        .unwrap();
    let before = fs::read_to_string(&file).unwrap();
    let image = format!("https://{PRIVATE}/team/app:v1");
    let configure = |more: &[&str]| {
        let own = ["configure", "docker", image.as_str(), "public.ecr.aws", "--file", file.to_str().unwrap()];
        place.run(PROGRAM, &[&own[..], more].concat(), "").out()
    };
    let shown = configure(&["--dry-run"]);
    assert!(shown.contains("would change") && shown.contains(&format!("+ credHelpers[\"{PRIVATE}\"]")), "{shown}");
    assert!(shown.contains("- credHelpers[\"public.ecr.aws\"] = \"ecr-login\""), "{shown}");
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    configure(&[]);
    let config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(
        config,
        json!({ "credsStore": "x", "credHelpers": { PRIVATE: "ecr-broker", "public.ecr.aws": "ecr-broker" } })
    );
    assert!(configure(&[]).contains("already"));

    let podman = place.run(PROGRAM, &["configure", "podman", PRIVATE], "").out();
    assert!(podman.contains("containers/auth.json"), "{podman}");
    let config: Value = serde_json::from_str(&fs::read_to_string(place.path("containers/auth.json")).unwrap()).unwrap();
    assert_eq!(config["credHelpers"][PRIVATE], "ecr-broker");
    for (wrong, code) in [
        (&["configure", "docker", "ghcr.io"][..], 1),
        (&["configure", "docker", "docker.io"], 3),
        (&["configure", "bazel", "123.dkr.ecr.eu-central-1.amazonaws.com"], 3),
        (&["configure", "docker"], 2),
    ] {
        assert_eq!(place.run(PROGRAM, wrong, "").code, code, "{wrong:?}");
    }
}

#[test]
fn configure_warns_of_a_helper_that_is_not_in_the_path() {
    let place = Place::new("");
    let file = place.path("config.json");
    let configure = || place.run(PROGRAM, &["configure", "docker", PRIVATE, "--file", file.to_str().unwrap()], "");
    let warned = configure();
    assert_eq!(warned.code, 0, "{warned:?}");
    assert!(warned.error().contains("warning: docker-credential-ecr-broker is not in the PATH"), "{warned:?}");
    fs::remove_file(&file).unwrap();
    place.install_helper();
    configure().out();
}

#[test]
fn helper_explains_itself_under_each_of_its_names() {
    let place = Place::new("");
    for (name, flags) in [
        ("docker-credential-ecr-broker", "ecr-broker helper docker --help"),
        ("ecr-credential-provider", "ecr-broker helper kubelet --help"),
        ("bazel-credential-ecr-broker", "ecr-broker helper bazel --help"),
    ] {
        let link = place.path(name);
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        let ask = |flag: &str| place.run(link.to_str().unwrap(), &[flag], "").out();
        let help = ask("--help");
        assert!(help.starts_with(&format!("usage: {name} ")) && help.contains(flags), "{help}");
        assert_eq!(ask("-h"), help);
        assert_eq!(ask("--version"), format!("{name} (ecr-broker) {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn configure_keeps_key_order_indentation_and_null_is_empty() {
    let place = Place::new("");
    place.install_helper();
    let file = place.path("config.json");
    let configure = || place.run(PROGRAM, &["configure", "docker", PRIVATE, "--file", file.to_str().unwrap()], "");
    let added = format!("\"{PRIVATE}\": \"ecr-broker\"");
    for (before, after) in [
        (
            "{\n\t\"psFormat\": \"x\",\n\t\"credHelpers\": {\n\t\t\"z\": \"y\"\n\t},\n\t\"auths\": {}\n}".to_owned(),
            format!(
                "{{\n\t\"psFormat\": \"x\",\n\t\"credHelpers\": {{\n\t\t\"z\": \"y\",\n\t\t{added}\n\t}},\n\t\"auths\": {{}}\n}}"
            ),
        ),
        (
            "{\n    \"z\": 1,\n    \"credHelpers\": null,\n    \"auths\": null\n}\n".to_owned(),
            format!("{{\n    \"z\": 1,\n    \"credHelpers\": {{\n        {added}\n    }},\n    \"auths\": null\n}}\n"),
        ),
        (String::new(), format!("{{\n\t\"credHelpers\": {{\n\t\t{added}\n\t}}\n}}")),
        ("null".to_owned(), format!("{{\n\t\"credHelpers\": {{\n\t\t{added}\n\t}}\n}}")),
    ] {
        fs::write(&file, &before).unwrap();
        configure().out();
        assert_eq!(fs::read_to_string(&file).unwrap(), after, "{before}");
    }
    fs::write(&file, r#"{"credHelpers":[]}"#).unwrap();
    assert!(configure().error().contains("credHelpers is not an object"));
}

#[test]
fn configure_writes_through_a_dangling_link() {
    let place = Place::new("");
    let (link, target) = (place.path("home/.docker/config.json"), place.path("home/dotfiles/config.json"));
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("../dotfiles/config.json", &link).unwrap();
    let home = place.path("home");
    let variables = [("HOME", home.to_str().unwrap())];
    let configure = || place.run_with(PROGRAM, &["configure", "docker", PRIVATE], "", &variables);
    let refused = configure();
    assert!(refused.code == 1 && refused.error().contains("whose directory does not exist"), "{refused:?}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    fs::create_dir(target.parent().unwrap()).unwrap();
    place.install_helper();
    configure().out();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let config: Value = serde_json::from_str(&fs::read_to_string(&target).unwrap()).unwrap();
    assert_eq!(config["credHelpers"][PRIVATE], "ecr-broker");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    place.run_with(PROGRAM, &["configure", "docker", "public.ecr.aws"], "", &variables).out();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
    let mut beside: Vec<_> =
        fs::read_dir(target.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    beside.sort_unstable();
    assert_eq!(beside, ["config.json", "config.json.lock"], "the lock is beside the target");
}

#[test]
fn configure_kubelet_and_bazel_prints_their_configuration() {
    let place = Place::new("");
    let kubelet = place.run(PROGRAM, &["configure", "kubelet", PRIVATE], "").out();
    assert!(
        kubelet.contains(&format!("      - \"{PRIVATE}\"\n")) && kubelet.contains("args: [helper, kubelet]"),
        "{kubelet}"
    );
    assert!(place.run(PROGRAM, &["configure", "kubelet"], "").out().contains("*.dkr.ecr.*.amazonaws.com"));
    assert!(!kubelet.contains("tokenAttributes"), "{kubelet}");
    let with_tokens = place.run(PROGRAM, &["configure", "kubelet", "--service-account-tokens", "ecr-broker"], "").out();
    assert!(with_tokens.contains("      serviceAccountTokenAudience: \"ecr-broker\"\n"), "{with_tokens}");
    for audience in ["", "a b", "a\"b", "a\nb"] {
        let refused = place.run(PROGRAM, &["configure", "kubelet", "--service-account-tokens", audience], "");
        assert_eq!(refused.code, 2, "{audience:?}: {}", refused.stderr);
    }
    let bazel = place.run(PROGRAM, &["configure", "bazel", PRIVATE, "public.ecr.aws"], "").out();
    assert!(
        bazel.contains(&format!("--credential_helper={PRIVATE}=")) && bazel.contains("=public.ecr.aws="),
        "{bazel}"
    );
}

#[test]
fn program_acts_as_the_helper_that_its_name_says() {
    let broker = simulated_broker(&[], &[]);
    let place = Place::at(&broker);
    let under = |name: &str, arguments: &[&str], question: &str| {
        let link = place.path(name);
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        let answer: Value =
            serde_json::from_str(&place.run(link.to_str().unwrap(), arguments, question).out()).unwrap();
        answer
    };
    let request = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderRequest", "image": PRIVATE,
    });
    let answer = under("ecr-credential-provider", &["get-credentials"], &request.to_string());
    assert_eq!(answer["auth"][PRIVATE]["username"], "AWS");
    let uri = json!({ "uri": format!("https://{PRIVATE}/v2/") });
    let answer = under("bazel-credential-ecr-broker", &["get"], &uri.to_string());
    assert!(answer["headers"]["Authorization"][0].as_str().unwrap().starts_with("Basic "));
    assert_eq!(under("docker-credential-ecr-login", &["get"], PRIVATE)["Username"], "AWS");
    broker.stop();
}
