//! Decisions compared with Cedar, an independent policy engine. Every random policy exists twice, as grants and in Cedar, and both
//! must decide alike. Cedar has no order of policies. It names the policies that apply, and the test takes the first of them.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, clippy::format_collect, clippy::or_fun_call, reason = "a test may")]

use std::collections::BTreeMap;
use std::str::FromStr as _;

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, EntityUid, Policy as CedarPolicy, PolicyId, PolicySet, Request,
    RestrictedExpression,
};
use ecr_broker::caller::Caller;
use ecr_broker::policy::{
    Accounts, BrokerPattern, CallerPattern, Decision, Effect, Grant, IndexedPolicy, LabelPattern, Policy,
    RegistryPattern, TokenPattern, ViaPattern,
};
use ecr_broker::registry::{EndpointVariant, PrivateRegistry, Registry};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, TestRunner};

/// Requests for each policy.
const REQUESTS: usize = 1_000;

const ACCOUNTS: [&str; 3] = ["111111111111", "222222222222", "333333333333"];
const REGIONS: [&str; 4] = ["eu-central-1", "eu-west-1", "us-east-1", "us-gov-west-1"];
const PROFILES: [&str; 3] = ["", "a", "b"];
const DOMAINS: [&str; 2] = ["a.example", "b.example"];
const HOSTS: [&str; 2] = ["build-1.corp.example", "build-2.corp.example"];
const ISSUERS: [&str; 2] = ["blue", "green"];
const CLAIMS: [&str; 3] = ["namespace", "ref", "repository_id"];
/// Segments of paths and claims; some share a prefix.
const WORDS: [&str; 5] = ["ci", "ci-1", "ci-2", "main", "4"];

