//! Plain hits that leave no memo.

use super::*;
use crate::cache::CacheStatus;
use crate::policy::RegistryPattern;

/// A parent that decides about each caller.
fn deciding_parent() -> parent::Settings {
    parent::Settings {
        name: "parent".parse().unwrap(),
        addresses: Vec::new(),
        tls_ca: None,
        tls_identity: None,
        token_file: None,
        registries: vec![RegistryPattern::every_private()],
        profiles: vec![ProfileName::default_profile()],
        fallback: parent::Fallback::None,
        forward_callers: true,
    }
}

#[tokio::test]
async fn hit_that_a_parent_decided_for_its_caller_leaves_no_memo() {
    let served = Served::with(Change { parents: vec![deciding_parent()], ..Change::default() }).await;
    let mut kept = served.kept(6 * HOUR, PASSWORD, Minter::default());
    kept.key.caller = Some(CALLER.exact_principal(CALLER.claims_digest()));
    served.cache.put_back(kept).await.unwrap();
    let (released, hit) = served.released().await;
    assert!(released.found.status == CacheStatus::Hit && hit.is_none());
}

/// Another task may replace the credential between its lookup and the memo, which would name one and release the other.
#[tokio::test]
async fn hit_whose_credential_was_replaced_meanwhile_leaves_no_memo() {
    let served = Served::new().await;
    let (released, hit) = served.released().await;
    assert!(hit.is_some());
    assert!(served.cache.cached_hit(&released.key, &released.found).await.is_some());
    served.put("second").await;
    assert!(served.cache.cached_hit(&released.key, &released.found).await.is_none());
}
