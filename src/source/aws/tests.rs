use super::*;

#[test]
fn an_expiry_is_kept_to_the_millisecond_however_it_was_rounded() {
    let time = |nanos| aws_smithy_types::DateTime::from_secs_and_nanos(1_795_346_855, nanos);
    let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_346_855_432);
    for nanos in [431_999_921, 432_000_000, 432_000_160] {
        assert_eq!(to_the_millisecond(&time(nanos)), Some(expected), "{nanos}");
    }
    assert_eq!(to_the_millisecond(&aws_smithy_types::DateTime::from_secs(-1)), None);
    assert!(to_the_millisecond(&aws_smithy_types::DateTime::from_secs(i64::MAX)).is_some(), "too far, but no panic");
}
