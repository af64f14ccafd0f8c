//! The status page before html-validate, and before axe-core in Chromium.

use std::fs;
use std::process::Command;

use crate::other::{script, succeed, tool, tools};
use crate::program::{SERVE_SIMULATED, Server, run};

/// Brokers with no key, three and 500, and the URLs of their pages by name.
fn pages() -> Vec<(Server, String)> {
    [("empty", 0), ("three", 3), ("full", 500)].map(|(name, keys)| page(name, keys)).into()
}

fn page(name: &str, keys: usize) -> (Server, String) {
    let (server, ops) = Server::start_with_ops(&SERVE_SIMULATED, &[]);
    let address = server.address.replace("grpc://", "http://");
    let regions = ["eu-central-1", "us-east-1", "ap-southeast-2"];
    let host =
        |number: usize| format!("{:012}.dkr.ecr.{}.amazonaws.com", 111_111_111_111 + number, regions[number % 3]);
    let hosts: Vec<_> = (0..keys).map(host).collect();
    for batch in hosts.chunks(100) {
        let batch: Vec<_> = batch.iter().map(String::as_str).collect();
        run(&[&["get", "--address", &address, "--timeout", "60s"], batch.as_slice()].concat(), &[]).out();
    }
    (server, format!("{name}=http://{ops}/status?limit=500"))
}

#[test]
#[ignore = "needs html-validate, which .ci/tools installs"]
fn html_validate_finds_nothing_on_the_status_page() {
    let directory = tempfile::tempdir().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (_server, page) in pages() {
        let (name, url) = page.split_once('=').unwrap();
        let text = runtime.block_on(async { client.get(url).send().await.unwrap().text().await.unwrap() });
        fs::write(directory.path().join(format!("{name}.html")), text).unwrap();
    }
    let config = r#"{ "extends": ["html-validate:standard", "html-validate:a11y"] }"#;
    fs::write(directory.path().join(".htmlvalidate.json"), config).unwrap();
    let mut validate = tool("node/node_modules/.bin/html-validate");
    succeed(validate.current_dir(directory.path()).args(["empty.html", "three.html", "full.html"]));
}

#[test]
#[ignore = "needs Chromium and axe-core"]
fn axe_finds_nothing_on_the_status_page_in_light_dark_and_on_a_phone() {
    let modules = tools().join("node/node_modules");
    let pages = pages();
    let mut node = Command::new("node");
    node.env("NODE_PATH", modules).arg(script("status_page.mjs")).args(pages.iter().map(|(_, page)| page));
    assert!(succeed(&mut node).contains("no finding"));
}
