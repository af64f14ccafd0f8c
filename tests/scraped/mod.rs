//! A scrape in Prometheus text format, parsed.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A scrape: the samples by name, and the type of each family.
#[derive(Debug, Default)]
pub struct Scraped {
    pub text: String,
    pub samples: Vec<Sample>,
    pub types: BTreeMap<String, String>,
}

/// One line of a scrape.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Scraped {
    pub fn parse(text: &str) -> Self {
        let mut scraped = Self { text: text.to_owned(), ..Self::default() };
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').unwrap();
                let before = scraped.types.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{name} is in the scrape twice");
            } else if !line.starts_with('#') {
                scraped.samples.push(Sample::parse(line));
            }
        }
        scraped
    }

    /// Scrapes the ops listener at an address.
    pub fn from(address: &str) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    /// Scrapes the ops listener on a Unix socket.
    pub fn from_socket(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).unwrap())
    }

    fn over(mut stream: impl Read + Write) -> Self {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{response}");
        assert!(head.contains("version=0.0.4"), "{head}");
        Self::parse(body)
    }

    /// Returns the value of a sample; zero if it is absent.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_default()
    }

    /// Returns the sum of the samples that have these labels, beside others; `None` if there are none.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|own| own == value))
        };
        self.samples.iter().filter(has).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// Returns the labels of each family, without those of the format.
    pub fn labels_of(&self, family: &str) -> BTreeSet<String> {
        let suffixes: &[&str] = if self.types[family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        let is_own = |sample: &&Sample| suffixes.iter().any(|suffix| sample.name == format!("{family}{suffix}"));
        let labels = self.samples.iter().filter(is_own).flat_map(|sample| sample.labels.keys());
        labels.filter(|label| *label != "le").cloned().collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut labels = labels.trim_end_matches('}');
        let mut parsed = BTreeMap::new();
        while let Some((label, rest)) = labels.split_once("=\"") {
            let end = rest.match_indices('"').find(|(at, _)| !rest[..*at].ends_with('\\')).unwrap().0;
            parsed.insert(label.trim_start_matches(',').to_owned(), rest[..end].to_owned());
            labels = &rest[end + 1..];
        }
        assert!(labels.is_empty(), "{line}");
        Self { name: name.to_owned(), labels: parsed, value: value.parse().unwrap() }
    }
}
