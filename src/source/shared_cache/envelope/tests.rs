use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;
use crate::seal::TAG_BYTES;

const ENTRY: EntryKey<'_> = EntryKey {
    service: "ecr",
    partition: "aws",
    account: "123456789012",
    region: "eu-central-1",
    endpoint: "fips",
    identity: "arn:aws:iam::123456789012:role/pull",
    session_policy: "{}",
    attribution: "uid:1001",
};
const VALUE: &[u8] = b"AWS:a-password-that-is-secret";
const NONCE_AT: usize = HEADER_BYTES;
const VALUE_AT: usize = HEADER_BYTES + NONCE_BYTES;

/// Returns the envelopes of a broker whose keys file has these seal keys, the first of which seals.
fn broker(seals: &[u8]) -> Envelopes {
    with_names(9, seals)
}

fn with_names(names: u8, seals: &[u8]) -> Envelopes {
    let line = |word, byte| format!("{word} {}\n", BASE64.encode(&[byte; 32]));
    let seals: String = seals.iter().map(|byte| line("seal", *byte)).collect();
    Envelopes::new(&Keys::parse((line("names", names) + &seals).as_bytes()).expect("keys")).expect("envelopes")
}

fn sealed(broker: &Envelopes, value: &[u8]) -> Vec<u8> {
    broker.seal(&ENTRY, Zeroizing::new(value.to_vec())).expect("an envelope")
}

fn opens(broker: &Envelopes, envelope: &[u8]) -> bool {
    broker.open(&ENTRY, envelope).is_ok_and(|value| value.as_slice() == VALUE)
}

/// Seals the value under any header, as another version of the broker could.
fn sealed_under(header: [u8; HEADER_BYTES], by: &Envelopes) -> Vec<u8> {
    let sealed = by.sealing.key.seal(&context(header, &ENTRY), Zeroizing::new(VALUE.to_vec())).expect("a value");
    [&header[..], &sealed.nonce, &sealed.ciphertext].concat()
}

#[test]
fn envelope_has_the_layout_of_the_protocol_and_opens() {
    let broker = broker(&[1]);
    let (envelope, again) = (sealed(&broker, VALUE), sealed(&broker, VALUE));
    assert_eq!(envelope[..NONCE_AT], *b"EB1\x01\x72\xcd\x6e\x84", "version, algorithm, start of the key's SHA-256");
    assert_eq!(envelope.len(), VALUE_AT + VALUE.len() + TAG_BYTES);
    assert_ne!(envelope[NONCE_AT..VALUE_AT], again[NONCE_AT..VALUE_AT], "each value has its own nonce");
    assert!(opens(&broker, &envelope) && opens(&broker, &again) && opens(&self::broker(&[1]), &envelope));
    assert!(!envelope.windows(8).any(|part| VALUE.windows(8).any(|secret| secret == part)));
    assert_eq!(format!("{broker:?}").matches("SealingKey(…)").count(), 1);
}

#[test]
fn changed_shortened_or_longer_envelope_never_opens() {
    let value = proptest::collection::vec(any::<u8>(), 0..200);
    let broker = broker(&[1, 2]);
    proptest!(|(value in value, at in any::<usize>(), more in proptest::collection::vec(any::<u8>(), 1..40))| {
        let envelope = sealed(&broker, &value);
        prop_assert!(broker.open(&ENTRY, &envelope[..at % envelope.len()]).is_err());
        prop_assert!(broker.open(&ENTRY, &[&envelope[..], &more].concat()).is_err());
        prop_assert!(broker.open(&ENTRY, &[&more[..], &envelope].concat()).is_err());
        prop_assert!(broker.open(&ENTRY, &more).is_err());
        prop_assert_eq!(broker.open(&ENTRY, &envelope).expect("the value").to_vec(), value);
    });
}

#[test]
fn no_bit_of_an_envelope_can_change() {
    let broker = broker(&[1, 2]);
    let envelope = sealed(&broker, VALUE);
    for at in 0..envelope.len() {
        for bit in 0..8 {
            let mut changed = envelope.clone();
            changed[at] ^= 1 << bit;
            let error = broker.open(&ENTRY, &changed).expect_err("changed");
            let expected = match at {
                0..4 => matches!(error, EnvelopeError::UnknownFormat),
                4..HEADER_BYTES => matches!(error, EnvelopeError::UnknownKey(_)),
                _ => matches!(error, EnvelopeError::Changed(_)),
            };
            assert!(expected, "byte {at}, bit {bit}: {error}");
        }
    }
}

