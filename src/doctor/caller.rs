//! Who the broker takes this caller for.

use tonic::Code;

use super::reason;
use super::report::{Finding, Outcome};
use super::settings::EffectiveSettings;
use crate::client::{Address, Client, Failure, GetCallerIdentityResponse, Settings};
use crate::exit_code::Exit;

const NAME_IT: &str = "name the address: --address, ECR_BROKER_ADDRESS, or address in client.toml";
const KEPT_BACK: &str = "the token was not sent, for nobody named this address, and it is in the clear";

/// Gives the principal.
pub(super) async fn check(client: &Client<'_>, effective: &EffectiveSettings) -> Outcome<String> {
    let settings = &effective.settings;
    let kept_back = settings.token_file.is_some() && !settings.addresses_configured;
    let kept_back = kept_back && matches!(client.address(), Address::Plain(_));
    match client.caller_identity().await {
        Ok(identity) => (known(&identity, kept_back), Some(identity.principal)),
        Err(failure) => (unknown(&failure, settings, kept_back), None),
    }
}

fn known(identity: &GetCallerIdentityResponse, kept_back: bool) -> Finding {
    let grants = match identity.grant_ids.as_slice() {
        [] if !identity.grants_configured => "none are configured: everybody may have everything".to_owned(),
        [] => "none is about this caller".to_owned(),
        ids => ids.join(", "),
    };
    let finding = Finding::ok(format!("{}: {}", identity.principal, identity.proof)).note(format!("grants: {grants}"));
    if kept_back { finding.note(KEPT_BACK).fix(NAME_IT) } else { finding }
}

fn unknown(failure: &Failure, settings: &Settings, kept_back: bool) -> Finding {
    let finding = Finding::fail(Exit::from(failure), failure.to_string());
    if failure.code != Code::Unauthenticated {
        return finding.fix(reason::fix(failure, None));
    }
    if kept_back {
        // Whatever the broker says, it says of somebody who came without it.
        return finding.note(KEPT_BACK).fix(NAME_IT);
    }
    let says = |text: &str| failure.message.contains(text);
    finding.fix(if says("of the future") {
        "set this machine's clock, and the broker's"
    } else if says("takes no bearer tokens") {
        "leave token_file out, or have those who run the broker name the token's issuer ([[authentication.jwt]])"
    } else if settings.token_file.is_some() {
        "have a token written to token_file that the broker takes: of an issuer that its [[authentication.jwt]] names, with that one's audience, and not expired"
    } else if settings.tls_identity.is_some() {
        "get a certificate that names you, of an authority in the broker's authentication.client_ca or client_dns, and not expired"
    } else {
        "say who you are: --token-file with a token, or --tls-cert and --tls-key with a certificate; on the broker's own host its Unix socket takes neither"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{PartialConfig, Paths};

    #[test]
    fn a_token_that_was_kept_back_is_not_blamed() {
        let refused = tonic_types::Status { code: Code::Unauthenticated.into(), ..tonic_types::Status::default() };
        let given = PartialConfig { token_file: Some("/run/token".into()), ..PartialConfig::default() };
        let (settings, _) = given.settings(&Paths::default()).unwrap();
        for (kept_back, said, unsaid) in [(true, NAME_IT, "token_file"), (false, "written to token_file", NAME_IT)] {
            let told = format!("{:?}", unknown(&Failure::from(refused.clone()), &settings, kept_back));
            assert!(told.contains(said) && !told.contains(unsaid), "{told}");
        }
    }
}
