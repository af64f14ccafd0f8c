//! Events of ECR in CloudTrail's log files, gzipped or plain: `{"Records": [...]}`.

use std::fmt;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::json_file::error_position;

/// Longest file without compression. CloudTrail's own have 50 MB at most.
const MAX_BYTES: u64 = 1 << 30;
const GZIP: &[u8] = &[0x1f, 0x8b];
/// The services whose events count.
const SOURCES: [&str; 2] = ["ecr.amazonaws.com", "ecr-public.amazonaws.com"];

/// An event, with the fields that tell who used which repository.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Event {
    #[serde(rename = "eventSource")]
    source: String,
    #[serde(rename = "eventName")]
    pub(super) name: String,
    #[serde(rename = "eventTime")]
    pub(super) time: String,
    /// Set if the call failed.
    pub(super) error_code: Option<String>,
    request_parameters: Option<Parameters>,
    user_identity: Option<Identity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Parameters {
    repository_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Identity {
    arn: Option<String>,
    session_context: Option<SessionContext>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SessionContext {
    session_issuer: Option<SessionIssuer>,
    source_identity: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SessionIssuer {
    arn: Option<String>,
}

impl Event {
    /// Returns whether the event is one of ECR.
    fn is_of_ecr(&self) -> bool {
        SOURCES.contains(&self.source.as_str())
    }

    /// Returns the repository, if the call named one.
    pub(super) fn repository(&self) -> Option<&str> {
        self.request_parameters.as_ref()?.repository_name.as_deref()
    }

    /// Returns the ARN of the role or user that called.
    pub(super) fn issuer(&self) -> Option<&str> {
        let identity = self.user_identity.as_ref()?;
        let issuer = identity.session_context.as_ref().and_then(|context| context.session_issuer.as_ref());
        issuer.and_then(|issuer| issuer.arn.as_deref()).or(identity.arn.as_deref())
    }

    /// Returns the names that the session may have in audit records: its own, and its source identity.
    pub(super) fn session_names(&self) -> impl Iterator<Item = &str> {
        let identity = self.user_identity.as_ref();
        let arn = identity.and_then(|identity| identity.arn.as_deref());
        let own = arn.filter(|arn| arn.contains(":assumed-role/")).and_then(|arn| arn.rsplit('/').next());
        let context = identity.and_then(|identity| identity.session_context.as_ref());
        own.into_iter().chain(context.and_then(|context| context.source_identity.as_deref()))
    }
}

/// Reads a file, and calls `each` for every event of ECR.
///
/// # Errors
/// The file cannot be read, or is not a log file of CloudTrail.
pub(super) fn read(file: &Path, mut each: impl FnMut(Event)) -> anyhow::Result<()> {
    let name = || format!("cannot read {}", file.display());
    let opened = File::open(file).with_context(name)?;
    if opened.metadata().with_context(name)?.is_dir() {
        bail!("{}: it is a directory; name the files of CloudTrail", name());
    }
    let mut text = BufReader::new(opened);
    let is_gzip = text.fill_buf().with_context(name)?.starts_with(GZIP);
    let mut sort = |event: Event| {
        if event.is_of_ecr() {
            each(event);
        }
    };
    let read = if is_gzip {
        read_log(BufReader::new(MultiGzDecoder::new(text)).take(MAX_BYTES), &mut sort)
    } else {
        read_log(text.take(MAX_BYTES), &mut sort)
    };
    // serde's own message may quote the file.
    let problem = |error| anyhow::anyhow!("not a log file of CloudTrail ({})", error_position(&error));
    read.map_err(problem).with_context(name)
}

/// Reads the events one after the other: a hostile file of a gigabyte must not fill the memory.
fn read_log(text: impl Read, each: &mut dyn FnMut(Event)) -> serde_json::Result<()> {
    let mut log = serde_json::Deserializer::from_reader(text);
    log.deserialize_map(Log(each))?;
    log.end()
}

/// The object of a log file.
struct Log<'a>(&'a mut dyn FnMut(Event));

/// Its list of events.
struct Records<'a>(&'a mut dyn FnMut(Event));

impl<'de> Visitor<'de> for Log<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_records = false;
        while let Some(key) = map.next_key::<String>()? {
            if key == "Records" {
                has_records = true;
                map.next_value_seed(Records(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if has_records { Ok(()) } else { Err(A::Error::custom("no Records")) }
    }
}

impl<'de> DeserializeSeed<'de> for Records<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element()? {
            (self.0)(event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// An event of a pull by an ECR token, in the form that AWS documents.
    const PULL: &str = r#"{"eventVersion":"1.08","userIdentity":{"type":"AssumedRole",
        "principalId":"AROAEXAMPLE:ecr-broker-pull","arn":"arn:aws:sts::123456789012:assumed-role/pull/ecr-broker-pull",
        "accountId":"123456789012","sessionContext":{"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE",
        "arn":"arn:aws:iam::123456789012:role/team/pull","userName":"pull"},"sourceIdentity":"ecr-broker-source",
        "attributes":{"mfaAuthenticated":"false","creationDate":"2026-11-30T10:00:00Z"}},"invokedBy":"AWS Internal"},
        "eventTime":"2026-11-30T10:23:20Z","eventSource":"ecr.amazonaws.com","eventName":"BatchGetImage",
        "awsRegion":"eu-west-1","sourceIPAddress":"AWS Internal","userAgent":"AWS Internal",
        "requestParameters":{"registryId":"123456789012","repositoryName":"team-a/app","imageIds":[{"imageTag":"1"}]},
        "responseElements":null,"eventType":"AwsApiCall","recipientAccountId":"123456789012"}"#;

    fn read_text(text: &[u8]) -> anyhow::Result<Vec<Event>> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("trail.json.gz");
        std::fs::write(&file, text).unwrap();
        let mut events = Vec::new();
        read(&file, |event| events.push(event))?;
        Ok(events)
    }

    #[test]
    fn event_has_its_session_action_and_repository() {
        let other =
            r#"{"eventSource":"s3.amazonaws.com","requestParameters":null,"userIdentity":null,"errorCode":null}"#;
        let text = format!(r#"{{"Records":[{PULL},{other}],"more":1}}"#);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        for bytes in [text.into_bytes(), gzip.finish().unwrap()] {
            let events = read_text(&bytes).unwrap();
            assert_eq!(events.len(), 1);
            let event = &events[0];
            assert_eq!((event.name.as_str(), event.repository()), ("BatchGetImage", Some("team-a/app")));
            assert_eq!(event.issuer(), Some("arn:aws:iam::123456789012:role/team/pull"));
            assert_eq!(event.session_names().collect::<Vec<_>>(), ["ecr-broker-pull", "ecr-broker-source"]);
            assert_eq!((event.time.as_str(), &event.error_code), ("2026-11-30T10:23:20Z", &None));
        }
    }

    #[test]
    fn file_that_is_not_of_cloudtrail_is_refused_without_its_text() {
        for text in ["", "[]", "{}", r#"{"Records":"secret"}"#, r#"{"Records":[1]}"#, r#"{"Records":[{}]"#, "secret"] {
            let error = format!("{:#}", read_text(text.as_bytes()).unwrap_err());
            assert!(error.contains("not a log file of CloudTrail (line ") && !error.contains("secret"), "{error}");
        }
        let error = format!("{:#}", read(Path::new("/"), |_| ()).unwrap_err());
        assert!(error.contains("it is a directory"), "{error}");
    }
}
