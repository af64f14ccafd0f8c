use std::collections::HashMap;

use super::*;

const HOSTS: [&str; 4] = [
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
    "123456789012.dkr.ecr.us-east-1.amazonaws.com",
    "public.ecr.aws",
];
const CALLERS: [&str; 4] = ["uid:1001,gid:1001", "uid:1001,gid:5", "loopback", "jwt:ci:repo:org/name:ref:main"];

fn at(minutes: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 20_000) + Duration::from_mins(minutes)
}

fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn release(minute: u64, caller: &str, registry: &str, id: &str, expires: Option<u64>) -> StoredRecord {
    StoredRecord {
        time: text(at(minute)),
        outcome: "released".to_owned(),
        caller: caller.to_owned(),
        registry: Some(registry.to_owned()),
        credential_id: Some(id.to_owned()),
        expires: expires.map(|minutes| text(at(minutes))),
        ..StoredRecord::default()
    }
}

fn live(now: u64, selection: Selection, records: &[StoredRecord]) -> BTreeMap<Holding, Releases> {
    let mut live = LiveCredentials::new(at(now), selection);
    for record in records {
        live.add(record).unwrap();
    }
    live.finish().unwrap()
}

/// A model of one sentence each: what is live, and what is selected.
#[test]
fn live_credentials_are_those_of_a_simple_model() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..400 {
        let records: Vec<_> = (0..random.usize(0..60))
            .map(|_| {
                let (minute, issue) = (random.u64(0..2_000), random.u64(0..8) * 250);
                let (host, id) = (random.usize(0..HOSTS.len()), format!("{issue}"));
                let mut record = release(minute, random.choice(CALLERS).unwrap(), HOSTS[host], &id, Some(issue + 720));
                record.outcome = (*random.choice(&["released", "observed", "denied"]).unwrap()).to_owned();
                record.count = random.bool().then_some(random.u64(2..9));
                record
            })
            .collect();
        let now = random.u64(0..3_000);
        let until = random.bool().then_some(now);
        let caller = *random.choice(&[None, Some("uid:1001"), Some("jwt:ci:repo:org/*")]).unwrap();
        let host = random.choice([None, Some(HOSTS[0]), Some(HOSTS[3])]).unwrap();

        let mut expected = HashMap::<_, u64>::new();
        for record in &records {
            let minute = humantime::parse_rfc3339(&record.time).unwrap();
            let expires = humantime::parse_rfc3339(record.expires.as_ref().unwrap()).unwrap();
            let of_caller = match caller {
                None => true,
                Some("uid:1001") => record.caller.starts_with("uid:1001,"),
                Some(_) => record.caller.starts_with("jwt:"),
            };
            let registry = record.registry.as_deref().unwrap();
            let of_host = host.is_none_or(|host| registry == host || host == HOSTS[0] && registry == HOSTS[1]);
            let is_live = expires > at(now) && until.is_none_or(|until| minute <= at(until));
            if record.outcome != "denied" && is_live && of_caller && of_host {
                let key = (record.caller.clone(), registry.to_owned(), record.credential_id.clone().unwrap());
                *expected.entry(key).or_default() += record.count.unwrap_or(1);
            }
        }
        let selection = Selection {
            caller: caller.map(|text| text.parse().unwrap()),
            registry: host.map(|host| host.parse().unwrap()),
            alias: None,
            until: until.map(at),
        };
        let found = live(now, selection, &records).into_iter();
        let found: HashMap<_, _> =
            found.map(|(one, it)| ((one.caller, one.registry, one.credential_id), it.count)).collect();
        assert_eq!(found, expected, "round {round}");
    }
}

#[test]
fn record_without_an_expiry_counts_for_as_long_as_aws_issues() {
    let records = [release(60, "loopback", HOSTS[0], "a", None), release(10, "loopback", HOSTS[0], "a", None)];
    let held = |now| live(now, Selection::default(), &records).into_values().next();
    let found = held(700).unwrap();
    assert_eq!((found.expires, found.is_latest, found.count), (at(730), true, 2));
    assert_eq!((found.first, found.last), (at(10), at(60)));
    assert_eq!(held(780), None);
    // A record that names the expiry settles it.
    let known = [records.to_vec(), vec![release(90, "loopback", HOSTS[0], "a", Some(725))]].concat();
    let found = live(700, Selection::default(), &known).into_values().next().unwrap();
    assert_eq!((found.expires, found.is_latest), (at(725), false));
}

#[test]
fn minter_of_any_release_is_that_of_the_credential() {
    let named = StoredRecord { minted_by: Some("arn".into()), ..release(2, "loopback", HOSTS[0], "a", Some(720)) };
    let unnamed = release(1, "loopback", HOSTS[0], "a", Some(720));
    for records in [[named.clone(), unnamed.clone()], [unnamed, named]] {
        let found = live(5, Selection::default(), &records).into_values().next().unwrap();
        assert_eq!(found.minted_by.as_deref(), Some("arn"));
    }
}

#[test]
fn alias_selects_the_requests_that_named_it() {
    let mut record = release(1, "loopback", HOSTS[0], "a", Some(720));
    record.alias = Some("images.example".to_owned());
    let selection = |alias: &str| Selection {
        registry: Some(HOSTS[2].parse().unwrap()),
        alias: Some(alias.to_owned()),
        ..Selection::default()
    };
    let records = [record];
    assert_eq!(live(5, selection("images.example"), &records).len(), 1);
    assert_eq!(live(5, selection("other.example"), &records).len(), 0);
}

#[test]
fn release_that_lacks_a_field_is_damaged_and_other_records_are_not() {
    let mut live = LiveCredentials::new(at(0), Selection::default());
    let good = release(1, "loopback", HOSTS[0], "a", Some(720));
    for (record, problem) in [
        (StoredRecord { time: "yesterday".into(), ..good.clone() }, Err("has no valid time")),
        (StoredRecord { expires: Some("later".into()), ..good.clone() }, Err("has no valid expires")),
        (StoredRecord { credential_id: None, ..good.clone() }, Err("has no credential_id")),
        (StoredRecord { registry: None, ..good.clone() }, Err("has no registry")),
        (StoredRecord { operation: Some("status".into()), credential_id: None, ..good.clone() }, Ok(())),
        (StoredRecord { outcome: "unauthenticated".into(), registry: None, ..good }, Ok(())),
    ] {
        assert_eq!(live.add(&record), problem, "{record:?}");
    }
    assert!(live.finish().unwrap().is_empty());
}

#[test]
fn too_many_holders_are_an_error_and_not_a_shorter_list() {
    let mut live = LiveCredentials::new(at(0), Selection::default());
    for number in 0..=MAX_HOLDERS {
        live.add(&release(1, "loopback", HOSTS[0], &number.to_string(), Some(720))).unwrap();
    }
    assert!(live.finish().unwrap_err().contains("name a caller or a registry"));
}
