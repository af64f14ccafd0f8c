use super::*;

#[test]
fn libraries_that_print_what_passes_through_them_are_capped() {
    use tracing::{Callsite as _, Level, callsite::Identifier, metadata::Kind};

    struct Nowhere;
    impl tracing::Callsite for Nowhere {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}
        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("never asked")
        }
    }
    static NOWHERE: Nowhere = Nowhere;
    _ = &NOWHERE as &dyn tracing::Callsite;
    let within = |target, level| {
        let fields = tracing::field::FieldSet::new(&[], Identifier(&NOWHERE));
        is_within_cap(&Metadata::new("line", target, level, None, None, None, fields, Kind::EVENT))
    };
    for target in [
        "aws_smithy_runtime::client::orchestrator",
        "h2::codec",
        "hyper_util::client",
        "rustls::conn",
        "tonic::transport",
    ] {
        assert!(!within(target, Level::DEBUG) && !within(target, Level::TRACE), "{target}");
        assert!(within(target, Level::INFO), "{target}");
    }
    assert!(within("ecr_broker::cache", Level::TRACE));
}
