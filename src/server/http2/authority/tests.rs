use super::super::frames::{FrameParser, FrameVisitor};
use super::*;

const PREFACE: usize = 24;

impl FrameVisitor for AuthorityRewriter {
    fn header(&mut self, header: FrameHeader) {
        AuthorityRewriter::header(self, header);
    }

    fn payload(&mut self, bytes: &mut [u8]) {
        AuthorityRewriter::payload(self, bytes);
    }

    fn end(&mut self) {}
}

/// Encodes a frame.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

/// Encodes a literal whose name is an index.
fn literal(first: u8, value: &[u8]) -> Vec<u8> {
    assert!(value.len() < 127);
    [&[first, u8::try_from(value.len()).unwrap()], value].concat()
}

fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(0x4, 0, &[]), &frames.concat()].concat()
}

/// Rewrites the bytes as they arrive in pieces.
fn rewritten(bytes: &[u8], piece: usize) -> Vec<u8> {
    let (mut parser, mut rewriter) = (FrameParser::default(), AuthorityRewriter::default());
    let mut bytes = bytes.to_vec();
    let frames = bytes.get_mut(PREFACE..).unwrap_or_default();
    frames.chunks_mut(piece).for_each(|piece| parser.parse(piece, &mut rewriter));
    bytes
}

const PATH: &[u8] = b"%2Frun%2Fb.sock";
const REWRITTEN: &[u8] = b"-2Frun-2Fb.sock";

#[test]
fn only_the_authority_is_rewritten_in_pieces_of_any_size() {
    let named = |name: &[u8]| [literal(0x40, name), literal(0, b"%2F").split_off(1)].concat();
    let other = [literal(0x44, b"/a%2Fb"), named(b"x"), named(b":authorit"), named(b":authority2")].concat();
    let literal_name = |first, name: &[u8]| [vec![first, u8::try_from(name.len()).unwrap()], name.to_vec()].concat();
    for (name, head) in [
        ("indexed", vec![0x41]),
        ("not indexed", vec![0x01]),
        ("never indexed", vec![0x11]),
        ("literal name, indexed", literal_name(0x40, b":authority")),
        ("literal name, not indexed", literal_name(0x00, b":authority")),
    ] {
        let authority_field = |value: &[u8]| [&head[..head.len() - 1], &literal(head[head.len() - 1], value)].concat();
        let block = |authority: &[u8]| [vec![0x83, 0x86], authority_field(authority), other.clone()].concat();
        let padded = |authority: &[u8]| [vec![3], block(authority), vec![b'%'; 3]].concat();
        let prioritised = |authority: &[u8]| [vec![b'%'; 5], block(authority)].concat();
        let both = |authority: &[u8]| [vec![2], vec![b'%'; 5], block(authority), vec![b'%'; 2]].concat();
        let split = |authority: &[u8]| {
            let block = block(authority);
            let (head, tail) = block.split_at(7);
            [frame(0x1, 0, head), frame(0x9, 0x4, tail)].concat()
        };
        let all = |authority: &[u8]| {
            connection(&[
                frame(0x1, 0x4, &block(authority)),
                frame(0x0, 0x1, b"%data%"),
                frame(0x1, 0x4 | PADDED, &padded(authority)),
                frame(0x8, 0, &[b'%'; 4]),
                frame(0x1, 0x4 | PRIORITY, &prioritised(authority)),
                frame(0x1, 0x4 | PADDED | PRIORITY, &both(authority)),
                split(authority),
                frame(0x1, 0x4, &block(authority)),
            ])
        };
        for piece in [1, 2, 3, 7, 10_000] {
            assert_eq!(rewritten(&all(PATH), piece), all(REWRITTEN), "{name} in pieces of {piece}");
        }
    }
}

#[test]
fn authority_that_is_a_path_has_no_slash_left_and_no_other_has_one_less() {
    let headers = |path: &[u8]| {
        let other = [literal(0x44, b"/a/b"), literal(0x41, b"a/b"), literal(0x41, b"")].concat();
        connection(&[frame(0x1, 0x4, &[literal(0x41, path), other].concat())])
    };
    for piece in [1, 2, 7, 10_000] {
        let found = rewritten(&headers(b"/run/b%.sock"), piece);
        assert_eq!(found, headers(b"-run-b-.sock"), "pieces of {piece}");
    }
}

