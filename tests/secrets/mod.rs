//! Secrets to search for, and searches of what a broker shows.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::fs;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::program::run;
use crate::support::HOST;

/// Secrets that must not be found anywhere, each with its description.
#[derive(Default)]
pub struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    pub fn add(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 12, "{what}: {secret}");
        self.0.push((what, secret.to_owned()));
    }

    /// Adds a registry's password. Its middle is unique, and survives a different encoding of its start.
    pub fn add_password(&mut self, password: &str) {
        self.add("a password's middle", &password[600..640]);
        self.add("a token's middle", &BASE64.encode(format!("AWS:{password}").as_bytes())[1_000..1_040]);
    }

    pub fn add_bearer_token(&mut self, token: &str) {
        self.add("a bearer token's signature", token.rsplit('.').next().unwrap());
        self.add("a bearer token's claims", token.split('.').nth(1).unwrap());
    }

    /// Adds the keys of a keys file, as they are there and as programs print bytes.
    pub fn add_keys(&mut self, keys_file: &str) {
        for key in keys_file.lines().filter_map(|line| line.split(' ').nth(1)) {
            let bytes = BASE64.decode(key.as_bytes()).unwrap();
            self.add("a key of the shared cache", &key[..40]);
            self.add("a key of the shared cache in hex", &HEXLOWER.encode(&bytes));
            self.add("a key of the shared cache as a list", format!("{bytes:?}").trim_matches(['[', ']']));
        }
    }

    /// Adds a private key in PEM.
    pub fn add_private_key(&mut self, pem: &str) {
        self.add("a private key", pem.lines().nth(1).unwrap());
    }

    pub fn search(&self, place: &str, text: &str) {
        for (what, secret) in &self.0 {
            let found = text.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "{what} in {place}: {}", found.unwrap_or_default());
        }
    }

    /// Searches all files below a directory; returns their number.
    pub fn search_directory(&self, directory: &Path) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                files += self.search_directory(&path);
            } else if path.is_file() {
                self.search(&path.display().to_string(), &String::from_utf8_lossy(&fs::read(&path).unwrap()));
                files += 1;
            }
        }
        files
    }

    /// Searches what every user of the host sees of a process, and its environment.
    pub fn search_process(&self, pid: u32) {
        for name in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{name}")).unwrap();
            self.search(name, &String::from_utf8_lossy(&text));
        }
    }

    /// Searches every page of the ops listener.
    pub async fn search_ops(&self, socket: &Path) {
        for (page, expected) in [
            ("/livez", "200 OK"),
            ("/readyz", "200 OK"),
            ("/readyz?verbose", "[+]"),
            ("/metrics", "ecr_broker_credentials_total"),
            ("/status", "eu-central-1"),
            ("/status?order=hits&limit=1", "200 OK"),
            ("/status?failing=1", "200 OK"),
            ("/status.json", "eu-central-1"),
            ("/status.json?order=failure&profile=default", "eu-central-1"),
            ("/status?page=nonsense", "400 Bad Request"),
            ("/nonsense", "404 Not Found"),
        ] {
            let text = http_get(socket, page).await;
            assert!(text.contains(expected), "{page}: {text}");
            self.search(page, &text);
        }
    }

    /// Searches what the commands for operators print.
    pub fn search_commands(&self, config: &str, socket: &str) {
        let status = ["status", "--address", socket, "-o"];
        let [live, contain] = ["live", "contain"].map(|command| ["audit", command, "--config", config, "-o"]);
        for (arguments, expected) in [(&status[..], HOST), (&live, HOST), (&contain, "\"credentials\"")] {
            for output in ["text", "json"] {
                let printed = run(&[arguments, &[output]].concat(), &[]).out();
                assert!(printed.contains(expected) || output == "text", "{arguments:?}: {printed}");
                self.search(&arguments.join(" "), &printed);
            }
        }
    }
}

/// Returns the answer of a page on the ops listener's Unix socket, with its headers.
async fn http_get(socket: &Path, page: &str) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream
        .write_all(format!("GET {page} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
