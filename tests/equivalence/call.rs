//! Calls of every shape, and their bytes.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::proofs::{NODE, Token};
use crate::support::host;
use crate::wire::WireRequest;

const SERVICE: &str = "/ecrbroker.v1.RegistryCredentialsService/";
/// A path that the service serves.
pub const WITH_QUERY: &str = "/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials?q";
pub const ALIAS: &str = "images.example";
pub const CI: &str = "ci";
/// The profile that has credentials for each caller.
pub const MINE: &str = "mine";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Host(usize),
    Url(usize),
    Parts(usize),
    OwnAccount,
    Public,
    Alias,
    NotEcr,
    Nothing,
}

/// What a call does otherwise than the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Twist {
    /// `min_validity` in seconds.
    MinValidity(i64),
    Profile(&'static str),
    /// The registry rejected the credential that the client received last.
    RejectsLast,
    Rejects(&'static str),
    UnknownField,
    /// The fields in another order.
    Reordered,
    /// The target twice; the last one counts.
    Twice,
    /// The default value of a field, which encoders leave out.
    Defaults,
    /// A length with more bytes than it needs.
    LongLength,
    /// The frame in several pieces.
    Split(Vec<usize>),
    /// A last piece that is empty.
    LateEnd,
    Gzip,
    Deflate,
    /// The flag of a compressed message, without the header.
    CompressedWithoutHeader,
    Header(&'static str, String),
    /// A bearer token.
    Bearer(Token),
    /// The token of a caller of the client, which is a broker.
    Forwards(Token),
    /// Without the headers that gRPC requires.
    Without(&'static str),
    ManyHeaders(usize),
    Path(&'static str),
    Get,
    TwoMessages,
    /// Fewer bytes than the frame's length tells.
    Truncated,
    /// Bytes that no message has.
    Garbage,
    EmptyBody,
    Batch(Vec<Target>),
    Watch,
    List,
    WhoAmI,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Batch,
    Watch,
    List,
    WhoAmI,
    /// A path that is not of the service, or not quite.
    At(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub target: Target,
    pub twists: Vec<Twist>,
}

impl Call {
    /// Returns the usual call.
    pub fn plain(target: Target) -> Self {
        Self { target, twists: Vec::new() }
    }

    /// Returns the same call without some twists.
    pub fn without(&self, is_left_out: impl Fn(&Twist) -> bool) -> Self {
        let twists = self.twists.iter().filter(|twist| !is_left_out(twist)).cloned().collect();
        Self { target: self.target, twists }
    }

    /// Returns the same call with another time limit.
    pub fn within(&self, time: &str) -> Self {
        let mut call = self.without(|twist| matches!(twist, Twist::Header("grpc-timeout", _)));
        call.twists.push(Twist::Header("grpc-timeout", time.to_owned()));
        call
    }

    /// The request, from a client that received `last` and has tokens.
    pub fn wire(&self, last: Option<&str>, token: impl Fn(Token) -> String) -> WireRequest {
        let has = |wanted: &Twist| self.twists.contains(wanted);
        let message = self.message(last);
        let mut frame = self.framed(message);
        if has(&Twist::TwoMessages) {
            frame.extend(frame.clone());
        }
        if has(&Twist::Truncated) {
            frame.truncate(frame.len().saturating_sub(1));
        }
        WireRequest {
            method: if has(&Twist::Get) { http::Method::GET } else { http::Method::POST },
            path: self.path(),
            headers: self.headers(token),
            pieces: if has(&Twist::EmptyBody) { Vec::new() } else { self.pieces(frame) },
            is_watch: self.method() == Method::Watch,
        }
    }

    /// The method that is called.
    pub fn method(&self) -> Method {
        let of = |twist: &Twist| match twist {
            Twist::Path(path) => Some(Method::At(path)),
            Twist::Batch(_) => Some(Method::Batch),
            Twist::Watch => Some(Method::Watch),
            Twist::List => Some(Method::List),
            Twist::WhoAmI => Some(Method::WhoAmI),
            _ => None,
        };
        self.twists.iter().find_map(of).unwrap_or(Method::Get)
    }

    fn path(&self) -> String {
        let name = match self.method() {
            Method::At(path) => return path.to_owned(),
            Method::Get => "GetRegistryCredentials",
            Method::Batch => "BatchGetRegistryCredentials",
            Method::Watch => "WatchRegistryCredentials",
            Method::List => "ListRegistries",
            Method::WhoAmI => "GetCallerIdentity",
        };
        format!("{SERVICE}{name}")
    }

    fn headers(&self, token: impl Fn(Token) -> String) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", "application/grpc".to_owned()), ("te", "trailers".to_owned())];
        for twist in &self.twists {
            match twist {
                Twist::Header(name, value) => {
                    headers.retain(|(own, _)| own != name);
                    headers.push((name, value.clone()));
                }
                Twist::Bearer(kind) => headers.push(("authorization", format!("Bearer {}", token(*kind)))),
                Twist::Forwards(kind) => headers.push(("x-ecr-broker-caller-token", token(*kind))),
                Twist::Without(name) => headers.retain(|(own, _)| own != name),
                Twist::ManyHeaders(count) => headers.extend((0..*count).map(|number| ("x-odd", number.to_string()))),
                Twist::Gzip => headers.push(("grpc-encoding", "gzip".to_owned())),
                Twist::Deflate => headers.push(("grpc-encoding", "deflate".to_owned())),
                _ => {}
            }
        }
        headers
    }

    fn message(&self, last: Option<&str>) -> Vec<u8> {
        let of_target = |target| Self { target, ..self.clone() }.credential_request(last);
        if self.twists.contains(&Twist::Garbage) {
            return vec![0x0a, 0xff, 0xff, 0x07, 0x80];
        }
        let batched = |twist: &Twist| if let Twist::Batch(more) = twist { Some(more.clone()) } else { None };
        match self.method() {
            Method::Batch => {
                let more = self.twists.iter().find_map(batched).unwrap_or_default();
                std::iter::once(self.target).chain(more).flat_map(|target| field(1, &of_target(target))).collect()
            }
            Method::Watch => field(1, &of_target(self.target)),
            Method::List | Method::WhoAmI => Vec::new(),
            Method::Get | Method::At(_) => of_target(self.target),
        }
    }

    fn credential_request(&self, last: Option<&str>) -> Vec<u8> {
        let target = self.target.field();
        let mut fields = vec![target.clone()];
        for twist in &self.twists {
            match twist {
                Twist::MinValidity(seconds) => {
                    let mut duration = vec![0x08];
                    varint(&mut duration, seconds.cast_unsigned());
                    fields.push(field(5, &duration));
                }
                Twist::Profile(profile) => fields.push(field(4, profile.as_bytes())),
                Twist::RejectsLast => fields.extend(last.map(|id| field(6, id.as_bytes()))),
                Twist::Rejects(id) => fields.push(field(6, id.as_bytes())),
                Twist::UnknownField => fields.push(field(99, b"more")),
                Twist::Twice => fields.insert(0, Target::Host(9).field()),
                Twist::Defaults => fields.extend([field(4, b""), field(5, &[]), field(6, b"")]),
                Twist::LongLength => lengthen(&mut fields[0]),
                _ => {}
            }
        }
        if self.twists.contains(&Twist::Reordered) {
            fields.reverse();
        }
        fields.concat()
    }

    fn framed(&self, message: Vec<u8>) -> Vec<u8> {
        let has = |wanted: &Twist| self.twists.contains(wanted);
        let is_compressed = has(&Twist::Gzip) || has(&Twist::Deflate) || has(&Twist::CompressedWithoutHeader);
        let message = if has(&Twist::Gzip) {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(&message).unwrap();
            gzip.finish().unwrap()
        } else if has(&Twist::Deflate) {
            let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
            deflate.write_all(&message).unwrap();
            deflate.finish().unwrap()
        } else {
            message
        };
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[u8::from(is_compressed)], length.as_slice(), &message].concat()
    }

    fn pieces(&self, frame: Vec<u8>) -> Vec<Bytes> {
        let mut rest = Bytes::from(frame);
        let mut pieces = Vec::new();
        for twist in &self.twists {
            if let Twist::Split(cuts) = twist {
                for cut in cuts {
                    pieces.push(rest.split_to((*cut).min(rest.len())));
                }
            }
        }
        pieces.push(rest);
        pieces.extend(self.twists.contains(&Twist::LateEnd).then(Bytes::new));
        pieces
    }
}

impl Target {
    /// The same for all targets of one registry.
    pub fn registry(self) -> Self {
        match self {
            Self::Url(number) | Self::Parts(number) => Self::Host(number),
            Self::Alias => Self::Host(0),
            other => other,
        }
    }

    fn field(self) -> Vec<u8> {
        match self {
            Self::Host(number) => field(1, host(number).as_bytes()),
            Self::Url(number) => field(1, format!("https://{}/team/app:1", host(number)).as_bytes()),
            Self::Parts(number) => field(2, &field(1, format!("{number:012}").as_bytes())),
            Self::OwnAccount => field(2, &[]),
            Self::Public => field(3, &[]),
            Self::Alias => field(1, ALIAS.as_bytes()),
            Self::NotEcr => field(1, b"ghcr.io/team/app"),
            Self::Nothing => Vec::new(),
        }
    }
}

/// Encodes a field whose value has a length.
fn field(number: u64, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(&mut bytes, number << 3 | 2);
    varint(&mut bytes, value.len() as u64);
    bytes.extend_from_slice(value);
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        bytes.push(u8::try_from(value & 127).unwrap() | 128);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// Writes the length of a short field as two bytes.
fn lengthen(field: &mut Vec<u8>) {
    if field.get(1).is_some_and(|length| *length < 128) {
        field[1] |= 128;
        field.insert(2, 0);
    }
}

pub fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        8 => (0_usize..3).prop_map(Target::Host),
        1 => (0_usize..3).prop_map(Target::Url),
        1 => (0_usize..3).prop_map(Target::Parts),
        1 => select(vec![Target::OwnAccount, Target::Public, Target::Alias, Target::NotEcr, Target::Nothing]),
    ]
}

pub fn twist() -> impl Strategy<Value = Twist> {
    prop_oneof![
        4 => of_message(),
        3 => header().prop_map(|(name, value)| Twist::Header(name, value)),
        2 => proof(),
        2 => vec(0_usize..60, 1..3).prop_map(Twist::Split),
        2 => select(vec![
            Twist::LateEnd, Twist::Gzip, Twist::Deflate, Twist::CompressedWithoutHeader, Twist::Get, Twist::TwoMessages,
            Twist::Truncated, Twist::Garbage, Twist::EmptyBody, Twist::Without("te"), Twist::Without("content-type"),
            Twist::ManyHeaders(20), Twist::ManyHeaders(63), Twist::ManyHeaders(70),
            Twist::Path(WITH_QUERY),
            Twist::Path("/ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials/"),
            Twist::Path("/ecrbroker.v1.RegistryCredentialsService/getRegistryCredentials"),
            Twist::Path("/grpc.health.v1.Health/Check"),
        ]),
        2 => prop_oneof![
            vec(target(), 0..3).prop_map(Twist::Batch),
            select(vec![Twist::Watch, Twist::List, Twist::WhoAmI]),
        ],
    ]
}

fn of_message() -> impl Strategy<Value = Twist> {
    let all = [
        Twist::MinValidity(0),
        Twist::MinValidity(3_000),
        Twist::MinValidity(30_000),
        Twist::MinValidity(-1),
        Twist::Profile("default"),
        Twist::Profile(CI),
        Twist::Profile(MINE),
        Twist::Profile("unknown"),
        Twist::RejectsLast,
        Twist::RejectsLast,
        Twist::Rejects("00000000000000000000000000000000"),
        Twist::Rejects("x"),
        Twist::UnknownField,
        Twist::Reordered,
        Twist::Twice,
        Twist::Defaults,
        Twist::LongLength,
    ];
    select(all.to_vec())
}

/// Proofs beside that of the connection.
pub fn proof() -> impl Strategy<Value = Twist> {
    let asserted = |name: &str| Twist::Header("x-ecr-broker-caller-asserted", name.to_owned());
    let all = [
        Twist::Bearer(Token::Valid),
        Twist::Bearer(Token::Valid),
        Twist::Bearer(Token::Old),
        Twist::Bearer(Token::Expired),
        Twist::Bearer(Token::Other),
        Twist::Bearer(Token::Runner),
        Twist::Bearer(Token::Forged),
        Twist::Forwards(Token::Job),
        Twist::Forwards(Token::Job),
        Twist::Forwards(Token::Valid),
        Twist::Forwards(Token::Expired),
        asserted("uid:1001,gid:1001"),
        asserted("uid:1002,gid:1001"),
        asserted(NODE),
    ];
    select(all.to_vec())
}

fn header() -> impl Strategy<Value = (&'static str, String)> {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let all = [
        ("content-type", "application/grpc+proto"),
        ("content-type", "application/grpc;charset=utf-8"),
        ("content-type", "application/grpc-web"),
        ("content-type", "application/json"),
        ("content-type", ""),
        ("te", "gzip"),
        ("user-agent", "grpc-go/1.80.0"),
        ("grpc-accept-encoding", "identity,deflate,gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("grpc-encoding", "identity"),
        ("grpc-encoding", "gzip"),
        ("grpc-encoding", "snappy"),
        ("grpc-timeout", "30S"),
        ("grpc-timeout", "1H"),
        ("grpc-timeout", "99999999999S"),
        ("grpc-timeout", "soon"),
        ("grpc-timeout", ""),
        ("authorization", "Bearer e30.e30.x"),
        ("authorization", "Basic QVdTOng="),
        ("traceparent", trace),
        ("traceparent", "00-0"),
        ("tracestate", "a=b"),
        ("baggage", "a=b"),
        ("x-ecr-broker-hops", "1"),
        ("x-ecr-broker-hops", "99"),
        ("x-ecr-broker-hops", "no"),
        ("x-ecr-broker-caller", "uid:1"),
        ("x-ecr-broker-other", "x"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-request-id", "of the client"),
        ("grpc-previous-rpc-attempts", "1"),
        ("expect", "100-continue"),
        ("cookie", "a=b"),
    ];
    select(all.to_vec()).prop_map(|(name, value)| (name, value.to_owned()))
}

/// Most calls are alike: only a call that was made before can be a hit.
pub fn call() -> impl Strategy<Value = Call> {
    let twists = prop_oneof![6 => Just(Vec::new()), 3 => vec(twist(), 1), 1 => vec(twist(), 2..4)];
    (target(), twists).prop_map(|(target, twists)| Call { target, twists })
}
