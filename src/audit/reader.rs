//! Reader of the log: one record after the other, so that a log of any size needs little memory.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use flate2::bufread::MultiGzDecoder;

use super::stored::StoredRecord;
use super::template::BEFORE_TIME;

/// Longest line. A longer one is damaged: no record is so long, and the memory must be bounded.
const MAX_LINE: u64 = 64 << 10;
/// Problem of a longer line.
pub(super) const TOO_LONG: &str = "longer than any record";
/// Maximum number of damaged records that are named. Further ones are counted.
const MAX_NAMED: usize = 10;
pub(super) const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// What was read.
#[derive(Debug, Default)]
pub struct Extent {
    /// Number of the records, without damaged ones.
    pub records: u64,
    /// Time of the first and of the last record, as in the log; empty if no record has one.
    pub times: (String, String),
    /// Number of the damaged records.
    pub damaged: u64,
    /// The first damaged records, each as `FILE:LINE: PROBLEM`.
    pub damaged_places: Vec<String>,
}

impl Extent {
    /// Reads logs, `-` from stdin, and calls `each` for every record. It returns why a record cannot be used.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn read(
        logs: &[PathBuf],
        mut each: impl FnMut(&StoredRecord) -> Result<(), &'static str>,
    ) -> anyhow::Result<Self> {
        let mut extent = Self::default();
        for log in logs {
            let name = if is_stdin(log) { "stdin".to_owned() } else { log.display().to_string() };
            let mut lines = open(log).with_context(|| format!("cannot read {name}"))?;
            let (mut line, mut number) = (Vec::new(), 0_u64);
            while let Some(whole) = next_line(&mut lines, &mut line).with_context(|| format!("cannot read {name}"))? {
                number += 1;
                if let Err(problem) = extent.add(&line, whole, &mut each) {
                    extent.damage(format_args!("{name}:{number}: {problem}"));
                }
            }
        }
        Ok(extent)
    }

    /// Returns the count and the times of the records, as a part of a sentence.
    #[must_use]
    pub fn in_words(&self) -> String {
        let (first, last) = &self.times;
        let plural = if self.records == 1 { "" } else { "s" };
        let times = if first.is_empty() { "without a time".to_owned() } else { format!("from {first} to {last}") };
        format!("{} audit record{plural} {times}", self.records)
    }

    /// Adds a line.
    fn add(
        &mut self,
        line: &[u8],
        whole: bool,
        each: &mut impl FnMut(&StoredRecord) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        if !may_be_record(line) {
            return Ok(());
        }
        if !whole {
            return Err(TOO_LONG);
        }
        let record: StoredRecord = serde_json::from_slice(line).map_err(|_| "cannot be parsed")?;
        if record.kind != "audit" {
            return Ok(());
        }
        each(&record)?;
        self.count(&record.time);
        Ok(())
    }

    /// Counts a record. A text that is not a time is left out: the times are parts of scripts and configuration files.
    fn count(&mut self, time: &str) {
        self.records += 1;
        if humantime::parse_rfc3339(time).is_err() {
            return;
        }
        let (first, last) = &mut self.times;
        if first.is_empty() || time < first.as_str() {
            time.clone_into(first);
        }
        if time > last.as_str() {
            time.clone_into(last);
        }
    }

    /// Counts and names a damaged record.
    pub(super) fn damage(&mut self, place: impl Display) {
        self.name_damaged(place);
        self.damaged += 1;
    }

    /// Names a damaged record.
    pub(super) fn name_damaged(&mut self, place: impl Display) {
        if self.damaged_places.len() < MAX_NAMED {
            self.damaged_places.push(place.to_string());
        }
    }
}

/// Returns whether a line looks like a record. A log on stderr or stdout has other lines too.
pub(super) fn may_be_record(line: &[u8]) -> bool {
    let has = |text: &[u8]| line.windows(text.len()).any(|part| part == text);
    line.starts_with(BEFORE_TIME) || (has(b"\"audit\"") && has(b"\"kind\""))
}

fn is_stdin(log: &Path) -> bool {
    log.as_os_str() == "-"
}

