//! Gate: lets only answers of the expected shapes through to the parser.
//!
//! The broker asks for numbers, texts, values and lists of up to three of them. The parser of the `redis` crate takes anything of the
//! protocol, of any length: 100 nested lists, and as many items as the server sends. A server that was taken over could fill the
//! broker's memory so. Behind the gate at most one answer of bounded length waits, and none that was not asked for.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::source::shared_cache::tier::MAX_VALUE_BYTES;

/// Longest line: a number, or a text of an error.
const MAX_LINE: usize = 1_024;
/// Most items of a list.
const MAX_ITEMS: u64 = 3;

/// A connection behind its gate.
#[derive(Debug)]
pub(super) struct Gate<S> {
    stream: S,
    shape: Shape,
    counts: Arc<Counts>,
    answers: u64,
}

/// The number of commands that were sent, which bounds that of the answers; and whether the gate refused an answer.
#[derive(Debug, Default)]
pub(super) struct Counts {
    asked: AtomicU64,
    refused: AtomicBool,
}

/// The position in the present answer.
#[derive(Debug, Default)]
struct Shape {
    /// Items of a list that are missing.
    items: u64,
    part: Part,
}

#[derive(Debug, Default)]
enum Part {
    /// The first byte of an answer or an item.
    #[default]
    Start,
    Line {
        kind: u8,
        length: usize,
        number: Number,
        ends: bool,
    },
    /// A value and its line end.
    Value {
        left: usize,
    },
}

/// The number in a line, while it is read.
#[derive(Debug, Default)]
enum Number {
    #[default]
    None,
    Of(u64),
    /// `-1`, and only that, is the length of nothing.
    Minus,
    MinusOne,
    Invalid,
}

/// What is not an answer to a question of the broker.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unexpected;

impl Counts {
    /// Notes that a command is sent.
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns whether the server sent something else than answers.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }
}

impl<S> Gate<S> {
    pub(super) fn new(stream: S, counts: Arc<Counts>) -> Self {
        Self { stream, shape: Shape::default(), counts, answers: 0 }
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        let checked = self.shape.read(bytes, &mut self.answers);
        if checked.is_ok() && self.answers <= self.counts.asked.load(Ordering::Acquire) {
            return Ok(());
        }
        self.counts.refused.store(true, Ordering::Release);
        Err(io::Error::new(ErrorKind::InvalidData, "unexpected answer"))
    }
}

