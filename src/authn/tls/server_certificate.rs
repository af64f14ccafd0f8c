//! Mistakes in the broker's own certificate. It works with them for some clients only, so they are warnings.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

const OLD_VERSION: &str =
    "is X.509 version 1, which clients reject; issue it with extensions (openssl: -addext, -extfile)";
const AUTHORITY: &str =
    "is a CA certificate, which clients reject; with openssl req -x509 add -addext basicConstraints=critical,CA:FALSE";
const NAMELESS: &str =
    "has no subject alternative name, so it matches no host; with openssl add -addext subjectAltName=DNS:HOST";
const NOT_FOR_SERVERS: &str =
    "is not for servers; reissue it with extendedKeyUsage serverAuth (openssl: -addext extendedKeyUsage=serverAuth)";
const NOT_FOR_SIGNING: &str =
    "may not sign handshakes; reissue it with keyUsage digitalSignature (openssl: -addext keyUsage=digitalSignature)";
const MALFORMED: &str = "cannot be parsed; issue a new one";

/// Returns each mistake with its fix.
pub(super) fn mistakes(certificate: &CertificateDer<'_>, now: SystemTime) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return vec![MALFORMED.to_owned()] };
    let time = outside_validity(&certificate, now);
    if certificate.version() != X509Version::V3 {
        return time.into_iter().chain([OLD_VERSION.to_owned()]).collect();
    }
    let checks = [
        (is_authority(&certificate), AUTHORITY),
        (!has_name(&certificate), NAMELESS),
        (!is_for_servers(&certificate), NOT_FOR_SERVERS),
        (!may_sign(&certificate), NOT_FOR_SIGNING),
    ];
    let wrong = checks.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, mistake)| mistake.to_owned());
    time.into_iter().chain(wrong).collect()
}

fn outside_validity(certificate: &X509Certificate<'_>, now: SystemTime) -> Option<String> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let (start, end) = (certificate.validity().not_before, certificate.validity().not_after);
    if now > end.timestamp() {
        Some(format!("has expired, at {}; renew it", text(end)))
    } else if now < start.timestamp() {
        Some(format!("is not valid until {}; set the clock of this host, or of the CA's", text(start)))
    } else {
        None
    }
}

fn text(time: ASN1Time) -> String {
    time.to_rfc2822().unwrap_or_else(|_| time.timestamp().to_string())
}

fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    certificate.is_ca()
}

fn has_name(certificate: &X509Certificate<'_>) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    let is_host = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
    names.is_some_and(|names| names.value.general_names.iter().any(is_host))
}

/// A certificate without the extension is for every purpose.
fn is_for_servers(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.extended_key_usage().ok().flatten();
    usage.is_none_or(|usage| usage.value.server_auth || usage.value.any)
}

fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    let usage = certificate.key_usage().ok().flatten();
    usage.is_none_or(|usage| usage.value.digital_signature())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

    use super::*;

    fn mistakes_of(change: impl FnOnce(&mut CertificateParams), year: i32) -> Vec<String> {
        let mut params = CertificateParams::new(vec!["broker.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2030, 1, 1));
        change(&mut params);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        mistakes(certificate.der(), rcgen::date_time_ymd(year, 6, 1).into())
    }

    #[test]
    fn each_mistake_of_a_server_certificate_has_its_fix() {
        assert_eq!(mistakes_of(|_| {}, 2026), Vec::<String>::new());
        let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(mistakes_of(authority, 2026), [AUTHORITY]);
        assert_eq!(mistakes_of(|params| params.subject_alt_names.clear(), 2026), [NAMELESS]);
        let client = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        assert_eq!(mistakes_of(client, 2026), [NOT_FOR_SERVERS]);
        let both = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        };
        assert_eq!(mistakes_of(both, 2026), Vec::<String>::new());
        let encipherment = |params: &mut CertificateParams| {
            params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        };
        assert_eq!(mistakes_of(encipherment, 2026), [NOT_FOR_SIGNING]);
        let expired = mistakes_of(authority, 2031);
        assert!(expired[0].starts_with("has expired, at ") && expired[1] == AUTHORITY, "{expired:?}");
        assert!(mistakes_of(|_| {}, 2019)[0].starts_with("is not valid until "));
        assert_eq!(mistakes(&CertificateDer::from_slice(b"no certificate"), SystemTime::UNIX_EPOCH), [MALFORMED]);
    }
}