/// Opens a log, and decompresses it if gzip has compressed it. A pipe is read as a file is.
pub(super) fn open(log: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let mut file: Box<dyn BufRead> = if is_stdin(log) {
        Box::new(stdin().lock())
    } else {
        let file = File::open(log)?;
        if file.metadata()?.is_dir() {
            bail!("it is a directory; name the files of the audit log");
        }
        Box::new(BufReader::new(file))
    };
    let start = file.fill_buf()?;
    if start.starts_with(ZSTD) {
        bail!("it is compressed by zstd; pass its text on stdin: zstdcat FILE | ecr-broker ... -");
    }
    let is_gzip = start.starts_with(GZIP);
    Ok(if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { file })
}

/// Reads the next line; `None` at the end. Returns false if it is too long, with its start.
pub(super) fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if file.by_ref().take(MAX_LINE).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let fits = line.ends_with(b"\n") || (line.len() as u64) < MAX_LINE;
    if !fits {
        file.skip_until(b'\n')?;
    }
    Ok(Some(fits))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn read(text: &[u8]) -> anyhow::Result<(Extent, Vec<String>)> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        std::fs::write(&file, text).unwrap();
        let mut callers = Vec::new();
        let extent = Extent::read(&[file], |record| {
            callers.push(record.caller.clone());
            if record.caller == "bad" { Err("has a bad caller") } else { Ok(()) }
        })?;
        Ok((extent, callers))
    }

    fn line(minute: u32, caller: &str) -> String {
        format!("{{\"kind\":\"audit\",\"time\":\"2026-11-30T10:{minute:02}:00.000Z\",\"caller\":\"{caller}\"}}\n")
    }

    #[test]
    fn damaged_records_are_named_by_line_and_other_lines_are_passed_over() {
        let long = format!("{{\"kind\":\"audit\",\"caller\":\"{}\"}}\n", "x".repeat(100_000));
        let torn = "{\"kind\":\"audit\",\"time\":\"2026-11\n";
        let other_lines = "{\"level\":\"INFO\",\"message\":\"\\\"audit\\\" and \\\"kind\\\"\"}\nbroker started\n\n";
        let text =
            [other_lines, &line(5, "b"), torn, &long, &line(3, "a"), &line(4, "bad"), line(9, "c").trim_end()].concat();
        let (extent, callers) = read(text.as_bytes()).unwrap();
        assert_eq!(callers, ["b", "a", "bad", "c"]);
        assert_eq!(extent.in_words(), "3 audit records from 2026-11-30T10:03:00.000Z to 2026-11-30T10:09:00.000Z");
        let places: Vec<_> = extent.damaged_places.iter().map(|place| place.split_once("/log:").unwrap().1).collect();
        assert_eq!(places, ["5: cannot be parsed", "6: longer than any record", "8: has a bad caller"]);
    }

    #[test]
    fn text_that_is_not_a_time_is_not_shown_as_one() {
        let text = r#"{"kind":"audit","time":"2026-11-30T10:00:00Z\n[[grants]]\n","caller":"a"}"#.to_owned() + "\n";
        let (extent, callers) = read(text.as_bytes()).unwrap();
        assert_eq!((extent.in_words().as_str(), callers.len()), ("1 audit record without a time", 1));
        let (extent, _) = read((text + &line(5, "b")).as_bytes()).unwrap();
        assert_eq!(extent.in_words(), "2 audit records from 2026-11-30T10:05:00.000Z to 2026-11-30T10:05:00.000Z");
    }

    #[test]
    fn damaged_records_beyond_the_first_are_counted() {
        let (extent, _) = read("{\"kind\":\"audit\"\n".repeat(1_000).as_bytes()).unwrap();
        assert_eq!((extent.records, extent.damaged, extent.damaged_places.len()), (0, 1_000, 10));
    }

    #[test]
    fn compressed_logs_are_read_or_refused_with_the_way_to_read_them() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(line(1, "a").as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        // Two members, as of two files that were put together.
        assert_eq!(read(&gzip.repeat(2)).unwrap().1, ["a", "a"]);
        assert!(read(&gzip[..gzip.len() - 4]).is_err(), "a file that is cut short");
        let refused = format!("{:#}", read(&[ZSTD, b"rest"].concat()).unwrap_err());
        assert!(refused.contains("zstdcat FILE"), "{refused}");
    }

    #[test]
    fn endless_file_without_lines_takes_little_memory() {
        let mut file = BufReader::new(io::repeat(b'x').take(64 << 20));
        let mut line = Vec::new();
        assert_eq!(next_line(&mut file, &mut line).unwrap(), Some(false));
        assert!(line.capacity() < 1 << 20, "{}", line.capacity());
        assert_eq!(next_line(&mut file, &mut line).unwrap(), None);
    }
}
