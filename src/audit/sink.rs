//! Whole lines on an output: a line that was cut short ends before the next one begins.

use std::io;

use super::output::Output;
use super::target::{self, Target};

/// Memory that is kept for the text of the next write.
const KEPT_TEXT: usize = 64 * 1024;

/// An open output, and where it ends.
#[derive(Debug)]
pub(super) struct Sink {
    target: Box<dyn Target>,
    /// Whether the output ends in the middle of a line: of an earlier write, or of an earlier process.
    torn: bool,
    /// The text of the last write.
    text: Vec<u8>,
    /// Whole lines of the last write that are in the output.
    whole_lines: usize,
}

impl Sink {
    pub(super) fn open(output: &Output) -> io::Result<Self> {
        let (target, torn) = target::open(output)?;
        Ok(Self { target, torn, text: Vec::new(), whole_lines: 0 })
    }

    /// Returns a sink on an empty output.
    #[cfg(test)]
    pub(super) fn on(target: Box<dyn Target>) -> Self {
        Self { target, torn: false, text: Vec::new(), whole_lines: 0 }
    }

    /// Opens a new file after a rotation.
    pub(super) fn follow(&mut self) -> io::Result<()> {
        if let Some(torn) = self.target.follow()? {
            self.torn = torn;
        }
        Ok(())
    }

    /// Writes whole lines, in one call if the system allows it.
    pub(super) fn write<'a>(&mut self, lines: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        self.text.clear();
        self.text.shrink_to(KEPT_TEXT);
        self.text.extend(self.torn.then_some(b'\n'));
        lines.for_each(|line| self.text.extend_from_slice(line));
        let (mut written, first) = (0, usize::from(self.torn));
        let result = self.target.with_writer(&mut |target| write_counted(target, &self.text, &mut written));
        if written > 0 {
            self.torn = self.text[written - 1] != b'\n';
        }
        let lines = self.text[..written].get(first..).unwrap_or_default();
        self.whole_lines = if result.is_ok() {
            0
        } else {
            lines.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count()
        };
        result
    }

    /// Forgets what the last write left in the output.
    pub(super) fn forget_last_write(&mut self) {
        self.whole_lines = 0;
    }

    /// Returns how many lines are in the output in spite of the last write's failure.
    pub(super) fn whole_lines(&self) -> usize {
        self.whole_lines
    }

    /// Returns whether the output is a regular file, which is never blocked by a reader.
    pub(super) fn is_regular_file(&self) -> bool {
        self.target.is_regular_file()
    }

    /// Returns the free bytes of the output's filesystem, if it is a file.
    pub(super) fn free(&self) -> Option<u64> {
        self.target.free()
    }
}

/// Writes a text; `written` counts the bytes, also if the write fails.
fn write_counted(target: &mut dyn io::Write, text: &[u8], written: &mut usize) -> io::Result<()> {
    while *written < text.len() {
        match target.write(&text[*written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(more) => *written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    target.flush()
}

#[cfg(test)]
mod tests;