/// The pattern of a segment: its prefix, and whether `*` follows.
type Label = (&'static str, bool);

/// A text or its pattern in segments, each with the separator after it.
type Segments<T> = Vec<(T, char)>;

/// A grant, before it is written for either side.
#[derive(Debug, Clone)]
struct Rule {
    callers: Vec<CallerSpec>,
    registries: Vec<RegistrySpec>,
    profile: Option<&'static str>,
    deny: bool,
}

#[derive(Debug, Clone)]
enum CallerSpec {
    Uid(u32),
    Gid(u32),
    Loopback,
    AwsApi,
    Spiffe(&'static str, Vec<Label>),
    Dns(&'static str),
    Token(&'static str, Option<Segments<Label>>, BTreeMap<&'static str, Segments<Label>>),
    /// A caller that brokers forward. With `true` the first broker's last segment must be the token's claim `namespace`.
    Forwarded(Box<CallerSpec>, Vec<BrokerSpec>, bool),
}

/// A broker of a chain.
#[derive(Debug, Clone)]
enum BrokerSpec {
    Spiffe(&'static str, Vec<Label>),
    Dns(&'static str),
}

#[derive(Debug, Clone)]
enum RegistrySpec {
    Public,
    Private(Option<Vec<&'static str>>, Vec<Label>),
}

/// A caller or registry, written for both sides.
struct Both<T> {
    ours: T,
    /// A Cedar record.
    theirs: String,
}

fn label() -> impl Strategy<Value = Label> {
    // An empty label needs a `*`.
    let starts = WORDS.into_iter().chain([""]).collect::<Vec<_>>();
    (select(starts), any::<bool>()).prop_map(|(start, open)| (start, open || start.is_empty()))
}

fn segments<T: std::fmt::Debug>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Segments<T>> {
    prop::collection::vec((one, select(vec![':', '/'])), 1..4)
}

fn caller_spec() -> impl Strategy<Value = CallerSpec> {
    let brokers = prop::collection::vec(broker_spec(), 1..3);
    let forwarded = (direct_spec(), brokers, any::<bool>(), select(DOMAINS.to_vec()));
    let forwarded = forwarded.prop_map(|(job, mut brokers, claim, domain)| {
        let claim = claim && matches!(job, CallerSpec::Token(..));
        if claim {
            brokers[0] = BrokerSpec::Spiffe(domain, vec![("main", false), ("", true)]);
        }
        CallerSpec::Forwarded(Box::new(job), brokers, claim)
    });
    prop_oneof![2 => direct_spec(), 1 => forwarded]
}

fn broker_spec() -> impl Strategy<Value = BrokerSpec> {
    prop_oneof![
        (select(DOMAINS.to_vec()), label())
            .prop_map(|(domain, last)| BrokerSpec::Spiffe(domain, vec![("main", false), last])),
        select(HOSTS.to_vec()).prop_map(BrokerSpec::Dns),
    ]
}

fn direct_spec() -> impl Strategy<Value = CallerSpec> {
    let claims = prop::collection::btree_map(select(CLAIMS.to_vec()), segments(label()), 0..3);
    let token = (select(ISSUERS.to_vec()), prop::option::of(segments(label())), claims);
    prop_oneof![
        (0_u32..3).prop_map(CallerSpec::Uid),
        (0_u32..3).prop_map(CallerSpec::Gid),
        Just(CallerSpec::Loopback),
        Just(CallerSpec::AwsApi),
        (select(DOMAINS.to_vec()), prop::collection::vec(label(), 1..4))
            .prop_map(|(domain, path)| CallerSpec::Spiffe(domain, path)),
        select(HOSTS.to_vec()).prop_map(CallerSpec::Dns),
        token.prop_map(|(issuer, subject, claims)| CallerSpec::Token(issuer, subject, claims)),
    ]
}

fn registry_spec() -> impl Strategy<Value = RegistrySpec> {
    let regions = select(vec![("", true), ("eu-", true), ("us-", true), ("eu-west-1", false), ("us-east-1", false)]);
    let accounts = prop::option::of(subsequence(ACCOUNTS.to_vec(), 1..3));
    prop_oneof![
        1 => Just(RegistrySpec::Public),
        4 => (accounts, prop::collection::vec(regions, 1..3)).prop_map(|(accounts, regions)| RegistrySpec::Private(accounts, regions)),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let lists = (prop::collection::vec(caller_spec(), 1..4), prop::collection::vec(registry_spec(), 1..3));
    (lists, select(PROFILES[1..].to_vec()), any::<bool>(), prop::bool::weighted(0.25)).prop_map(
        |((callers, registries), profile, of_all, deny)| {
            let profile = (!(deny && of_all)).then_some(profile);
            Rule { callers, registries, profile, deny }
        },
    )
}

fn written((start, open): Label) -> String {
    format!("{start}{}", if open { "*" } else { "" })
}

fn joined<T: Copy>(segments: &Segments<T>, write: impl Fn(T) -> String) -> String {
    let last = segments.len() - 1;
    let each = segments.iter().enumerate();
    each.map(
        |(index, (one, separator))| if index == last { write(*one) } else { format!("{}{separator}", write(*one)) },
    )
    .collect()
}

impl Rule {
    fn grant(&self, id: usize) -> Grant {
        Grant {
            id: id.to_string(),
            callers: self.callers.iter().map(CallerSpec::pattern).collect(),
            registries: self.registries.iter().map(RegistrySpec::pattern).collect(),
            profile: self.profile.map(Into::into),
            effect: if self.deny { Effect::Deny } else { Effect::Allow },
            max_lifetime: None,
        }
    }

    fn cedar(&self, id: usize) -> CedarPolicy {
        let any = |conditions: Vec<String>| format!("({})", conditions.join(" || "));
        let callers = any(self.callers.iter().map(|caller| caller.decides(self.deny)).collect());
        let registries = any(self.registries.iter().map(|registry| registry.condition(self.deny)).collect());
        let profile =
            self.profile.map_or("true".to_owned(), |own| format!("[\"\", \"{own}\"].contains(context.profile)"));
        let effect = if self.deny { "forbid" } else { "permit" };
        let text = format!("{effect} (principal, action, resource) when {{ {callers} && {registries} && {profile} }};");
        CedarPolicy::parse(Some(PolicyId::new(id.to_string())), text).unwrap()
    }
}

impl CallerSpec {
    fn pattern(&self) -> CallerPattern {
        match self {
            Self::Uid(uid) => CallerPattern::Uid(*uid),
            Self::Gid(gid) => CallerPattern::Gid(*gid),
            Self::Loopback => CallerPattern::Loopback,
            Self::AwsApi => CallerPattern::AwsApi,
            Self::Spiffe(domain, path) => {
                let path: String = path.iter().map(|label| format!("/{}", written(*label))).collect();
                CallerPattern::Spiffe(format!("spiffe://{domain}{path}").parse().unwrap())
            }
            Self::Dns(name) => CallerPattern::Dns(name.parse().unwrap()),
            Self::Token(issuer, subject, claims) => CallerPattern::Token(TokenPattern {
                issuer: (*issuer).to_owned(),
                subject: subject.as_ref().map(|subject| joined(subject, written).parse().unwrap()),
                claims: claims
                    .iter()
                    .map(|(name, text)| ((*name).to_owned(), joined(text, written).parse().unwrap()))
                    .collect(),
            }),
            Self::Forwarded(job, brokers, claim) => {
                let (brokers, claim) =
                    (brokers.iter().map(BrokerSpec::pattern).collect(), claim.then(|| "namespace".to_owned()));
                CallerPattern::Forwarded(Box::new(job.pattern()), ViaPattern { brokers, claim })
            }
        }
    }

    /// Returns the condition that a grant applies. An allow without brokers is for direct callers. A deny without brokers is for
    /// forwarded ones too, and for those of a broker that it names.
    fn decides(&self, deny: bool) -> String {
        match (self, deny) {
            (Self::Forwarded(job, brokers, claim), false) => {
                let each = brokers.iter().enumerate().map(|(index, broker)| broker.is_at(index));
                let each: Vec<_> = each.chain(claim.then(|| CLAIM_OF_FIRST.to_owned())).collect();
                let count = format!("context.caller has via && context.caller.via.count == {}", brokers.len());
                format!("({} && {count} && {})", job.condition(), each.join(" && "))
            }
            (Self::Forwarded(job, brokers, _), true) => {
                let each: Vec<_> = brokers.iter().map(BrokerSpec::is_anywhere).collect();
                format!("({} && context.caller has via && {})", job.condition(), each.join(" && "))
            }
            (direct, false) => format!("(!(context.caller has via) && {})", direct.condition()),
            (direct, true) => {
                let broker = match direct {
                    Self::Spiffe(domain, path) => Some(BrokerSpec::Spiffe(domain, path.clone())),
                    Self::Dns(name) => Some(BrokerSpec::Dns(name)),
                    _ => None,
                };
                let broker = broker.map(|one| format!(" || (context.caller has via && {})", one.is_anywhere()));
                format!("({}{})", direct.condition(), broker.unwrap_or_default())
            }
        }
    }

    /// Returns the condition that the caller, however it comes, is one of these.
    fn condition(&self) -> String {
        let of_kind = |kind: &str, rest: String| format!("(context.caller.kind == \"{kind}\" && {rest})");
        match self {
            Self::Uid(uid) => of_kind("process", format!("context.caller.uid == {uid}")),
            Self::Gid(gid) => of_kind("process", format!("context.caller.gid == {gid}")),
            Self::Loopback => of_kind("loopback", "true".to_owned()),
            Self::AwsApi => of_kind("aws-api", "true".to_owned()),
            Self::Spiffe(domain, path) => {
                let path: Segments<Label> = path.iter().map(|label| (*label, '/')).collect();
                of_kind(
                    "spiffe",
                    format!("context.caller.domain == \"{domain}\" && {}", like("context.caller.path", &path)),
                )
            }
            Self::Dns(name) => of_kind("dns", format!("context.caller.name == \"{name}\"")),
            Self::Token(issuer, subject, claims) => {
                let subject =
                    subject.as_ref().map_or("true".to_owned(), |subject| like("context.caller.subject", subject));
                let of_claim = |(name, text): (&&str, &Segments<Label>)| {
                    let claim = format!("context.caller.claims.{name}");
                    format!("context.caller.claims has {name} && {}", like(&claim, text))
                };
                let claims: String = claims.iter().map(|claim| format!(" && {}", of_claim(claim))).collect();
                of_kind("token", format!("context.caller.issuer == \"{issuer}\" && {subject}{claims}"))
            }
            Self::Forwarded(job, ..) => job.condition(),
        }
    }
}

/// The condition that the claim `namespace` is the last segment of the first broker's path.
const CLAIM_OF_FIRST: &str = "context.caller.claims has namespace && context.caller.claims.namespace.form == \"\" \
    && context.caller.claims.namespace.s0 == context.caller.via.b0.path.s1";

impl BrokerSpec {
    fn pattern(&self) -> BrokerPattern {
        match self {
            Self::Spiffe(domain, path) => {
                let path: String = path.iter().map(|label| format!("/{}", written(*label))).collect();
                format!("spiffe://{domain}{path}").parse().unwrap()
            }
            Self::Dns(name) => format!("dns:{name}").parse().unwrap(),
        }
    }

    fn is_at(&self, index: usize) -> String {
        let place = format!("context.caller.via.b{index}");
        match self {
            Self::Spiffe(domain, path) => {
                let path: Segments<Label> = path.iter().map(|label| (*label, '/')).collect();
                let path = like(&format!("{place}.path"), &path);
                format!("({place}.kind == \"spiffe\" && {place}.domain == \"{domain}\" && {path})")
            }
            Self::Dns(name) => format!("({place}.kind == \"dns\" && {place}.name == \"{name}\")"),
        }
    }

    fn is_anywhere(&self) -> String {
        format!("({} || (context.caller.via has b1 && {}))", self.is_at(0), self.is_at(1))
    }
}

/// Returns the condition that a text in segments matches a pattern.
fn like(place: &str, pattern: &Segments<Label>) -> String {
    let (last, separators) = (pattern.len() - 1, pattern.iter().map(|(_, separator)| *separator).collect::<String>());
    let form = format!("{place}.form == \"{}\"", &separators[..last]);
    let of_segment = |(index, ((start, open), _)): (usize, &(Label, char))| {
        let star = if *open { "*" } else { "" };
        format!(" && {place}.s{index} like \"{start}{star}\"")
    };
    form + &pattern.iter().enumerate().map(of_segment).collect::<String>()
}

impl RegistrySpec {
    fn pattern(&self) -> RegistryPattern {
        let Self::Private(accounts, regions) = self else { return RegistryPattern::Public };
        let of = |accounts: &Vec<&str>| Accounts::Of(accounts.iter().map(|account| account.parse().unwrap()).collect());
        let regions: Vec<LabelPattern> = regions.iter().map(|region| written(*region).parse().unwrap()).collect();
        RegistryPattern::Private { accounts: accounts.as_ref().map_or(Accounts::Any, of), regions }
    }

    /// An unknown account may be a denied one, and is never an allowed one.
    fn condition(&self, deny: bool) -> String {
        let Self::Private(accounts, regions) = self else { return "context.registry.public".to_owned() };
        let of = |accounts: &Vec<&str>| {
            let known = format!("{accounts:?}.contains(context.registry.account)");
            let unknown = "context.registry.account == \"\"";
            if deny { format!("({unknown} || {known})") } else { known }
        };
        let accounts = accounts.as_ref().map_or("true".to_owned(), of);
        let regions: Vec<_> =
            regions.iter().map(|region| format!("context.registry.region like \"{}\"", written(*region))).collect();
        format!("(!context.registry.public && {accounts} && ({}))", regions.join(" || "))
    }
}

/// Returns a text in segments as a Cedar record.
fn record(text: &str) -> String {
    let form: String = text.chars().filter(|one| [':', '/'].contains(one)).collect();
    let each = text.split([':', '/']).enumerate().map(|(index, segment)| format!(", s{index}: \"{segment}\""));
    format!("{{ form: \"{form}\"{} }}", each.collect::<String>())
}

/// Returns direct callers, and some of them as brokers forward them.
fn callers() -> Vec<Both<Caller>> {
    let direct = direct_callers();
    let spiffe = |domain: &str, path: &str| {
        let theirs = format!("{{ kind: \"spiffe\", domain: \"{domain}\", path: {} }}", record(path));
        (format!("spiffe://{domain}/{path}"), theirs)
    };
    let dns = |name: &str| (format!("dns:{name}"), format!("{{ kind: \"dns\", name: \"{name}\" }}"));
    let ways = [
        vec![spiffe(DOMAINS[0], "main/ci-1")],
        vec![spiffe(DOMAINS[0], "main/ci-2")],
        vec![dns(HOSTS[0])],
        vec![spiffe(DOMAINS[1], "main/ci-1"), dns(HOSTS[0])],
    ];
    let forwarded = direct.iter().step_by(3).flat_map(|job| ways.iter().map(|way| through(job, way)));
    let forwarded: Vec<_> = forwarded.collect();
    direct.into_iter().chain(forwarded).collect()
}

/// Returns a caller as brokers forward it, each by our name and as a Cedar record.
fn through(job: &Both<Caller>, way: &[(String, String)]) -> Both<Caller> {
    let names: Vec<_> = way.iter().map(|(ours, _)| ours.as_str()).collect();
    let ours = Caller::forwarded(job.ours.clone(), names.join(",").parse().unwrap()).unwrap();
    let records = way.iter().enumerate().map(|(index, (_, theirs))| format!(", b{index}: {theirs}"));
    let via = format!(", via: {{ count: {}{} }} }}", way.len(), records.collect::<String>());
    Both { ours, theirs: job.theirs.trim_end().strip_suffix('}').unwrap().trim_end().to_owned() + &via }
}

fn direct_callers() -> Vec<Both<Caller>> {
    let mut callers: Vec<_> =
        [Caller::Loopback, Caller::AwsApi].map(|ours| Both { theirs: format!("{{ kind: \"{ours}\" }}"), ours }).into();
    for (uid, gid) in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (3, 3)] {
        let theirs = format!("{{ kind: \"process\", uid: {uid}, gid: {gid} }}");
        callers.push(Both { ours: Caller::process(uid, gid).unwrap(), theirs });
    }
    for domain in DOMAINS {
        for path in ["ci", "main", "ci/ci-1", "ci/main", "main/4", "ci/ci-1/ci-2", "ci/main/4"] {
            let theirs = format!("{{ kind: \"spiffe\", domain: \"{domain}\", path: {} }}", record(path));
            callers.push(Both { ours: Caller::spiffe(&format!("spiffe://{domain}/{path}")).unwrap(), theirs });
        }
    }
    for name in HOSTS {
        let theirs = format!("{{ kind: \"dns\", name: \"{name}\" }}");
        callers.push(Both { ours: format!("dns:{name}").parse().unwrap(), theirs });
    }
    for issuer in ISSUERS {
        for subject in ["ci", "ci:ci-1", "ci/ci-1", "ci:ci-2", "main:ci:ci-2", "main/ci:4"] {
            for claims in [&[][..], &[("namespace", "ci-1")], &[("ref", "ci/main"), ("repository_id", "4")]] {
                let own = claims.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
                let caller: Caller = format!("jwt:{issuer}:{subject}").parse().unwrap();
                let claims: Vec<_> = claims.iter().map(|(name, text)| format!("{name}: {}", record(text))).collect();
                let theirs = format!(
                    "{{ kind: \"token\", issuer: \"{issuer}\", subject: {}, claims: {{ {} }} }}",
                    record(subject),
                    claims.join(", ")
                );
                callers.push(Both { ours: caller.with_claims(own).unwrap(), theirs });
            }
        }
    }
    callers
}

fn registries() -> Vec<Both<Registry>> {
    let public = "{ public: true, account: \"\", region: \"\" }".to_owned();
    let mut registries = vec![Both { ours: Registry::PUBLIC, theirs: public }];
    for region in REGIONS {
        for account in ACCOUNTS.into_iter().chain([""]) {
            let ours = PrivateRegistry::new(account.parse().ok(), region.parse().unwrap(), EndpointVariant::default());
            let theirs = format!("{{ public: false, account: \"{account}\", region: \"{region}\" }}");
            registries.push(Both { ours: Registry::Private(ours.unwrap()), theirs });
        }
    }
    registries
}

/// Every possible request. A Cedar request takes longer to build than to decide, so each is built once.
struct Requests {
    callers: Vec<Both<Caller>>,
    registries: Vec<Both<Registry>>,
    /// Cedar's requests, by caller, registry and profile.
    for_cedar: Vec<Request>,
    no_entities: Entities,
    cedar: Authorizer,
}

impl Requests {
    fn new() -> Self {
        let (callers, registries) = (callers(), registries());
        let entity = |text| EntityUid::from_str(text).unwrap();
        let mut requests = Vec::new();
        for caller in &callers {
            for registry in &registries {
                for profile in PROFILES {
                    let parts = [
                        ("caller", caller.theirs.clone()),
                        ("registry", registry.theirs.clone()),
                        ("profile", format!("\"{profile}\"")),
                    ];
                    let parts =
                        parts.map(|(name, text)| (name.to_owned(), RestrictedExpression::from_str(&text).unwrap()));
                    let context = Context::from_pairs(parts).unwrap();
                    let (principal, action, resource) =
                        (entity("A::\"c\""), entity("Action::\"get\""), entity("A::\"r\""));
                    requests.push(Request::new(principal, action, resource, context, None).unwrap());
                }
            }
        }
        Self { callers, registries, for_cedar: requests, no_entities: Entities::empty(), cedar: Authorizer::new() }
    }

    fn request(&self, caller: usize, registry: usize, profile: usize) -> &Request {
        &self.for_cedar[(caller * self.registries.len() + registry) * PROFILES.len() + profile]
    }

    /// Returns Cedar's verdict and the first policy that applies.
    fn cedar_verdict(&self, policies: &PolicySet, request: &Request) -> (Verdict, Option<usize>) {
        let response = self.cedar.is_authorized(request, policies, &self.no_entities);
        assert_eq!(response.diagnostics().errors().count(), 0, "{:?}", response.diagnostics());
        let first = response.diagnostics().reason().map(|id| id.to_string().parse().unwrap()).min();
        (response.decision(), first)
    }

    /// Returns the expected decision: the first allow that covers the request decides, with its profile, and a matching deny wins.
    fn expected(
        &self,
        rules: &[Rule],
        (allows, all): (&PolicySet, &PolicySet),
        asked: (usize, usize, usize),
    ) -> String {
        let (caller, registry, profile) = asked;
        let (_, allowed) = self.cedar_verdict(allows, self.request(caller, registry, profile));
        let own = allowed.and_then(|index| rules[index].profile);
        let profile = own.map_or(profile, |own| PROFILES.iter().position(|one| *one == own).unwrap());
        let denies = rules.iter().any(|rule| rule.deny);
        // Without denies the second question to Cedar could not change the verdict.
        let (verdict, first) = match (denies, allowed) {
            (true, _) => self.cedar_verdict(all, self.request(caller, registry, profile)),
            (false, Some(_)) => (Verdict::Allow, allowed),
            (false, None) => (Verdict::Deny, None),
        };
        match (verdict, allowed, first) {
            (Verdict::Allow, Some(allowed), _) => format!("allowed by {allowed}"),
            (Verdict::Deny, _, Some(first)) => format!("denied by {first}"),
            (Verdict::Deny, _, None) => "denied".to_owned(),
            (Verdict::Allow, None, first) => panic!("{first:?} allows a request that no permit covers"),
        }
    }

    fn compare(&self, rules: &[Rule], seed: u64) -> Result<(), TestCaseError> {
        let set = |keep: fn(&Rule) -> bool| {
            let mut set = PolicySet::new();
            let kept = rules.iter().enumerate().filter(|(_, rule)| keep(rule));
            for (index, rule) in kept {
                set.add(rule.cedar(index)).unwrap();
            }
            set
        };
        let (allows, all) = (set(|rule| !rule.deny), set(|_| true));
        let policy = policy_of(rules);
        let indexed = IndexedPolicy::from(policy.clone());
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..REQUESTS {
            let (caller, registry) = (random.usize(..self.callers.len()), random.usize(..self.registries.len()));
            let profile = random.usize(..PROFILES.len());
            let expected = self.expected(rules, (&allows, &all), (caller, registry, profile));
            let (caller, registry) = (&self.callers[caller].ours, &self.registries[registry].ours);
            let decision = indexed.decide(caller, registry, PROFILES[profile]);
            prop_assert_eq!(decision, policy.decide(caller, registry, PROFILES[profile]));
            let decided = match decision {
                Decision::Allow { grant } => format!("allowed by {}", grant.unwrap().id),
                Decision::Deny { grant: Some(grant) } => format!("denied by {}", grant.id),
                Decision::Deny { grant: None } => "denied".to_owned(),
            };
            prop_assert_eq!(decided, expected, "{} {:?} {:?}", caller, registry, PROFILES[profile]);
        }
        Ok(())
    }
}

fn policy_of(rules: &[Rule]) -> Policy {
    Policy::Grants(rules.iter().enumerate().map(|(index, rule)| rule.grant(index)).collect())
}

/// Compares random policies on every core.
fn compare_policies(policies: u32) {
    let requests = Requests::new();
    let threads = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    std::thread::scope(|scope| {
        let run = || {
            let config = Config { cases: policies.div_ceil(threads), failure_persistence: None, ..Config::default() };
            let strategy = (prop::collection::vec(rule(), 0..6), any::<u64>());
            TestRunner::new(config).run(&strategy, |(rules, seed)| requests.compare(&rules, seed)).unwrap();
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn million_decisions_match_cedar() {
    compare_policies(1_000);
}

/// `cargo test --test oracle -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn ten_million_decisions_match_cedar() {
    compare_policies(10_000);
}

/// Policies of many grants, of which the index leaves out most.
#[test]
fn decisions_by_the_index_match_those_over_all_grants() {
    let (callers, registries) = (callers(), registries());
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let strategy = (prop::collection::vec(rule(), 0..100), any::<u64>());
    let compare = |(rules, seed): (Vec<Rule>, u64)| {
        let policy = policy_of(&rules);
        let indexed = IndexedPolicy::from(policy.clone());
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..REQUESTS {
            let (caller, registry) = (random.choice(&callers).unwrap(), random.choice(&registries).unwrap());
            let (caller, registry, profile) = (&caller.ours, &registry.ours, random.choice(PROFILES).unwrap());
            let expected = policy.decide(caller, registry, profile);
            prop_assert_eq!(indexed.decide(caller, registry, profile), expected, "{} {:?}", caller, registry);
            prop_assert!(indexed.grants_of(caller).eq(policy.grants_of(caller)), "{}", caller);
        }
        Ok(())
    };
    TestRunner::new(config).run(&strategy, compare).unwrap();
}
