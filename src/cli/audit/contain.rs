//! `audit contain`: the commands that end the sessions behind valid credentials, and what they do not reach.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::found::{Found, count, put_role_policy, time};
use crate::audit::live::LONGEST_VALIDITY;
use crate::audit::revocation::{Minted, MintedCredentials, POLICY_NAME, by_minter, policy};
use crate::quoted::Visible;
use crate::terminal::{Format, print_line};

/// Steps before the commands.
const FIRST: &str = "\
1. Stop the callers from getting new credentials: remove their grants, certificates or accounts.
2. Run the commands below, each with rights in the account of its role. Run audit contain again if a
   caller could still get credentials after this output was made.";
/// Steps after the commands.
const THEN: &str = "\
3. Stop and start each broker: systemctl stop ecr-broker, then start. It drops cached credentials and
   gets new sessions. A restart may keep them. Until then its calls to AWS are denied too.
4. Pull with an old credential: it must fail. See the limits.";
const LIMITS: [&str; 7] = [
    "Not verified: that ECR refuses a token once the session behind it is revoked. Try it, see step 4.",
    "Every session of the role from before that time (by this machine's clock) is denied everything, also \
     those of other programs.",
    "The sessions of all brokers with the role are among them, and so are those of their other callers.",
    "The role of an EC2 instance, ECS task or pod: AWS may serve the same session for hours, so that a new \
     start of the broker gets no other. Replace the instance or task, or give it another role.",
    "Access keys of users have no issue time, and managed roles take no policy: see each of them above.",
    "ECR Public: its tokens are bearer tokens of STS, and that they are refused is not verified either.",
    "IAM needs up to minutes to take effect. A put-role-policy replaces a policy of the same name.",
];

pub(super) fn print(found: &Found, now: SystemTime, format: Format) -> anyhow::Result<()> {
    // The next second: IAM compares whole seconds, and a session of this one must not escape.
    let (before, minters) = (time(now + Duration::from_secs(1)), by_minter(&found.held));
    match format {
        Format::Json => print_line(as_json(found, &before, &minters)),
        Format::Text => print_line(script(found, &before, &minters, now)),
    }
}

fn script(found: &Found, before: &str, minters: &[MintedCredentials], now: SystemTime) -> String {
    let mut parts = vec![comment(&format!("{}\n{}", found.extent(), found.summary()))];
    if !minters.is_empty() {
        parts.push(comment(FIRST));
        parts.extend(minters.iter().map(|one| part(one, before)));
        parts.push(comment(THEN));
        parts.push(
            comment(&format!("5. After {} each policy can go:", time(now + LONGEST_VALIDITY))) + &removals(minters),
        );
        parts.push(comment(&format!("Limits:\n- {}", LIMITS.join("\n- "))));
    }
    parts.join("\n#\n")
}

/// Returns the command for one minter, or what to do instead.
fn part(one: &MintedCredentials, before: &str) -> String {
    let profiles: Vec<_> = one.profiles.iter().map(|name| Visible(name).to_string()).collect();
    let name = if one.arn.is_empty() { "An unnamed identity".to_owned() } else { Visible(&one.arn).to_string() };
    let credentials = count(one.count, "credential");
    let head = format!(
        "{name} minted {credentials} (profile {}), the last valid until {}",
        profiles.join(", "),
        time(one.until)
    );
    match &one.minted {
        Minted::ByRole { account, name } => {
            comment(&format!("{head}. In account {account}:")) + "\n" + &attach(name, before)
        }
        Minted::ByUnnamed => {
            comment(&format!("{head}.\nNot contained: {}:\n{}", one.minted.advice(), attach("ROLE", before)))
        }
        other => comment(&format!("{head}.\nNot contained: {}.", other.advice())),
    }
}

fn attach(role: &str, before: &str) -> String {
    put_role_policy(role, POLICY_NAME, &policy(before))
}

fn removals(minters: &[MintedCredentials]) -> String {
    let roles = minters.iter().filter_map(|one| match &one.minted {
        Minted::ByRole { name, .. } => Some(name.as_str()),
        Minted::ByUnnamed => Some("ROLE"),
        _ => None,
    });
    let command = |role| format!("\n# aws iam delete-role-policy --role-name {role} --policy-name {POLICY_NAME}");
    roles.map(command).collect()
}

/// Returns lines of a shell's comment.
fn comment(text: &str) -> String {
    text.lines().map(|line| format!("# {line}")).collect::<Vec<_>>().join("\n")
}

fn as_json(found: &Found, before: &str, minters: &[MintedCredentials]) -> Value {
    let (from, to) = &found.read.times;
    let (roles, others): (Vec<_>, Vec<_>) = minters.iter().partition(|one| matches!(one.minted, Minted::ByRole { .. }));
    json!({
        "records": found.read.records, "damaged": found.read.damaged, "from": from, "to": to, "at": time(found.at),
        "revoke_before": before,
        "roles": roles.into_iter().map(|one| minter(one, before)).collect::<Vec<_>>(),
        "not_contained": others.into_iter().map(|one| minter(one, before)).collect::<Vec<_>>(),
        "limits": if minters.is_empty() { &[][..] } else { &LIMITS[..] },
    })
}

fn minter(one: &MintedCredentials, before: &str) -> Value {
    let MintedCredentials { arn, minted, profiles, count, until, has_public } = one;
    let mut value = json!({
        "minted_by": arn, "profiles": profiles, "credentials": count, "valid_until": time(*until), "ecr_public": has_public,
    });
    let more = match minted {
        Minted::ByRole { account, name } => json!({
            "account_id": account.to_string(), "role_name": name,
            "policy_name": POLICY_NAME, "policy": policy(before), "command": attach(name, before),
        }),
        other => json!({ "advice": other.advice() }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}
