//! A real registry that accepts the broker's password.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::PRIVATE;
use super::other::{Foreign, run, succeed};
use super::program::{Server, program, simulated_broker};

/// Bytes of a password that bcrypt compares.
pub(crate) const COMPARED: usize = 72;

pub(crate) fn password(broker: &Server) -> String {
    let get = ["get", PRIVATE, "-o", "password", "--address", &broker.address];
    succeed(program(&[]).args(get)).trim_end().to_owned()
}

/// Debian's docker-registry with the user `AWS` and this password.
fn registry(directory: &Path, password: &str) -> Foreign {
    let htpasswd = succeed(Command::new("htpasswd").args(["-Bbn", "AWS", &password[..COMPARED]]));
    fs::write(directory.join("htpasswd"), htpasswd.trim()).unwrap();
    let config = format!(
        "{{version: 0.1, log: {{level: info}}, storage: {{filesystem: {{rootdirectory: {0}/data}}}}, \
         http: {{addr: '127.0.0.1:0'}}, auth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}}}",
        directory.display()
    );
    let file = directory.join("config.yml");
    fs::write(&file, config).unwrap();
    Foreign::start(Command::new("docker-registry").arg("serve").arg(file), "listening on 127.0.0.1:")
}

/// `skopeo login` with the password on stdin, as scripts do it.
fn login(authfile: &Path, registry: &Foreign, password: &str) -> bool {
    let mut skopeo = Command::new("skopeo")
        .args(["login", "--tls-verify=false", "-u", "AWS", "--password-stdin", "--authfile"])
        .arg(authfile)
        .arg(format!("127.0.0.1:{}", registry.port))
        .stdin(Stdio::piped())
        .spawn()
        .expect("skopeo, which .ci/tools installs");
    skopeo.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    skopeo.wait().unwrap().success()
}

#[test]
#[ignore = "needs docker-registry, htpasswd and skopeo, which .ci/tools installs"]
fn registry_accepts_skopeo_with_the_broker_s_password_only() {
    let directory = tempfile::tempdir().unwrap();
    let broker = simulated_broker(&[], &[]);
    let password = password(&broker);
    let registry = registry(directory.path(), &password);
    let authfile = directory.path().join("auth.json");
    assert!(login(&authfile, &registry, &password));

    // With the credential an image can be pushed and listed.
    let image = directory.path().join("image");
    fs::create_dir(&image).unwrap();
    let repository = format!("docker://127.0.0.1:{}/team/app:v1", registry.port);
    let skopeo = |arguments: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(arguments).arg("--authfile").arg(&authfile);
        skopeo
    };
    let tags = format!("docker://127.0.0.1:{}/team/app", registry.port);
    make_image(&image);
    let from = format!("oci:{}:v1", image.display());
    succeed(&mut skopeo(&["--insecure-policy", "copy", "--dest-tls-verify=false", &from, &repository]));
    assert!(succeed(&mut skopeo(&["list-tags", "--tls-verify=false", &tags])).contains("v1"));

    let other = simulated_broker(&[], &[]);
    assert!(!login(&directory.path().join("other.json"), &registry, &self::password(&other)));
    assert!(
        !run(Command::new("skopeo").args(["list-tags", "--no-creds", "--tls-verify=false", &tags])).status.success()
    );
}

/// An OCI image without layers.
pub(crate) fn make_image(directory: &Path) {
    let blob = |content: &str| {
        use sha2::Digest as _;
        let digest = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(content));
        fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
        fs::write(directory.join("blobs/sha256").join(&digest), content).unwrap();
        (format!("sha256:{digest}"), content.len())
    };
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let (digest, size) = blob(config);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{size}}},"layers":[]}}"#
    );
    let (digest, size) = blob(&manifest);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}]}}"#
    );
    fs::write(directory.join("index.json"), index).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}
