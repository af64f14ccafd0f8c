use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::fake::{Fake, State, path};
use super::names::{Names, SecretArg};
use super::remove::{remove, remove_one};
use super::template::{Layout, Template};
use super::{SERVER, SecretsTarget};
use crate::cli::sync::auth_entries::AuthEntries;
use crate::cli::sync::target::{INTERVAL, Target as _, Update};
use crate::client::RegistryCredentials;
use crate::exit_code::Exit;
use crate::moment::Moment;

mod fake;

const HOST: &str = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const HOUR: Duration = Duration::from_hours(1);

fn start() -> Moment {
    Moment { wall: SystemTime::UNIX_EPOCH + Duration::from_hours(500_000), steady: HOUR }
}

fn names(secrets: &[&str], selector: Option<&str>) -> Names {
    let secrets: Vec<SecretArg> = secrets.iter().map(|name| name.parse().unwrap()).collect();
    Names::new(&secrets, selector.map(|selector| selector.parse().unwrap()).as_ref()).unwrap()
}

fn target(fake: &Fake, secrets: &[&str], selector: Option<&str>) -> SecretsTarget {
    let names = names(secrets, selector);
    let layout = Layout::new(Template::Docker, HOST);
    SecretsTarget::new(fake.api(), layout, names, BTreeSet::from([HOST.to_owned()]), start())
}

/// Entries with one credential: its ID is its password, too.
fn entries(id: &str, now: Moment, lifetime: Duration) -> AuthEntries {
    entries_of("", id, now, lifetime)
}

/// Entries with one credential of a profile.
fn entries_of(profile: &str, id: &str, now: Moment, lifetime: Duration) -> AuthEntries {
    let mut entries = AuthEntries::default();
    entries.insert(
        &RegistryCredentials {
            registry: HOST.to_owned(),
            username: "AWS".to_owned(),
            password: id.to_owned(),
            credential_id: id.to_owned(),
            profile: profile.to_owned(),
            issue_time: Some(now.wall.into()),
            expire_time: Some((now.wall + lifetime).into()),
            ..RegistryCredentials::default()
        },
        now,
    );
    entries
}

fn texts(update: &Update) -> Vec<&str> {
    update.problems.iter().map(|problem| problem.text.as_str()).collect()
}