/// A block of fields with and without `%`, some of them `:authority`.
fn random_block(random: &mut fastrand::Rng) -> Vec<u8> {
    let value = |random: &mut fastrand::Rng| {
        let text = random.choice([
            &b"a"[..],
            b"",
            b"%",
            b"/",
            b"/run/b",
            b"a/b",
            b"abc%2Fdef",
            b"localhost",
            &[b'x'; 37],
            PATH,
        ]);
        let text = text.unwrap();
        let coded = if random.u8(..4) == 0 { 0x80 } else { 0 };
        [&[coded | u8::try_from(text.len()).unwrap()], text].concat()
    };
    let field = |random: &mut fastrand::Rng| match random.u8(..7) {
        0 => vec![0x80 | random.u8(1..0x7f)],
        1 => vec![0x20 | random.u8(..0x1f)],
        2 => vec![0x7f, 0x80 | random.u8(..), random.u8(..0x80), 0x01, b'%'],
        3 => [vec![0x40], literal(0, b":authority").split_off(1), value(random)].concat(),
        4 => [vec![0x44], value(random)].concat(),
        _ => [vec![random.choice([0x41, 0x01, 0x11]).unwrap()], value(random)].concat(),
    };
    (0..random.usize(..5)).flat_map(|_| field(random)).collect()
}

/// Sends a block in one frame, padded or not, or in several.
fn random_frames(block: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    match random.u8(..4) {
        0 => {
            let (head, tail) = block.split_at(random.usize(..=block.len()));
            let (middle, tail) = tail.split_at(random.usize(..=tail.len()));
            [frame(0x1, 0, head), frame(0x9, 0, middle), frame(0x9, END_HEADERS, tail)].concat()
        }
        1 => frame(0x1, END_HEADERS | PADDED, &[vec![2], block.to_vec(), vec![b'%'; 2]].concat()),
        2 => frame(0x1, END_HEADERS | PRIORITY, &[vec![b'%'; 5], block.to_vec()].concat()),
        _ => frame(0x1, END_HEADERS, block),
    }
}

/// In pieces of one byte every block is parsed, but for one of a single byte.
#[test]
fn block_that_is_not_parsed_makes_no_difference() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let blocks: Vec<_> = (0..4).map(|_| random_block(&mut random)).collect();
        let frames: Vec<_> = blocks.iter().map(|block| random_frames(block, &mut random)).collect();
        let bytes = connection(&frames);
        let expected = rewritten(&bytes, 1);
        for piece in [2, 5, random.usize(1..60), bytes.len()] {
            assert_eq!(rewritten(&bytes, piece), expected, "seed {seed}, pieces of {piece}");
        }
    }
}

#[test]
fn authority_is_rewritten_after_a_fragment_without_percent() {
    let fragments = |value: &[u8]| {
        let block = literal(0x41, value);
        let (head, tail) = block.split_at(5);
        connection(&[frame(0x1, 0x4, &[0x82]), frame(0x1, 0, head), frame(0x9, 0x4, tail), frame(0x1, 0x4, &block)])
    };
    for piece in [1, 4, 1000] {
        assert_eq!(rewritten(&fragments(b"abc%2Fx"), piece), fragments(b"abc-2Fx"), "pieces of {piece}");
    }
}

#[test]
fn huffman_coded_authority_passes_unchanged() {
    let block = [vec![0x41, 0x80 | 3], b"%%%".to_vec()].concat();
    let bytes = connection(&[frame(0x1, 0x4, &block)]);
    assert_eq!(rewritten(&bytes, 5), bytes);
}

#[test]
fn long_strings_and_integers_are_parsed() {
    let long = [b"%".repeat(50), b"a".repeat(300)].concat();
    let length = long.len() - 127;
    let head = [0x41, 0x7f, u8::try_from(length & 0x7f).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()];
    let block = [head.as_slice(), &long, &[0x3f, 0xe1, 0x1f], &literal(0x41, b"%")].concat();
    let rewritten = rewritten(&connection(&[frame(0x1, 0x4, &block)]), 11);
    assert!(!rewritten.ends_with(b"%") && rewritten.ends_with(b"-"));
    assert!(!rewritten.contains(&b'%'));
}

#[test]
fn bytes_that_are_not_http2_pass_unharmed() {
    for seed in 0..2000_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let length = random.usize(0..400);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        let bytes = if seed % 2 == 0 { noise } else { connection(&[frame(0x1, random.u8(..), &noise), noise.clone()]) };
        let rewritten = rewritten(&bytes, random.usize(1..50));
        assert_eq!(rewritten.len(), bytes.len());
        let changed = rewritten.iter().zip(&bytes).filter(|(after, before)| after != before);
        assert!(changed.into_iter().all(|(after, before)| *after == b'-' && b"%/".contains(before)));
    }
}