#[test]
fn value_copied_to_another_entry_never_opens() {
    let broker = broker(&[1]);
    let envelope = sealed(&broker, VALUE);
    let other = "other";
    let entries = [
        EntryKey { service: other, ..ENTRY },
        EntryKey { partition: other, ..ENTRY },
        EntryKey { account: other, ..ENTRY },
        EntryKey { region: other, ..ENTRY },
        EntryKey { endpoint: other, ..ENTRY },
        EntryKey { identity: other, ..ENTRY },
        EntryKey { session_policy: other, ..ENTRY },
        EntryKey { attribution: other, ..ENTRY },
        EntryKey { region: "eu-central-1fips", endpoint: "", ..ENTRY },
    ];
    for entry in entries {
        let error = broker.open(&entry, &envelope).expect_err("another entry");
        assert_eq!(error, EnvelopeError::Changed(OpenError), "{entry:?}");
        assert_ne!(broker.name_of(&entry), broker.name_of(&ENTRY), "{entry:?}");
    }
}

fn entry(parts: &[String; 8]) -> EntryKey<'_> {
    let [service, partition, account, region, endpoint, identity, session_policy, attribution] = parts;
    EntryKey { service, partition, account, region, endpoint, identity, session_policy, attribution }
}

#[test]
fn entries_that_differ_in_a_part_have_different_bytes() {
    let parts = || proptest::array::uniform8("[a-c:/]{0,3}");
    proptest!(|(one in parts(), other in parts(), at in 0..7_usize)| {
        prop_assert_eq!(entry(&one).canonical() == entry(&other).canonical(), one == other);
        let mut moved = one.clone();
        moved[at + 1] = format!("{}{}", one[at], one[at + 1]);
        moved[at] = String::new();
        prop_assert_eq!(entry(&one).canonical() == entry(&moved).canonical(), one == moved);
    });
}

#[test]
fn envelope_of_another_version_or_algorithm_never_opens() {
    let broker = broker(&[1]);
    let [.., a, b, c, d] = header(broker.sealing.id);
    assert!(opens(&broker, &sealed_under([b'E', b'B', b'1', 1, a, b, c, d], &broker)));
    for [w, x, y, z] in [*b"EB0\x01", *b"EB2\x01", *b"EB1\x00", *b"EB1\x02", *b"eb1\x01"] {
        let envelope = sealed_under([w, x, y, z, a, b, c, d], &broker);
        assert_eq!(broker.open(&ENTRY, &envelope), Err(EnvelopeError::UnknownFormat));
        let renamed = [&VERSION[..], &envelope[4..]].concat();
        assert_eq!(
            broker.open(&ENTRY, &renamed),
            Err(EnvelopeError::Changed(OpenError)),
            "the version is authenticated"
        );
    }
}

#[test]
fn unknown_seal_key_never_opens_even_under_a_known_id() {
    let (ours, theirs) = (broker(&[1]), broker(&[2]));
    let envelope = sealed(&theirs, VALUE);
    let error = ours.open(&ENTRY, &envelope).expect_err("another key");
    assert_eq!(error, EnvelopeError::UnknownKey(theirs.sealing.id));
    assert!(error.to_string().contains("unknown seal key 75877bb4; "), "{error}");
    let forged = sealed_under(header(ours.sealing.id), &theirs);
    assert_eq!(ours.open(&ENTRY, &forged), Err(EnvelopeError::Changed(OpenError)));
}

#[test]
fn rotation_in_three_steps_opens_every_value_of_every_broker() {
    let steps = [vec![1], vec![1, 2], vec![2, 1], vec![2]].map(|seals| broker(&seals));
    let both_open =
        |one: &Envelopes, other: &Envelopes| opens(other, &sealed(one, VALUE)) && opens(one, &sealed(other, VALUE));
    for pair in steps.windows(2) {
        assert!(both_open(&pair[0], &pair[1]), "brokers that are one step apart");
        assert_eq!(pair[0].name_of(&ENTRY), pair[1].name_of(&ENTRY), "a rotation loses no entry");
    }
    assert!(!opens(&steps[3], &sealed(&steps[1], VALUE)), "the old key was removed too early");
}

#[test]
fn name_of_an_entry_is_the_hmac_of_its_key() {
    let name = broker(&[1]).name_of(&ENTRY);
    // Computed by Python's hmac: a change would lose every entry.
    assert_eq!(name.as_str(), "117d63bbec4bc1869deb833160449abf");
    assert_ne!(with_names(8, &[1]).name_of(&ENTRY), name, "brokers of other names keys share nothing");
}
