//! Image pulls by real programs from real ECR host names, with one line of configuration that names the helper.
//!
//! Each test runs in its own network and mount namespace. There the ECR host resolves to this host, and a test CA signs its
//! certificate.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::PRIVATE;
use super::certificates::{Authority, dns, leaf};
use super::other::{succeed, tools};
use super::program::{PROGRAM, Server};
use super::registry::{COMPARED, make_image, password};

const HELPER: &str = env!("CARGO_BIN_EXE_docker-credential-ecr-broker");

/// Writes the configuration of a TLS registry on port 443 that accepts this password.
fn registry(directory: &Path, password: &str) {
    let authority = Authority::new(directory, "ca.pem", "registry");
    let mut params = leaf(&[dns(PRIVATE)]);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    authority.sign(&params).write(directory, "registry");
    let htpasswd = succeed(Command::new("htpasswd").args(["-Bbn", "AWS", &password[..COMPARED]]));
    fs::write(directory.join("htpasswd"), htpasswd.trim()).unwrap();
    let config = format!(
        "{{version: 0.1, log: {{level: info}}, storage: {{filesystem: {{rootdirectory: {0}/data}}}}, \
         http: {{addr: '127.0.0.1:443', secret: x, tls: {{certificate: {0}/registry.crt, key: {0}/registry.key}}}}, \
         auth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}}}",
        directory.display()
    );
    fs::write(directory.join("config.yml"), config).unwrap();
    fs::write(directory.join("hosts"), format!("127.0.0.1 localhost {PRIVATE}\n")).unwrap();
}

/// Pushes an image with skopeo, then runs a line of shell with its name in `$image`.
fn with_an_image(auth: &str, line: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let socket = format!("unix:{}", place.join("broker.sock").display());
    let broker = Server::start(&["serve", "--simulate", "--listen", &socket], &[]);
    registry(place, &password(&broker));
    fs::create_dir_all(place.join("ecr-broker")).unwrap();
    fs::write(place.join("ecr-broker/client.toml"), format!("address = {socket:?}\n")).unwrap();
    fs::create_dir(place.join("bin")).unwrap();
    let programs =
        [("docker-credential-ecr-broker", HELPER), ("docker-credential-ecr-login", HELPER), ("ecr-broker", PROGRAM)];
    for (name, program) in programs {
        symlink(program, place.join("bin").join(name)).unwrap();
    }
    fs::create_dir(place.join("image")).unwrap();
    make_image(&place.join("image"));
    fs::write(place.join("config.json"), auth).unwrap();
    let script = format!(
        "set -eu; cd {place}; ip link set lo up; mount --bind hosts /etc/hosts\n\
         docker-registry serve config.yml >registry.log 2>&1 & registry=$!\n\
         trap 'kill $registry' EXIT\n\
         for _ in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/443) 2>/dev/null && break; sleep 0.05; done\n\
         image={PRIVATE}/team/app:v1\n\
         skopeo --insecure-policy copy --authfile config.json oci:image:v1 docker://$image >&2\n{line}\n",
        place = place.display()
    );
    let path = format!("{}/bin:{}:/usr/sbin:/usr/bin:/sbin:/bin", place.display(), tools().join("bin").display());
    let mut namespace = Command::new("unshare");
    namespace.args(["--mount", "--net", "bash", "-c", &script]).env_clear();
    namespace.env("PATH", path).env("XDG_CONFIG_HOME", place).env("HOME", place);
    namespace.env("SSL_CERT_FILE", place.join("ca.pem")).env("DOCKER_CONFIG", place);
    let out = succeed(&mut namespace);
    broker.stop();
    out
}

