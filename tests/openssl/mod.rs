//! A CA of the real OpenSSL: certificates with any extension, and revocation lists as `docs/authentication.md` makes them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::certificates::Pair;

pub const ROOT: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash";
pub const WORKLOAD: &str =
    "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth";

const DATABASE: &str =
    "[ca]\ndefault_ca = one\n[one]\ndatabase = index.txt\ncrlnumber = crlnumber\ndefault_md = sha256\n";
/// Extensions of revocation lists, which `-crlexts` names.
const LIST_EXTENSIONS: &str = "[delta]\n2.5.29.27 = critical,DER:02:01:01\n\
                               [users]\nissuingDistributionPoint = critical,@only_users\n[only_users]\nonlyuser = TRUE\n\
                               [one_point]\nissuingDistributionPoint = critical,@point_1\n\
                               [point_1]\nfullname = URI:http://crl.example/1\n\
                               [key]\nauthorityKeyIdentifier = keyid:always\n";

/// A CA in a directory.
pub struct OpensslCa {
    directory: PathBuf,
    name: String,
}

impl OpensslCa {
    /// Creates a CA that signs itself.
    pub fn root(directory: &Path, name: &str) -> Self {
        let ca = Self::empty(directory, name);
        ca.request(&ca.name);
        ca.run(&["x509", "-req", "-in", "ca.csr", "-signkey", "ca.key", "-days", "3650", "-out", "ca.crt"], ROOT);
        ca
    }

    /// Creates an intermediate with these extensions.
    pub fn intermediate(&self, name: &str, extensions: &str) -> Self {
        self.intermediate_in(self.directory.parent().unwrap(), name, extensions)
    }

    /// Creates an intermediate in another directory, where it can have the name of another one.
    pub fn intermediate_in(&self, directory: &Path, name: &str, extensions: &str) -> Self {
        let ca = Self::empty(directory, name);
        ca.request(name);
        self.sign_request(&ca.directory, "ca", extensions);
        ca
    }

    /// Returns a workload's certificate.
    pub fn workload(&self, file: &str, id: &str) -> Pair {
        self.request_named(file, "workload");
        self.sign_request(&self.directory, file, &format!("{WORKLOAD}\nsubjectAltName=URI:{id}"));
        let read = |extension: &str| fs::read_to_string(self.directory.join(format!("{file}.{extension}"))).unwrap();
        Pair { certificate: read("crt"), key: read("key") }
    }

    pub fn certificate(&self) -> String {
        fs::read_to_string(self.file("ca.crt")).unwrap()
    }

    pub fn revoke(&self, file: &str) {
        let certificate = format!("{file}.crt");
        self.run(&["ca", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.crt", "-revoke", &certificate], "");
    }

    /// Revokes this many certificates that were never made.
    pub fn revoke_many(&self, count: u32) {
        let line = |serial| format!("R\t350101000000Z\t250101000000Z\t{serial:016X}\tunknown\t/CN={serial}\n");
        fs::write(self.file("index.txt"), (1..=count).map(line).collect::<String>()).unwrap();
    }

    /// Returns a new revocation list (PEM), with more arguments for its times.
    pub fn revocation_list(&self, times: &[&str]) -> String {
        let list = ["ca", "-config", "ca.cnf", "-keyfile", "ca.key", "-cert", "ca.crt", "-gencrl", "-out", "ca.crl"];
        self.run(&[&list[..], times].concat(), "");
        fs::read_to_string(self.file("ca.crl")).unwrap()
    }

    /// Returns the last revocation list in DER form.
    pub fn revocation_list_der(&self) -> Vec<u8> {
        self.run(&["crl", "-in", "ca.crl", "-outform", "DER", "-out", "ca.crl.der"], "");
        fs::read(self.file("ca.crl.der")).unwrap()
    }

    fn empty(parent: &Path, name: &str) -> Self {
        let directory = parent.join(name);
        fs::create_dir(&directory).unwrap();
        let ca = Self { directory, name: name.to_owned() };
        let configuration = [DATABASE, LIST_EXTENSIONS].concat();
        for (file, text) in [("ca.cnf", configuration.as_str()), ("index.txt", ""), ("crlnumber", "01\n")] {
            fs::write(ca.file(file), text).unwrap();
        }
        ca
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn request(&self, name: &str) {
        self.request_named("ca", name);
    }

    fn request_named(&self, file: &str, name: &str) {
        let (key, request, subject) = (format!("{file}.key"), format!("{file}.csr"), format!("/CN={name}"));
        let new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        self.run(&[&new[..], &["-keyout", &key, "-out", &request, "-subj", &subject]].concat(), "");
    }

    /// Signs `FILE.csr` of a directory as `FILE.crt`.
    fn sign_request(&self, directory: &Path, file: &str, extensions: &str) {
        let path = |extension: &str| directory.join(format!("{file}.{extension}")).to_str().unwrap().to_owned();
        let (request, certificate) = (path("csr"), path("crt"));
        let sign = ["x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "3000", "-in", &request];
        self.run(&[&sign[..], &["-out", &certificate, "-CAcreateserial"]].concat(), extensions);
    }

    /// Runs `openssl`, with extensions if there are any.
    fn run(&self, arguments: &[&str], extensions: &str) {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments).current_dir(&self.directory);
        if !extensions.is_empty() {
            fs::write(self.file("extensions"), extensions).unwrap();
            openssl.args(["-extfile", "extensions"]);
        }
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