impl Shape {
    /// Reads the next bytes and counts the answers that begin in them.
    fn read(&mut self, bytes: &[u8], answers: &mut u64) -> Result<(), Unexpected> {
        let mut rest = bytes;
        while let Some((&byte, others)) = rest.split_first() {
            rest = others;
            match &mut self.part {
                Part::Start => {
                    if self.items == 0 {
                        *answers += 1;
                    }
                    let is_expected = b"+-:$".contains(&byte) || (byte == b'*' && self.items == 0);
                    if !is_expected {
                        return Err(Unexpected);
                    }
                    self.part = Part::Line { kind: byte, length: 0, number: Number::None, ends: false };
                }
                Part::Line { kind, number, ends: true, .. } if byte == b'\n' => {
                    let (kind, number) = (*kind, std::mem::take(number));
                    self.end_line(kind, &number)?;
                }
                Part::Line { length, number, ends, .. } => {
                    *length += 1;
                    if *length > MAX_LINE {
                        return Err(Unexpected);
                    }
                    *ends = byte == b'\r';
                    if !*ends {
                        number.push(byte);
                    }
                }
                Part::Value { left } => {
                    let skipped = rest.len().min(*left - 1);
                    rest = &rest[skipped..];
                    *left -= skipped + 1;
                    if *left == 0 {
                        self.end_item();
                    }
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, kind: u8, number: &Number) -> Result<(), Unexpected> {
        match (kind, number) {
            (b'$', Number::Of(length)) => {
                let length = usize::try_from(*length).ok().filter(|length| *length <= MAX_VALUE_BYTES);
                self.part = Part::Value { left: length.ok_or(Unexpected)? + 2 };
            }
            (b'*', Number::Of(items)) if (1..=MAX_ITEMS).contains(items) => {
                (self.items, self.part) = (*items, Part::Start);
            }
            (b'$' | b'*', Number::MinusOne) => self.end_item(),
            (b'$' | b'*', _) => return Err(Unexpected),
            _ => self.end_item(),
        }
        Ok(())
    }

    fn end_item(&mut self) {
        (self.items, self.part) = (self.items.saturating_sub(1), Part::Start);
    }
}

impl Number {
    fn push(&mut self, byte: u8) {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        *self = match (&*self, digit) {
            (Self::None, Some(digit)) => Self::Of(digit),
            (Self::Of(number), Some(digit)) if *number < 1 << 32 => Self::Of(number * 10 + digit),
            (Self::None, None) if byte == b'-' => Self::Minus,
            (Self::Minus, Some(1)) => Self::MinusOne,
            _ => Self::Invalid,
        };
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let checked = self.check(&buffer.filled()[filled..]);
        if checked.is_err() {
            buffer.set_filled(filled);
        }
        Poll::Ready(checked)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Reads bytes in pieces of each length; returns the number of answers.
    fn read(bytes: &[u8]) -> Result<u64, Unexpected> {
        let of_pieces = |length: usize| {
            let (mut shape, mut answers) = (Shape::default(), 0);
            bytes.chunks(length).try_for_each(|piece| shape.read(piece, &mut answers)).map(|()| answers)
        };
        let whole = of_pieces(bytes.len().max(1));
        for length in 1..bytes.len().min(64) {
            assert_eq!(of_pieces(length), whole, "{length}");
        }
        whole
    }

    #[test]
    fn answers_of_every_expected_shape_pass() {
        for (text, answers) in [
            ("+OK\r\n", 1),
            ("-NOSCRIPT No matching script.\r\n:1\r\n:-1\r\n", 3),
            ("$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n", 3),
            ("*1\r\n$1\r\nL\r\n", 1),
            ("*3\r\n$1\r\nV\r\n$5\r\n*9\r\n\n\r\n:2500\r\n*-1\r\n+x\ny\r\r\n", 3),
            ("*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n", 1),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(answers), "{text}");
        }
        let longest = format!("${MAX_VALUE_BYTES}\r\n{}\r\n", "x".repeat(MAX_VALUE_BYTES));
        assert_eq!(read(longest.as_bytes()), Ok(1));
    }

    #[test]
    fn other_shapes_are_refused_before_they_cost_memory() {
        for text in [
            "*4\r\n",
            "*0\r\n",
            "*1\r\n*1\r\n",
            "*99999999999999999999\r\n",
            "$131073\r\n",
            "$99999999999999999999999\r\n",
            "$-2\r\n",
            "$+1\r\n",
            "$1x\r\n",
            "$\r\n",
            "%1\r\n",
            "~1\r\n",
            ">1\r\n",
            "_\r\n",
            "HTTP/1.1 400\r\n",
            "\r\n",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Unexpected), "{text}");
        }
        assert_eq!(read(format!("+{}", "x".repeat(MAX_LINE + 1)).as_bytes()), Err(Unexpected));
    }

    #[tokio::test]
    async fn answer_without_a_question_is_refused() {
        let counts = Arc::new(Counts::default());
        counts.ask();
        let mut gate = Gate::new(&b"+OK\r\n"[..], Arc::clone(&counts));
        let mut text = Vec::new();
        gate.read_to_end(&mut text).await.expect("one answer");
        assert_eq!((text.as_slice(), counts.has_refused()), (&b"+OK\r\n"[..], false));
        gate.stream = b"+OK\r\n";
        assert_eq!(gate.read_to_end(&mut text).await.unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(counts.has_refused());
    }
}
