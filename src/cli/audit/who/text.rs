//! The answer of `audit who` as text and as JSON. A record may be forged: its texts are shown only if they have no part
//! of the password.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::answer::{Answer, FoundCredential};
use crate::audit::index::{Held, Holder, IndexedLogs, Reach, Session};
use crate::audit::revocation::{self, Minted, POLICY_NAME, session_policy};
use crate::cli::audit::found::{count, put_role_policy, time};
use crate::cli::table::{Align, table};
use crate::quoted::Visible;
use crate::time_text::short;

const HEADINGS: [(&str, Align); 7] = [
    ("CALLER", Align::Left),
    ("REGISTRY", Align::Left),
    ("GRANT", Align::Left),
    ("PROFILE", Align::Left),
    ("RELEASES", Align::Right),
    ("FIRST", Align::Left),
    ("LAST", Align::Left),
];
const LIMITS: [&str; 5] = [
    "Not verified: that ECR refuses a token once the session behind it is denied. Pull with it: that must fail.",
    "A broker uses a session for up to an hour, and its credentials for 12. Stop and start each one that has the role.",
    "Other programs with the role are not in the audit log; the statement for the role ends their sessions, too.",
    "Who holds the password without a broker is not in the audit log either: a job may have passed it on.",
    "IAM needs up to minutes to take effect. A put-role-policy replaces a policy of the same name.",
];
/// In place of a text that has a part of the password.
const REDACTED: &str = "[a part of the password]";
/// Maximum number of callers that a line of text and that JSON name.
const MAX_IN_TEXT: usize = 10;
const MAX_IN_JSON: usize = 1_000;

/// Returns what was read, as a sentence.
pub(super) fn extent(logs: &IndexedLogs) -> String {
    let damaged = match logs.extent.damaged {
        0 => String::new(),
        damaged => format!(", and {damaged} damaged ones"),
    };
    format!("Read {}{damaged}; {} of them now, the others by the index.", logs.extent.in_words(), logs.read_now)
}

pub(super) fn as_text(answer: &Answer) -> String {
    let mut lines = vec![extent(&answer.logs)];
    if answer.found.is_empty() {
        lines.push("No caller received a password that is on stdin, as far as these logs tell.".to_owned());
        let stated = answer.stated_expiry.map(|expiry| {
            let lasts = validity(expiry, answer.at);
            format!("One is an ECR password, which states {} as its expiry ({lasts}; not verified).", time(expiry))
        });
        lines.extend(stated);
    }
    answer.found.iter().for_each(|found| lines.extend(found.lines(answer.at)));
    if answer.found.iter().any(|found| found.is_valid(answer.at)) {
        lines.push(String::new());
        lines.extend(LIMITS.map(|limit| format!("# {limit}")));
    }
    lines.join("\n")
}

pub(super) fn as_json(answer: &Answer) -> Value {
    let (extent, (from, to)) = (&answer.logs.extent, &answer.logs.extent.times);
    let is_valid = answer.found.iter().any(|found| found.is_valid(answer.at));
    json!({
        "records": extent.records, "damaged": extent.damaged, "read_now": answer.logs.read_now,
        "from": from, "to": to, "at": time(answer.at),
        "stated_expiry": answer.stated_expiry.map(time),
        "credentials": answer.found.iter().map(|found| found.as_json(answer.at)).collect::<Vec<_>>(),
        "limits": if is_valid { &LIMITS[..] } else { &[] },
    })
}

fn validity(expiry: SystemTime, now: SystemTime) -> String {
    match expiry.duration_since(now) {
        Ok(left) if !left.is_zero() => format!("{} left", short(left)),
        _ => format!("expired {} ago", short(now.duration_since(expiry).unwrap_or_default())),
    }
}

/// A revocation: its policy, the command that attaches it, and whom it hits.
struct Revocation<'a> {
    name: String,
    policy: Value,
    command: String,
    reach: &'a Reach,
}

