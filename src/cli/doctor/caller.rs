//! Who the broker takes this caller for.

use tonic::Code;

use super::super::exit_code;
use super::reason;
use super::report::{Finding, Outcome};
use super::settings::InForce;
use crate::client::{Address, Client, Failure, GetCallerIdentityResponse};

/// Gives the principal.
pub(super) async fn ask(client: &Client<'_>, in_force: &InForce) -> Outcome<String> {
    match client.caller_identity().await {
        Ok(identity) => (known(&identity, client, in_force), Some(identity.principal)),
        Err(failure) => (unknown(&failure, in_force), None),
    }
}

fn known(identity: &GetCallerIdentityResponse, client: &Client<'_>, in_force: &InForce) -> Finding {
    let grants = match identity.grant_ids.as_slice() {
        [] if !identity.grants_configured => "none are configured: everybody may have everything".to_owned(),
        [] => "none is about this caller".to_owned(),
        ids => ids.join(", "),
    };
    let finding =
        Finding::good(format!("{}: {}", identity.principal, identity.proof)).noting(format!("grants: {grants}"));
    let kept_back = in_force.settings.token_file.is_some()
        && !in_force.settings.addresses_given
        && matches!(client.address(), Address::Plain(_));
    if kept_back {
        let note = "the token was not sent, for nobody named this address, and it is in the clear";
        return finding.noting(note).fix("name the address: --address, ECR_BROKER_ADDRESS, or address in client.toml");
    }
    finding
}

fn unknown(failure: &Failure, in_force: &InForce) -> Finding {
    let finding = Finding::broken(exit_code(failure), failure.to_string());
    if failure.code != Code::Unauthenticated {
        return finding.fix(reason::fix(failure, None));
    }
    let settings = &in_force.settings;
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