#[tokio::test]
async fn secret_is_written_once_for_each_credential_and_after_deletion() {
    let fake = Fake::default();
    let (mut target, now) = (target(&fake, &["a/pull"], None), start());
    let none = target.update(&AuthEntries::default(), now).await;
    assert!(none.changes.is_empty() && fake.with(|state| state.objects.is_empty()), "never created empty");
    let first = target.update(&entries("one", now, 12 * HOUR), now).await;
    assert_eq!((first.changes, first.problems), (vec!["a/pull: 1 registry, valid for 12h00m".to_owned()], vec![]));
    assert_eq!(fake.password("a/pull").as_deref(), Some("one"));
    let object = fake.with(|state| state.objects[&path("a/pull")].clone());
    assert_eq!(object["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(object["metadata"]["labels"], json!({ "app.kubernetes.io/managed-by": "ecr-broker" }));
    assert_eq!(object["metadata"]["annotations"]["ecr-broker/expires-at"], "2027-01-15T20:00:00Z");
    assert!(
        !object["metadata"]["annotations"].to_string().contains("one\",\"sha256\":\"one"),
        "a hash, not the password"
    );

    let again = target.update(&entries("one", now, 12 * HOUR), now.after(2 * INTERVAL)).await;
    assert!(again.changes.is_empty() && fake.with(|state| (state.reads, state.writes)) == (3, 1));
    let not_due = target.update(&entries("one", now, 12 * HOUR), now.after(2 * INTERVAL)).await;
    assert!(not_due.changes.is_empty() && fake.with(|state| state.reads) == 3);
    fake.with(|state| state.objects.clear());
    target.update(&entries("one", now, 12 * HOUR), now.after(4 * INTERVAL)).await;
    assert_eq!(fake.password("a/pull").as_deref(), Some("one"), "created again");
    target.update(&entries("two", now, 12 * HOUR), now.after(4 * INTERVAL)).await;
    assert_eq!(fake.password("a/pull").as_deref(), Some("two"), "at once");
}

#[tokio::test]
async fn api_server_down_for_an_hour_is_tried_seldom_and_caught_up() {
    let fake = Fake::default();
    let names: Vec<_> = (0..200).map(|number| format!("team-{number}/pull")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut target = target(&fake, &names, None);
    let mut now = start();
    let written = target.update(&entries("one", now, 12 * HOUR), now).await;
    assert_eq!((written.changes.len(), written.problems.len()), (200, 0));

    fake.with(|state| {
        let (objects, version) = (std::mem::take(&mut state.objects), state.version);
        *state = State { is_down: true, objects, version, ..State::default() };
    });
    let two = entries("two", now, 12 * HOUR);
    let back = start().after(HOUR);
    let mut rounds = 0;
    while !now.until(back).is_zero() {
        let update = target.update(&two, now).await;
        assert_eq!(update.problems.len(), 1, "one problem for all Secrets: {:?}", texts(&update));
        assert!(update.problems[0].subject == SERVER && update.problems[0].exit == Exit::Unavailable);
        let pause = target.pause(now);
        assert!(Duration::ZERO < pause && pause <= Duration::from_secs(66), "{pause:?}");
        now = now.after(pause);
        rounds += 1;
    }
    let calls = fake.with(|state| state.reads);
    assert!((50..80).contains(&rounds) && calls <= rounds * super::PARALLEL, "{rounds} {calls}");
    assert_eq!(fake.password("team-7/pull").as_deref(), Some("one"));

    fake.with(|state| state.is_down = false);
    let update = target.update(&two, now).await;
    assert_eq!((update.changes.len(), update.problems.len()), (200, 0));
    assert_eq!(update.notes, ["Kubernetes API answers again"]);
    assert_eq!(fake.password("team-199/pull").as_deref(), Some("two"));
}

#[tokio::test]
async fn secrets_that_are_not_ours_or_fixed_stay_and_are_reported() {
    let fake = Fake::default();
    let ours = json!({ "app.kubernetes.io/managed-by": "ecr-broker" });
    let docker = "kubernetes.io/dockerconfigjson";
    for (name, labels, kind, immutable) in [
        ("a/theirs", json!({ "app.kubernetes.io/managed-by": "Helm" }), docker, false),
        ("a/bare", json!({}), docker, false),
        ("a/opaque", ours.clone(), "Opaque", false),
        ("a/immutable", ours, docker, true),
    ] {
        let metadata = json!({ "labels": labels, "resourceVersion": "1" });
        let object = json!({ "metadata": metadata, "type": kind, "immutable": immutable, "data": { "x": "eA==" } });
        fake.with(|state| state.objects.insert(path(name), object));
    }
    let before = fake.with(|state| state.objects.clone());
    let now = start();
    let mut target = target(&fake, &["a/theirs", "a/bare", "a/opaque", "a/immutable", "a/good"], None);
    let update = target.update(&entries("one", now, HOUR), now).await;
    let expected = [
        "a/bare: the Secret is not sync's, and stays; delete it, or name another",
        "a/immutable: the Secret is immutable, and stays; delete it, and sync creates it again",
        "a/opaque: the Secret has another type, and stays; delete it, and sync creates it again",
        "a/theirs: the Secret is not sync's, and stays; delete it, or name another",
    ];
    assert_eq!(texts(&update), expected);
    assert!(update.problems.iter().all(|problem| problem.exit == Exit::Failure));
    assert_eq!(fake.password("a/good").as_deref(), Some("one"), "the others are written");
    fake.with(|state| state.objects.remove(&path("a/good")));
    assert_eq!(fake.with(|state| state.objects.clone()), before);
    // One that is deleted is created, and its problem ends.
    fake.with(|state| state.objects.remove(&path("a/immutable")));
    let update = target.update(&entries("one", now, HOUR), now.after(2 * INTERVAL)).await;
    assert_eq!((fake.password("a/immutable").as_deref(), update.problems.len()), (Some("one"), 3));
}

#[tokio::test]
async fn refusals_are_reported_with_a_fix_and_without_the_credential() {
    let fake = Fake::default();
    let now = start();
    let causes = json!([{ "reason": "FieldManagerConflict", "field": ".data..dockerconfigjson" }]);
    let conflict = json!({ "code": 409, "message": "conflict with \"x\"", "details": { "causes": causes } });
    let forbidden = json!({ "code": 403, "message": "User \"u\" cannot patch resource \"secrets\"" });
    let auth = crate::helper::registry_auth::basic("AWS", "canary-password");
    for (name, refusal, text, exit) in [
        (
            "a/conflict",
            conflict,
            "another field manager owns the contents, which stay: conflict with \"x\"",
            Exit::Failure,
        ),
        ("a/forbidden", forbidden, "; grant get, create and patch of Secrets", Exit::Denied),
        (
            "a/missing",
            json!({ "code": 404, "message": "namespaces \"a\" not found" }),
            "namespaces \"a\" not",
            Exit::Failure,
        ),
        ("a/webhook", json!({ "code": 500, "message": "failed calling webhook" }), "failed calling", Exit::Unavailable),
        (
            "a/echo",
            json!({ "code": 422, "message": format!("denied: {auth}") }),
            "repeats the credential",
            Exit::Failure,
        ),
        ("a/part", json!({ "code": 422, "message": "x".repeat(290) + &auth[..20] }), "repeats", Exit::Failure),
        (
            "a/password",
            json!({ "code": 400, "message": "no canary-password" }),
            "repeats the credential",
            Exit::Failure,
        ),
    ] {
        let mut target = target(&fake, &[name], None);
        fake.refuse(name, &[refusal]);
        let entries = entries("canary-password", now, HOUR);
        let update = target.update(&entries, now).await;
        assert!(texts(&update)[0].starts_with(&format!("{name}: ")) && texts(&update)[0].contains(text), "{update:?}");
        assert!(!format!("{update:?}").contains("canary") && !format!("{update:?}").contains(&auth), "{update:?}");
        assert_eq!(update.problems[0].exit, exit);
        // Tried again later, it succeeds, and the problem ends.
        let update = target.update(&entries, now.after(2 * INTERVAL)).await;
        assert_eq!((update.changes.len(), update.problems.len()), (1, 0), "{name}");
    }
}

#[tokio::test]
async fn secret_of_others_that_sync_cannot_give_up_never_becomes_its_own() {
    let refused = "a/pull: the API server's message repeats the credential, and is not shown";
    let theirs = "a/pull: the Secret is not sync's, and stays; delete it, or name another";
    let name = "a/pull".parse().unwrap();
    let owns = json!({ "f:data": {}, "f:type": {}, "f:metadata": { "f:labels": { "f:team": {} } } });
    let metadata =
        json!({ "resourceVersion": "1", "managedFields": [{ "manager": "kubectl-create", "fieldsV1": owns }] });
    let object = json!({ "metadata": metadata, "data": { "token": "eA==" } });
    let now = start();
    let wanted = entries("password-of-the-old-object", now, HOUR);
    for is_removed in [false, true] {
        let fake = Fake::default();
        fake.with(|state| {
            state.appearing.insert(path("a/pull"), object.clone());
            let message = "denied: had password-of-the-old-object";
            state.release_refusal = Some(json!({ "kind": "Status", "code": 422, "message": message }));
        });
        let mut first = target(&fake, &["a/pull"], None);
        assert_eq!(texts(&first.update(&wanted, now).await), [refused]);
        assert_eq!(fake.password("a/pull").as_deref(), Some("password-of-the-old-object"));
        // Neither a later round nor another process takes it for its own.
        assert_eq!(texts(&first.update(&wanted, now.after(2 * INTERVAL)).await), [refused]);
        let mut second = target(&fake, &["a/pull"], None);
        assert_eq!(texts(&second.update(&wanted, now).await), [refused]);
        assert_eq!(remove_one(&fake.api(), &name).await.unwrap_err().text, refused);
        fake.with(|state| state.release_refusal = None);
        let text = if is_removed {
            remove_one(&fake.api(), &name).await.unwrap_err().text
        } else {
            texts(&second.update(&wanted, now.after(2 * INTERVAL)).await).join("")
        };
        assert_eq!(
            (text.as_str(), fake.with(|state| state.objects[&path("a/pull")].clone())),
            (theirs, object.clone())
        );
    }
}

#[tokio::test]
async fn labelled_secret_of_another_creator_is_filled() {
    let label = json!({ "f:labels": { "f:app.kubernetes.io/managed-by": {} } });
    let managed = |manager: &str, fields: Value| json!({ "manager": manager, "fieldsV1": fields });
    let ours = managed("ecr-broker", json!({ "f:data": {}, "f:type": {}, "f:metadata": label }));
    // The label has another owner than sync, too.
    let restored = json!([ours, managed("velero", json!({ "f:data": {}, "f:type": {}, "f:metadata": label }))]);
    let created = managed("kubectl-create", json!({ "f:data": {}, "f:type": {} }));
    let adopted = json!([ours, created, managed("kubectl-label", json!({ "f:metadata": label }))]);
    // Others that add metadata have not created it.
    let annotated = json!([ours, managed("controller", json!({ "f:metadata": { "f:annotations": { "f:x": {} } } }))]);
    // Who takes a Secret over leaves sync no data. The API server tells of the conflict.
    let taken = json!([managed("ecr-broker", json!({ "f:type": {}, "f:metadata": label })), created]);
    let now = start();
    for managers in [restored, adopted, annotated, taken, json!([])] {
        let fake = Fake::default();
        let labels = json!({ "app.kubernetes.io/managed-by": "ecr-broker" });
        let metadata = json!({ "resourceVersion": "7", "labels": labels, "managedFields": managers });
        let object = json!({ "metadata": metadata, "type": "kubernetes.io/dockerconfigjson", "data": {} });
        fake.with(|state| state.objects.insert(path("a/pull"), object));
        let update = target(&fake, &["a/pull"], None).update(&entries("one", now, HOUR), now).await;
        assert_eq!((texts(&update), fake.password("a/pull").as_deref()), (vec![], Some("one")), "{managers}");
    }
}

#[tokio::test]
async fn secret_that_others_create_between_read_and_write_stays_theirs() {
    let managed = |manager: &str| json!([{ "manager": manager, "operation": "Update", "fieldsV1": { "f:data": {} } }]);
    let now = start();
    for (manager, is_theirs) in [("kubectl-create", true), ("ecr-broker", false)] {
        let fake = Fake::default();
        let metadata = json!({ "resourceVersion": "1", "managedFields": managed(manager) });
        let object = json!({ "metadata": metadata, "type": "Opaque", "data": { "token": "eA==" } });
        fake.with(|state| state.appearing.insert(path("a/pull"), object.clone()));
        let update = target(&fake, &["a/pull"], None).update(&entries("one", now, HOUR), now).await;
        let stored = fake.with(|state| state.objects[&path("a/pull")].clone());
        assert_eq!((update.problems.len(), stored == object), (usize::from(is_theirs), is_theirs), "{manager}");
        let text = "a/pull: the Secret is not sync's, and stays; delete it, or name another";
        assert_eq!(texts(&update), if is_theirs { vec![text] } else { vec![] });
    }
}

#[tokio::test]
async fn write_that_changes_nothing_is_reported_and_not_repeated() {
    let (fake, now) = (Fake::default(), start());
    let mut target = target(&fake, &["a/pull"], None);
    target.update(&entries("one", now, HOUR), now).await;
    fake.with(|state| state.reverted.insert(path("a/pull")));
    let text =
        "a/pull: another field manager or an admission webhook keeps other contents; exempt or delete the Secret";
    for round in 1..5 {
        let update = target.update(&entries("two", now, 2 * HOUR), now.after(2 * INTERVAL * round)).await;
        assert_eq!((update.changes.len(), texts(&update), fake.with(|state| state.writes)), (0, vec![text], 2));
    }
    // Another credential or another version is written again.
    let at = now.after(10 * INTERVAL);
    target.update(&entries("three", now, 3 * HOUR), at).await;
    assert_eq!(fake.with(|state| state.writes), 3);
    fake.with(|state| {
        state.objects.get_mut(&path("a/pull")).unwrap()["metadata"]["resourceVersion"] = "9".into();
        state.reverted.clear();
    });
    let update = target.update(&entries("three", now, 3 * HOUR), at.after(2 * INTERVAL)).await;
    assert_eq!((update.problems.len(), fake.password("a/pull").as_deref()), (0, Some("three")));
}

#[tokio::test]
async fn message_with_a_value_of_the_replaced_secret_is_not_shown() {
    let old = crate::helper::registry_auth::basic("AWS", "canary-of-old");
    for (template, quoted) in [
        (Template::Docker, "canary-of-old".to_owned()),
        (Template::Docker, old),
        (Template::Flux, "canary-of-old".to_owned()),
        (Template::Flux, BASE64.encode(b"canary-of-old")),
    ] {
        let (fake, now) = (Fake::default(), start());
        let mut target = target(&fake, &["a/pull"], None);
        target.layout = Layout::new(template, HOST);
        target.update(&entries("canary-of-old", now, HOUR), now).await;
        let refusal = json!({ "code": 422, "message": format!("denied: was {quoted}") });
        fake.refuse("a/pull", &[refusal.clone(), refusal]);
        let text = "a/pull: the API server's message repeats the credential, and is not shown";
        assert_eq!(texts(&target.update(&entries("new", now, 2 * HOUR), now).await), [text]);
        let removed = remove_one(&fake.api(), &"a/pull".parse().unwrap()).await;
        assert_eq!(removed.unwrap_err().text, text);
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_webhook_of_some_namespaces_does_not_delay_the_others() {
    let (fake, now) = (Fake::default(), start());
    let hanging: Vec<_> = (0..20).map(|number| format!("hangs-{number}")).collect();
    let names: Vec<_> = hanging.iter().map(|namespace| format!("{namespace}/pull")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).chain(["other/pull", "z/pull"]).collect();
    fake.with(|state| state.hanging.extend(hanging.clone()));
    let mut target = target(&fake, &names, None);
    let update = target.update(&entries("one", now, HOUR), now).await;
    assert_eq!((update.changes.len(), update.problems.len()), (2, 20), "{:?}", texts(&update));
    assert!(texts(&update).iter().all(|text| text.contains("/pull: no answer within")), "{:?}", texts(&update));
    // From then on they come last, and a round takes no longer than one call.
    let begin = Instant::now();
    target.update(&entries("two", now, HOUR), now.after(HOUR / 2)).await;
    assert_eq!(
        (fake.with(|state| state.written[&path("z/pull")]), fake.password("z/pull")),
        (begin, Some("two".into()))
    );
    assert!(begin.elapsed() <= Duration::from_secs(20), "{:?}", begin.elapsed());
    // None is forgotten: when the webhook answers again, rounds follow until all are written.
    fake.with(|state| state.hanging.clear());
    let late = now.after(HOUR / 2 + 3 * INTERVAL);
    for _ in 0..3 {
        target.update(&entries("two", now, HOUR), late).await;
    }
    assert!(names.iter().all(|name| fake.password(name).as_deref() == Some("two")));
}

#[tokio::test]
async fn write_that_fails_as_an_overloaded_server_would_concerns_one_secret() {
    for refusal in [json!({ "code": 429, "message": "busy" }), json!({ "code": 503, "message": "webhook" })] {
        let (fake, now) = (Fake::default(), start());
        fake.refuse("a/pull", &[refusal]);
        let mut target = target(&fake, &["a/pull", "b/pull"], None);
        let update = target.update(&entries("one", now, HOUR), now).await;
        assert_eq!((update.changes.len(), update.problems[0].subject.as_str()), (1, "a/pull"));
        assert!(target.pause(now) <= Duration::from_millis(1_100), "tried again soon");
    }
}

#[tokio::test]
async fn secret_changed_between_read_and_write_is_read_again() {
    let fake = Fake::default();
    let changed = json!({ "code": 409, "message": "the object has been modified" });
    fake.refuse("a/pull", &[changed.clone(), changed]);
    let update = target(&fake, &["a/pull"], None).update(&entries("one", start(), HOUR), start()).await;
    assert_eq!((update.changes.len(), update.problems.len()), (1, 0));
    assert_eq!(fake.with(|state| (state.reads, state.writes)), (3, 3));
}

#[tokio::test]
async fn expired_credential_of_an_earlier_sync_is_removed_without_a_broker() {
    let fake = Fake::default();
    let now = start();
    target(&fake, &["a/pull"], None).update(&entries("one", now, HOUR), now).await;
    let mut restarted = target(&fake, &["a/pull"], None);
    let none = AuthEntries::default();
    let update = restarted.update(&none, now.after(HOUR / 2)).await;
    assert!(update.changes.is_empty() && fake.password("a/pull").is_some(), "valid ones stay");
    let late = now.after(Duration::from_secs(3590));
    restarted.update(&none, late).await;
    assert!(restarted.pause(late) <= Duration::from_secs(10), "looked at again when it expires");
    let update = restarted.update(&none, now.after(HOUR)).await;
    assert_eq!(update.changes, ["a/pull: no registry is left"]);
    assert_eq!(fake.config("a/pull"), json!({ "auths": {} }));
}

#[tokio::test]
async fn of_two_syncs_with_credentials_of_one_end_only_the_first_writes() {
    let (fake, now) = (Fake::default(), start());
    let (mut one, mut other) = (target(&fake, &["a/pull"], None), target(&fake, &["a/pull"], None));
    for round in 0..4 {
        let at = now.after(2 * INTERVAL * round);
        one.update(&entries("one", now, HOUR), at).await;
        other.update(&entries("other", now, HOUR), at).await;
    }
    assert_eq!((fake.password("a/pull").as_deref(), fake.with(|state| state.writes)), (Some("one"), 1));
}

#[tokio::test]
async fn credential_in_its_last_second_is_removed_and_not_read_without_pause() {
    let (fake, now) = (Fake::default(), start());
    let mut target = target(&fake, &["a/pull"], None);
    let entries = entries("one", now, HOUR + Duration::from_millis(700));
    target.update(&entries, now).await;
    let late = now.after(HOUR + Duration::from_millis(300));
    target.update(&entries, late).await;
    assert_eq!(fake.password("a/pull"), None);
    assert!(target.pause(late) > Duration::from_secs(1), "{:?}", target.pause(late));
}

#[tokio::test]
async fn of_two_syncs_the_one_with_the_newer_credential_writes() {
    let fake = Fake::default();
    let now = start();
    let (mut a, mut b) = (target(&fake, &["a/pull"], None), target(&fake, &["a/pull"], None));
    a.update(&entries("one", now, HOUR), now).await;
    let same = b.update(&entries("one", now, HOUR), now).await;
    assert!(same.changes.is_empty(), "as fresh");
    a.update(&entries("two", now, 2 * HOUR), now).await;
    let behind = b.update(&entries("one", now, HOUR), now.after(2 * INTERVAL)).await;
    assert!(behind.changes.is_empty() && fake.password("a/pull").as_deref() == Some("two"));
    // The broker may replace a credential by one that expires sooner.
    a.update(&entries("three", now, HOUR), now.after(2 * INTERVAL)).await;
    assert_eq!(fake.password("a/pull").as_deref(), Some("three"));
    // Contents that others changed are not a credential of sync's.
    let data = json!({ ".dockerconfigjson": BASE64.encode(b"{\"auths\":{}}") });
    fake.with(|state| state.objects.get_mut(&path("a/pull")).unwrap()["data"] = data);
    let writes = fake.with(|state| state.writes);
    let update = target(&fake, &["a/pull"], None).update(&AuthEntries::default(), now.after(2 * HOUR)).await;
    assert_eq!((update.changes.len(), fake.with(|state| state.writes)), (0, writes), "without a credential they stay");
    a.update(&entries("three", now, HOUR), now.after(4 * INTERVAL)).await;
    assert_eq!(fake.password("a/pull").as_deref(), Some("three"));
}

#[tokio::test]
async fn syncs_whose_brokers_differ_do_not_replace_each_others_without_end() {
    let (fake, now) = (Fake::default(), start());
    let (mut ahead, mut behind) = (target(&fake, &["a/pull"], None), target(&fake, &["a/pull"], None));
    ahead.update(&entries("long", now, 12 * HOUR), now).await;
    // One broker has replaced the credential by one that expires sooner, the other not.
    for round in 1..10 {
        let at = now.after(2 * INTERVAL * round);
        ahead.update(&entries("short", now, HOUR), at).await;
        behind.update(&entries("long", now, 12 * HOUR), at).await;
    }
    assert_eq!((fake.password("a/pull").as_deref(), fake.with(|state| state.writes)), (Some("long"), 3));
    // When the other follows, it replaces the credential, too.
    let at = now.after(30 * INTERVAL);
    behind.update(&entries("short", now, HOUR), at).await;
    ahead.update(&entries("short", now, HOUR), at).await;
    assert_eq!((fake.password("a/pull").as_deref(), fake.with(|state| state.writes)), (Some("short"), 4));
}

#[tokio::test]
async fn credential_of_another_profile_is_replaced_even_if_it_lasts_longer() {
    let (fake, now) = (Fake::default(), start());
    target(&fake, &["a/pull"], None).update(&entries_of("push", "broad", now, 12 * HOUR), now).await;
    let mut restarted = target(&fake, &["a/pull"], None);
    let update = restarted.update(&entries_of("pull", "narrow", now, HOUR), now).await;
    assert_eq!((update.changes.len(), fake.password("a/pull").as_deref()), (1, Some("narrow")));
    restarted.update(&entries_of("pull", "narrow", now, HOUR), now.after(2 * INTERVAL)).await;
    assert_eq!(fake.with(|state| state.writes), 2, "once");
}

#[tokio::test]
async fn namespace_gains_the_secret_with_the_label_and_loses_its_credential() {
    let fake = Fake::default();
    let now = start();
    let mut target = target(&fake, &["pull", "fixed/pull"], Some("ecr=on"));
    let one = entries("one", now, 12 * HOUR);
    let update = target.update(&one, now).await;
    assert!(texts(&update)[0].contains("none has the label ecr=on"), "{update:?}");
    assert_eq!(fake.password("fixed/pull").as_deref(), Some("one"));
    fake.with(|state| state.namespaces = vec!["a", "b"]);
    let update = target.update(&one, now.after(2 * INTERVAL)).await;
    assert_eq!((update.changes.len(), update.problems.len()), (2, 0), "{update:?}");
    fake.with(|state| state.namespaces = vec!["b"]);
    let update = target.update(&one, now.after(4 * INTERVAL)).await;
    assert_eq!(update.changes, ["a/pull: no registry is left"]);
    assert_eq!((fake.password("a/pull"), fake.password("b/pull").as_deref()), (None, Some("one")));
    let writes = fake.with(|state| state.writes);
    target.update(&one, now.after(6 * INTERVAL)).await;
    assert_eq!(fake.with(|state| state.writes), writes, "once");
    fake.with(|state| state.namespaces = vec!["a", "b"]);
    target.update(&one, now.after(8 * INTERVAL)).await;
    assert_eq!(fake.password("a/pull").as_deref(), Some("one"));
}

#[tokio::test]
async fn removal_ends_with_the_exit_code_of_its_first_problem() {
    let forbidden = json!({ "code": 403, "message": "User \"u\" cannot list resource \"namespaces\"" });
    for (refusal, exit) in [
        (Some(forbidden), Exit::Denied),
        (Some(json!({ "code": 503, "message": "busy" })), Exit::Unavailable),
        (None, Exit::Failure),
    ] {
        let (fake, now) = (Fake::default(), start());
        target(&fake, &["fixed/pull"], None).update(&entries("one", now, HOUR), now).await;
        fake.with(|state| state.list_refusal = refusal);
        let names = names(&["pull", "fixed/pull"], Some("ecr=on"));
        assert_eq!(remove(&fake.api(), &names).await.unwrap(), exit);
        assert!(fake.with(|state| state.objects.is_empty()), "the one with a namespace is removed");
        fake.with(|state| (state.list_refusal, state.namespaces) = (None, vec!["fixed"]));
        assert_eq!(remove(&fake.api(), &names).await.unwrap(), Exit::Success, "not there");
    }
}

#[tokio::test]
async fn secret_that_others_delete_during_removal_is_not_a_failure() {
    let (fake, now) = (Fake::default(), start());
    target(&fake, &["a/pull"], None).update(&entries("one", now, HOUR), now).await;
    fake.refuse("a/pull", &[json!({ "code": 404, "message": "not found" })]);
    assert_eq!(remove_one(&fake.api(), &"a/pull".parse().unwrap()).await.unwrap(), "a/pull: not there");
}

#[tokio::test]
async fn namespace_without_the_label_is_emptied_after_transient_failures() {
    let (fake, now) = (Fake::default(), start());
    let mut target = target(&fake, &["pull"], Some("ecr=on"));
    fake.with(|state| state.namespaces = vec!["a", "b"]);
    let one = entries("one", now, 12 * HOUR);
    target.update(&one, now).await;
    fake.with(|state| state.namespaces = vec!["b"]);
    fake.refuse("a/pull", &[json!({ "code": 500, "message": "webhook" }), json!({ "code": 503, "message": "busy" })]);
    let mut at = now.after(2 * INTERVAL);
    for text in ["a/pull: busy", "a/pull: webhook"] {
        let update = target.update(&one, at).await;
        assert_eq!((texts(&update), fake.password("a/pull").as_deref()), (vec![text], Some("one")));
        at = at.after(target.pause(at));
    }
    let update = target.update(&one, at).await;
    assert_eq!((update.changes, update.problems), (vec!["a/pull: no registry is left".to_owned()], vec![]));
    assert_eq!((fake.password("a/pull"), target.slots.len()), (None, 1));
}

#[tokio::test]
async fn credential_that_cannot_be_removed_from_a_leaving_namespace_is_reported() {
    let forbidden = json!({ "code": 403, "message": "User \"u\" cannot patch resource \"secrets\"" });
    let gone = json!({ "code": 404, "message": "namespaces \"a\" not found" });
    for (refusal, lines) in [(forbidden, 2), (gone, 0)] {
        let (fake, now) = (Fake::default(), start());
        let mut target = target(&fake, &["pull"], Some("ecr=on"));
        fake.with(|state| state.namespaces = vec!["a", "b"]);
        target.update(&entries("one", now, 12 * HOUR), now).await;
        fake.with(|state| state.namespaces = vec!["b"]);
        fake.refuse("a/pull", &[refusal]);
        let update = target.update(&entries("one", now, 12 * HOUR), now.after(2 * INTERVAL)).await;
        assert_eq!((update.notes.len(), update.problems.len(), target.slots.len()), (lines, 0, 1), "{update:?}");
        let kept = "a/pull: the namespace lost its label, but the Secret keeps its credential; delete the Secret";
        assert!(update.notes.get(1).is_none_or(|line| line == kept), "{update:?}");
    }
}

#[tokio::test]
async fn many_secrets_are_read_at_most_twice_a_second() {
    let fake = Fake::default();
    let names: Vec<_> = (0..400).map(|number| format!("team-{number}/pull")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let (mut target, mut now) = (target(&fake, &names, None), start());
    let one = entries("one", now, 12 * HOUR);
    target.update(&one, now).await;
    let before = fake.with(|state| state.reads);
    let end = now.after(HOUR);
    while !now.until(end).is_zero() {
        now = now.after(target.pause(now).max(Duration::from_millis(1)));
        target.update(&one, now).await;
    }
    let reads = fake.with(|state| state.reads) - before;
    assert!((6_000..8_000).contains(&reads), "{reads}");
}