impl FoundCredential {
    fn expires(&self) -> SystemTime {
        self.leak.expires.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.expires() > now
    }

    /// Returns a text of a record, unless it has a part of the password.
    fn shown<'a>(&self, text: &'a str) -> &'a str {
        if self.leaked.is_in(text) { REDACTED } else { text }
    }

    fn visible(&self, text: &str) -> String {
        Visible(self.shown(text)).to_string()
    }

    fn lines(&self, now: SystemTime) -> Vec<String> {
        let bound = if self.leak.expires_is_latest { "at most " } else { "" };
        let sources: Vec<_> = self.leak.sources.iter().map(|source| self.visible(source)).collect();
        let head = [
            String::new(),
            format!("Credential ID: {}", self.leaked.id()),
            format!("Valid until:   {bound}{} ({})", time(self.expires()), validity(self.expires(), now)),
            format!("Source:        {}", sources.join(", ")),
            String::new(),
        ];
        let rows: Vec<_> = self.leak.holders.iter().map(|(holder, held)| self.row(holder, held)).collect();
        let sessions = self.leak.sessions.iter().flat_map(|session| self.session_lines(session, now));
        let more = self.leak.has_more.then(|| format!("There are more holders than these {}.", rows.len()));
        head.into_iter().chain(table(HEADINGS, &rows)).chain(more).chain(sessions).collect()
    }

    fn row(&self, holder: &Holder, held: &Held) -> [String; 7] {
        let Holder { caller, registry, alias, grant, profile } = holder;
        let registry = match self.visible(registry) {
            registry if alias.is_empty() => registry,
            registry => format!("{registry} (as {})", self.visible(alias)),
        };
        let [caller, grant, profile] = [caller, grant, profile].map(|text| self.visible(text));
        [caller, registry, grant, profile, held.count.to_string(), time(held.first), time(held.last)]
    }

    fn session_lines(&self, session: &Session, now: SystemTime) -> Vec<String> {
        let (minted_by, name) = (self.visible(&session.minted_by), self.visible(&session.name));
        let head = match (session.minted_by.is_empty(), session.name.is_empty()) {
            (true, _) => "Minted by an identity that the records do not name.".to_owned(),
            (false, true) => format!("Minted by {minted_by}, in a session that the records do not name."),
            (false, false) => format!("Minted by {minted_by}, in the session {name}."),
        };
        let mut lines = vec![String::new(), head];
        if !self.is_valid(now) {
            lines.push("The credential has expired: nothing is left to deny.".to_owned());
            return lines;
        }
        match self.of_session(session, now) {
            Some(one) => lines.extend(self.revocation_lines("this session alone", &one)),
            None => lines.push(
                "# No statement for this session alone: its name is not in the records, or could match others."
                    .to_owned(),
            ),
        }
        match self.of_role(session, now) {
            Ok(one) => lines.extend(self.revocation_lines("every session of the role", &one)),
            Err(advice) => lines.push(format!("# No statement for the identity: {advice}.")),
        }
        lines
    }

    fn revocation_lines(&self, what: &str, one: &Revocation<'_>) -> [String; 3] {
        let hits = self.hits(one.reach);
        let head = format!("# Deny {what}. It hits {hits}:");
        [String::new(), head, one.command.clone()]
    }

    fn hits(&self, reach: &Reach) -> String {
        let total = reach.callers.len();
        let names: Vec<_> = reach.callers.iter().take(MAX_IN_TEXT).map(|caller| self.visible(caller)).collect();
        let more = if total > names.len() { format!(" and {} more", total - names.len()) } else { String::new() };
        let bound = if reach.has_more { "at least " } else { "" };
        let credentials = count(reach.credentials, "valid credential");
        format!("{credentials} of {bound}{}: {}{more}", count(total, "caller"), names.join(", "))
    }

    /// Returns the revocation of the session alone; `None`: its name is unknown, or could match others.
    fn of_session(&self, session: &Session, now: SystemTime) -> Option<Revocation<'_>> {
        let Minted::ByRole { name: role, .. } = self.minted(session) else { return None };
        let policy = session_policy(self.shown(&session.name), self.has_source_identity, &before(now))?;
        // One name for each credential: a policy replaces another of its name.
        let name = format!("ecr-broker-revoke-{}", self.leaked.id());
        let command = put_role_policy(&role, &name, &policy);
        Some(Revocation { name, policy, command, reach: &self.reaches.get(session)?.of_session })
    }

    /// Returns the revocation of all sessions of the role, or what to do instead.
    fn of_role(&self, session: &Session, now: SystemTime) -> Result<Revocation<'_>, &'static str> {
        let minted = self.minted(session);
        let reach = self.reaches.get(session).map(|reaches| &reaches.of_role);
        let (Minted::ByRole { name: role, .. }, Some(reach)) = (&minted, reach) else { return Err(minted.advice()) };
        let policy = revocation::policy(&before(now));
        let command = put_role_policy(role, POLICY_NAME, &policy);
        Ok(Revocation { name: POLICY_NAME.to_owned(), policy, command, reach })
    }

    fn minted(&self, session: &Session) -> Minted {
        Minted::of(self.shown(&session.minted_by))
    }

    fn as_json(&self, now: SystemTime) -> Value {
        let text = |text: &str| Some(self.shown(text).to_owned()).filter(|text| !text.is_empty());
        let holder = |(holder, held): (&Holder, &Held)| {
            json!({
                "caller": text(&holder.caller), "registry": text(&holder.registry), "alias": text(&holder.alias),
                "grant": text(&holder.grant), "profile": text(&holder.profile), "releases": held.count,
                "first_release": time(held.first), "last_release": time(held.last),
            })
        };
        let sources: Vec<_> = self.leak.sources.iter().filter_map(|source| text(source)).collect();
        json!({
            "credential_id": self.leaked.id().to_string(), "expires": time(self.expires()),
            "expires_is_latest": self.leak.expires_is_latest, "is_valid": self.is_valid(now), "sources": sources,
            "has_more_holders": self.leak.has_more,
            "holders": self.leak.holders.iter().map(holder).collect::<Vec<_>>(),
            "sessions": self.leak.sessions.iter().map(|one| self.session_json(one, now)).collect::<Vec<_>>(),
        })
    }

    fn session_json(&self, session: &Session, now: SystemTime) -> Value {
        let text = |text: &str| Some(self.shown(text).to_owned()).filter(|text| !text.is_empty());
        let (account, role) = match self.minted(session) {
            Minted::ByRole { account, name } => (Some(account.to_string()), Some(name)),
            _ => (None, None),
        };
        let (of_session, of_role) = if self.is_valid(now) {
            let of_role = self.of_role(session, now);
            let of_role = of_role.map_or_else(|advice| json!({ "advice": advice }), |one| self.revocation_json(&one));
            (self.of_session(session, now).map(|one| self.revocation_json(&one)), of_role)
        } else {
            (None, Value::Null)
        };
        json!({
            "minted_by": text(&session.minted_by), "role_session": text(&session.name),
            "account_id": account, "role_name": role, "deny_session": of_session, "deny_role": of_role,
        })
    }

    fn revocation_json(&self, one: &Revocation<'_>) -> Value {
        let callers: Vec<_> = one.reach.callers.iter().take(MAX_IN_JSON).map(|caller| self.shown(caller)).collect();
        json!({
            "policy_name": one.name, "policy": one.policy, "command": one.command,
            "hits": { "credentials": one.reach.credentials, "callers": one.reach.callers.len(),
                "has_more_callers": one.reach.has_more, "caller_names": callers },
        })
    }
}

/// Returns the time before which sessions are denied: the next second, because IAM compares whole seconds.
fn before(now: SystemTime) -> String {
    time(now + Duration::from_secs(1))
}
