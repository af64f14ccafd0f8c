//! Step `caller`: asks the broker who the caller is.

use tonic::Code;

use super::finding::{Finding, StepResult};
use super::reason;
use super::settings::EffectiveSettings;
use super::shared_fixes::TOKEN_SOURCE_FAILED;
use crate::client::{Address, Client, Failure, GetCallerIdentityResponse, Settings, grants_text};

const SET_THE_ADDRESS: &str = "set the address: --address, ECR_BROKER_ADDRESS, or address in client.toml";
const TOKEN_NOT_SENT: &str =
    "the token was not sent: the default address is in the clear, and tokens go in the clear to a set address only";

/// Returns the principal.
pub(super) async fn check(client: &mut Client<'_>, effective: &EffectiveSettings) -> StepResult<String> {
    let settings = &effective.settings;
    let sent_in_clear = matches!(client.address(), Address::Plain(_));
    let token_not_sent = settings.tokens.is_some() && !settings.addresses_configured && sent_in_clear;
    match client.caller_identity().await {
        Ok(identity) => (identified(&identity, token_not_sent), Some(identity.principal)),
        Err(failure) => (failed(&failure, settings, token_not_sent), None),
    }
}

fn identified(identity: &GetCallerIdentityResponse, token_not_sent: bool) -> Finding {
    let grants = grants_text(identity);
    let finding = Finding::ok(format!("{}: {}", identity.principal, identity.proof)).note(format!("grants: {grants}"));
    if token_not_sent { finding.note(TOKEN_NOT_SENT).fix(SET_THE_ADDRESS) } else { finding }
}

fn failed(failure: &Failure, settings: &Settings, token_not_sent: bool) -> Finding {
    let finding = Finding::failed_call(failure);
    if failure.token_missing {
        return finding.fix(TOKEN_SOURCE_FAILED);
    }
    if failure.code != Code::Unauthenticated {
        return finding.fix(reason::fix(failure, None));
    }
    if token_not_sent {
        // The broker's message is about a caller without a token.
        return finding.note(TOKEN_NOT_SENT).fix(SET_THE_ADDRESS);
    }
    let cause = failure.metadata.get("cause").map(String::as_str);
    finding.fix(authentication_fix(cause, settings))
}

fn authentication_fix(cause: Option<&str>, settings: &Settings) -> &'static str {
    if cause == Some("TOKEN_NOT_YET_VALID") {
        "set this machine's clock, and the broker's"
    } else if cause == Some("TOKENS_NOT_ACCEPTED") {
        "remove token_file or token_source, or ask the operator to configure the token's issuer ([[authentication.jwt]])"
    } else if cause == Some("TOKEN_EXPIRED") {
        "put a new token into token_file, or find out why its renewal stopped; if it is new, set the clocks"
    } else if settings.tokens.as_ref().is_some_and(|tokens| tokens.source().file().is_none()) {
        "make issuer and audience of the broker's [[authentication.jwt]] those of the token; --audience sets the client's"
    } else if settings.tokens.is_some() {
        "put a token into token_file that is not expired, from an issuer in the broker's [[authentication.jwt]], for its audience"
    } else if settings.tls_identity.is_some() || settings.has_x509_svid {
        "get a certificate with your name from an authority in authentication.client_ca or client_dns; it must not be expired"
    } else {
        "authenticate: --token-file or --token-source, or --tls-cert with --tls-key; on the broker's own host its Unix socket needs neither"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{PartialConfig, Paths};

    #[test]
    fn token_that_was_not_sent_is_not_blamed() {
        let refused = tonic_types::Status { code: Code::Unauthenticated.into(), ..tonic_types::Status::default() };
        let config = PartialConfig { token_file: Some("/run/token".into()), ..PartialConfig::default() };
        let (settings, _) = config.settings(&Paths::default()).unwrap();
        for (token_not_sent, expected, unexpected) in
            [(true, SET_THE_ADDRESS, "into token_file"), (false, "into token_file", SET_THE_ADDRESS)]
        {
            let text = format!("{:?}", failed(&Failure::from(refused.clone()), &settings, token_not_sent));
            assert!(text.contains(expected) && !text.contains(unexpected), "{text}");
        }
    }

    #[test]
    fn authentication_fix_follows_the_cause_and_not_the_text() {
        let (settings, _) = PartialConfig::default().settings(&Paths::default()).unwrap();
        for (cause, word) in [
            (Some("TOKEN_NOT_YET_VALID"), "clock"),
            (Some("TOKENS_NOT_ACCEPTED"), "remove token_file"),
            (Some("TOKEN_EXPIRED"), "renewal"),
            (Some("CAUSE_OF_A_NEWER_BROKER"), "--token-file"),
            (None, "--token-file"),
        ] {
            assert!(authentication_fix(cause, &settings).contains(word), "{cause:?}");
        }
    }
}