fn helper_for_the_host(name: &str) -> String {
    format!(r#"{{"credHelpers":{{"{PRIVATE}":"{name}"}}}}"#)
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd and skopeo, which .ci/tools installs"]
fn skopeo_needs_the_helper_to_push_and_list() {
    let line = "skopeo list-tags --authfile config.json docker://${image%:*}\n\
                if skopeo list-tags --no-creds docker://${image%:*}; then exit 1; fi";
    let out = with_an_image(&helper_for_the_host("ecr-broker"), line);
    assert!(out.contains("\"v1\""), "{out}");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd and skopeo, which .ci/tools installs"]
fn helper_named_ecr_login_replaces_amazons() {
    let out = with_an_image(&helper_for_the_host("ecr-login"), "skopeo inspect --authfile config.json docker://$image");
    assert!(out.contains(PRIVATE), "{out}");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo and buildah, which .ci/tools installs"]
fn buildah_pulls_with_the_helper() {
    let line = "buildah --storage-driver vfs --root $PWD/root --runroot $PWD/run pull --authfile config.json $image";
    let out = with_an_image(&helper_for_the_host("ecr-broker"), line);
    // The image ID.
    assert!(out.trim().len() == 64, "{out}");
}

/// podman without systemd and without an event log, which only containers need.
const PODMAN: &str =
    "podman --storage-driver vfs --root $PWD/root --runroot $PWD/run --cgroup-manager cgroupfs --events-backend none";

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo and podman, which .ci/tools installs"]
fn podman_pulls_with_the_helper() {
    let out =
        with_an_image(&helper_for_the_host("ecr-broker"), &format!("{PODMAN} pull --authfile config.json $image"));
    assert!(out.trim().len() == 64, "{out}");
}

/// A remote client sends the credentials of all registries in its file, so it asks every helper for every command. The service has no
/// helper.
#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo and podman, which .ci/tools installs"]
fn podman_remote_pulls_and_builds_other_images_while_the_helper_fails() {
    let line = format!(
        "echo \"{{version: 0.1, storage: {{filesystem: {{rootdirectory: $PWD/open}}}}, http: {{addr: '127.0.0.1:5000'}}}}\" >open.yml\n\
         docker-registry serve open.yml >open.log 2>&1 & open=$!\n\
         DOCKER_CONFIG=$PWD/none {PODMAN} system service --time 0 unix://$PWD/podman.sock >service.log 2>&1 & service=$!\n\
         trap 'kill $registry $open $service' EXIT\n\
         for _ in $(seq 300); do [ -S podman.sock ] && (exec 3<>/dev/tcp/127.0.0.1/5000) 2>/dev/null && break; sleep 0.05; done\n\
         other=localhost:5000/app:v1\n\
         skopeo --insecure-policy copy --dest-tls-verify=false oci:image:v1 docker://$other >&2\n\
         remote() {{ podman --remote --url unix://$PWD/podman.sock \"$@\"; }}\n\
         remote pull --authfile config.json $image >&2 && echo pulled with the broker\n\
         export ECR_BROKER_ADDRESS=unix:/dev/null\n\
         remote pull --tls-verify=false --authfile config.json $other 2>pull.log >&2 || {{ cat pull.log >&2; exit 1; }}\n\
         grep -q 'no broker answers' pull.log && echo pulled without it\n\
         mkdir context; printf 'FROM %s\\nLABEL a=b\\n' $other >context/Containerfile\n\
         remote build --tls-verify=false --authfile config.json --pull-always context >&2 && echo built\n\
         if remote pull --authfile config.json $image >&2; then exit 1; fi"
    );
    let out = with_an_image(&helper_for_the_host("ecr-broker"), &line);
    assert_eq!(out, "pulled with the broker\npulled without it\nbuilt\n");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo, buildah, podman and crane, which .ci/tools installs"]
fn programs_without_a_broker_pull_with_the_file_of_sync() {
    let line = format!(
        "ecr-broker sync --once ${{image%%/*}} --authfile $PWD/synced/auth.json >&2\n\
         ecr-broker sync --once $image --docker-config $PWD/docker >&2\n\
         rm -r bin\n\
         skopeo list-tags --authfile synced/auth.json docker://${{image%:*}} | grep -q v1 && echo skopeo\n\
         REGISTRY_AUTH_FILE=$PWD/synced/auth.json {PODMAN} pull $image | grep -qx '[0-9a-f]*' && echo podman\n\
         buildah --storage-driver vfs --root $PWD/root2 --runroot $PWD/run2 pull --authfile synced/auth.json $image | grep -qx '[0-9a-f]*' && echo buildah\n\
         DOCKER_CONFIG=$PWD/docker crane digest $image | grep -q sha256: && echo crane\n\
         if skopeo list-tags --authfile config.json docker://${{image%:*}}; then exit 1; fi"
    );
    let out = with_an_image(&helper_for_the_host("ecr-broker"), &line);
    assert_eq!(out, "skopeo\npodman\nbuildah\ncrane\n");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo and crane, which .ci/tools installs"]
fn crane_reads_with_the_helper_for_all_registries() {
    // skopeo ignores credsStore, so it needs credHelpers.
    let auth = format!(r#"{{"credsStore":"ecr-broker","credHelpers":{{"{PRIVATE}":"ecr-broker"}}}}"#);
    let out = with_an_image(&auth, "crane digest $image; crane catalog ${image%%/*}");
    assert!(out.contains("sha256:") && out.contains("team/app"), "{out}");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo and oras, which .ci/tools installs"]
fn oras_reads_with_the_helper() {
    let out = with_an_image(&helper_for_the_host("ecr-broker"), "oras repo tags ${image%:*}");
    assert_eq!(out.trim(), "v1");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo, podman and crane, which .ci/tools installs"]
fn programs_pull_under_exec_without_any_configuration() {
    let line = format!(
        "rm bin/docker-credential-*; echo '{{}}' >config.json; mkdir runtime; export XDG_RUNTIME_DIR=$PWD/runtime\n\
         if skopeo list-tags docker://${{image%:*}}; then exit 1; fi\n\
         for flags in '' --static; do\n\
         run() {{ ecr-broker exec $flags $image -- \"$@\"; }}\n\
         run skopeo list-tags docker://${{image%:*}} | grep -q v1 && echo skopeo $flags\n\
         run {PODMAN} pull $image | grep -qx '[0-9a-f]*' && echo podman $flags\n\
         run crane digest $image | grep -q sha256: && echo crane $flags\n\
         done\n\
         [ -z \"$(ls runtime | grep ecr-broker-exec)\" ]"
    );
    let out = with_an_image(&helper_for_the_host("ecr-broker"), &line);
    assert_eq!(out, "skopeo\npodman\ncrane\nskopeo --static\npodman --static\ncrane --static\n");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo and podman, which .ci/tools installs"]
fn podman_is_logged_in_with_the_password_on_its_stdin() {
    let line = "ecr-broker login podman $image -- --authfile $PWD/login.json >&2; rm -r bin\n\
                skopeo list-tags --authfile login.json docker://${image%:*} | grep -q v1 && echo pulled";
    let out = with_an_image(&helper_for_the_host("ecr-broker"), line);
    assert_eq!(out, "pulled\n");
}

#[test]
#[ignore = "needs root, docker-registry, htpasswd, skopeo and helm, which .ci/tools installs"]
fn helm_is_logged_in_with_the_password_on_its_stdin() {
    let line = "ecr-broker login helm $image -- --registry-config $PWD/login.json >&2; rm -r bin\n\
                skopeo list-tags --authfile login.json docker://${image%:*} | grep -q v1 && echo pulled";
    let out = with_an_image(&helper_for_the_host("ecr-broker"), line);
    assert_eq!(out, "pulled\n");
}
