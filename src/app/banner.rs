//! The banner of `serve --simulate` on a terminal: what to type next.

use std::io::IsTerminal as _;

use crate::terminal::print_note;

/// A registry of the simulated AWS, which has every account.
const REGISTRY: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// Prints the banner of a broker that listens at `urls`. Elsewhere stderr holds log lines only, which programs read.
pub(super) fn print(urls: &[String]) {
    if std::io::stderr().is_terminal() {
        text(urls).lines().for_each(print_note);
    }
}

fn text(urls: &[String]) -> String {
    let address = urls.iter().find_map(|url| match url.strip_prefix("grpc://") {
        Some(address) => Some(format!("http://{address}")),
        None => url.starts_with("unix:").then(|| url.clone()),
    });
    let address = address.map(|address| format!(" --address {address}")).unwrap_or_default();
    format!(
        "\nAWS is simulated: every account has a registry, and no real registry accepts the credentials.\n\
         In a second terminal, type:\n\n  \
         ecr-broker get {REGISTRY}{address}\n  \
         ecr-broker doctor {REGISTRY}{address}\n\n\
         Ctrl-C stops the broker.\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banner_names_an_address_that_clients_accept() {
        for (urls, address) in [
            (&["grpc://127.0.0.1:50051"][..], " --address http://127.0.0.1:50051"),
            (&["unix:/run/a.sock", "grpc://127.0.0.1:1"], " --address unix:/run/a.sock"),
            (&["aws+http://127.0.0.1:9911", "ops+unix:/a", "grpc://[::1]:2"], " --address http://[::1]:2"),
            (&[], ""),
        ] {
            let urls: Vec<_> = urls.iter().map(|url| (*url).to_owned()).collect();
            let line = format!("  ecr-broker get {REGISTRY}{address}");
            assert!(text(&urls).lines().any(|one| one == line), "{}", text(&urls));
        }
    }
}
