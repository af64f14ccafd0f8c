//! HTTP/2 by hand: a client that sends what no library would.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "each test file uses a part"
)]

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;

pub const ACK: u8 = 0x1;
pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const GET: &str = "/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials";
pub const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
pub const WHOAMI: &str = "/ecrbroker.v1.RegistryCredentialsService/GetCallerIdentity";
pub const BATCH: &str = "/ecrbroker.v1.RegistryCredentialsService/BatchGetRegistryCredentials";

/// Streams that a connection may have at once.
pub const STREAMS: u32 = 100;
/// Longest wait for the broker to close a connection.
const LONGEST: Duration = Duration::from_secs(30);

/// A frame of the broker.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection to the broker, over TCP unless another stream is given.
pub struct Raw<S = TcpStream> {
    pub stream: S,
    began: Instant,
    frames: u64,
}

/// The end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Time since the connection was made, or since [`Raw::until_response`].
    pub after: Duration,
    /// Frames sent until then.
    pub frames: u64,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes a header block of literals that are not indexed.
/// Returns the numbers of the streams that a connection may have at once.
pub fn streams() -> impl Iterator<Item = u32> {
    (0..STREAMS).map(|number| 2 * number + 1)
}

pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [number(text.len()), text.as_bytes().to_vec()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// Encodes an integer with a prefix of seven bits.
fn number(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![u8::try_from(value).unwrap()];
    }
    value -= 127;
    let mut bytes = vec![127];
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// Encodes the headers of a gRPC call.
pub fn call(path: &str) -> Vec<u8> {
    block(&call_fields(path))
}

/// Returns the headers of a gRPC call.
pub fn call_fields(path: &str) -> [(&str, &str); 6] {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "broker"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
}

/// Encodes a message with gRPC's length prefix.
pub fn message(message: &impl prost::Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &bytes].concat()
}

impl Raw {
    /// Connects and sends nothing.
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, began: Instant::now(), frames: 0 }
    }

    /// Exchanges preface and SETTINGS as every client does.
    pub async fn open(address: &str, settings: &[u8]) -> Self {
        let mut raw = Self::connect(address).await;
        raw.start(settings).await.unwrap();
        raw
    }

    /// Sends at most `most` frames until the connection ends, and reads only what has already arrived.
    pub async fn flood(&mut self, most: usize, mut bytes: impl FnMut(usize) -> Vec<u8>) -> Option<Cut> {
        const AT_ONCE: usize = 50;
        for number in (0..most).step_by(AT_ONCE) {
            self.frames += 50;
            let some: Vec<_> = (number..number + AT_ONCE).flat_map(&mut bytes).collect();
            if self.write(&some).await.is_err() {
                return Some(self.cut());
            }
            let mut read = [0; 4096];
            while let Ok(1..) = self.stream.try_read(&mut read) {}
        }
        let end = async {
            let mut read = [0; 4096];
            while self.stream.read(&mut read).await.is_ok_and(|read| read > 0) {}
        };
        timeout(Duration::from_secs(2), end).await.is_ok().then(|| self.cut())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Exchanges preface and SETTINGS over a stream.
    pub async fn open_over(stream: S, settings: &[u8]) -> Self {
        Self::try_open_over(stream, settings).await.unwrap()
    }

    /// Does the same; fails if the broker closes the connection.
    pub async fn try_open_over(stream: S, settings: &[u8]) -> io::Result<Self> {
        let mut raw = Self { stream, began: Instant::now(), frames: 0 };
        raw.start(settings).await?;
        Ok(raw)
    }

    async fn start(&mut self, settings: &[u8]) -> io::Result<()> {
        self.write(PREFACE).await?;
        self.send(SETTINGS, 0, 0, settings).await?;
        let first = self.read().await?;
        assert_eq!((first.kind, first.flags), (SETTINGS, 0));
        self.send(SETTINGS, ACK, 0, &[]).await
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.frames += 1;
        self.write(&frame(kind, flags, stream, payload)).await
    }

    pub async fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// Reads a frame and acknowledges a PING, as every client does.
    pub async fn read_and_answer(&mut self) -> io::Result<Frame> {
        let frame = self.read().await?;
        if frame.kind == PING && frame.flags & ACK == 0 {
            self.send(PING, ACK, 0, &frame.payload).await?;
        }
        Ok(frame)
    }

    /// Reads up to the headers of the first response. From then on the broker waits for a peer that takes no more.
    pub async fn until_response(&mut self) {
        while self.read_and_answer().await.unwrap().kind != HEADERS {}
        self.began = Instant::now();
    }

    /// Reads to the end of the connection, and with `acknowledge` acknowledges each PING; returns the frames.
    pub async fn until_cut(&mut self, acknowledge: bool) -> (Cut, Vec<Frame>) {
        let mut seen = Vec::new();
        let all = async {
            while let Ok(frame) = self.read().await {
                if acknowledge && frame.kind == PING && frame.flags & ACK == 0 {
                    _ = self.send(PING, ACK, 0, &frame.payload).await;
                }
                seen.push(frame);
            }
        };
        timeout(LONGEST, all).await.expect("the broker closes the connection");
        (self.cut(), seen)
    }

    /// Writes a byte a second until the connection ends.
    pub async fn spell(&mut self, bytes: &[u8]) -> Cut {
        for byte in bytes {
            if self.write(&[*byte]).await.is_err() {
                break;
            }
            let pause = sleep(Duration::from_secs(1));
            tokio::pin!(pause);
            let mut read = [0; 4096];
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    some = self.stream.read(&mut read) => if !some.is_ok_and(|read| read > 0) {
                        return self.cut();
                    },
                }
            }
        }
        self.cut()
    }

    pub fn cut(&self) -> Cut {
        Cut { after: self.began.elapsed(), frames: self.frames }
    }
}
