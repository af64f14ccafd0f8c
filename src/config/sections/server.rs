//! `[server]`, `[server.tls]` and `[authentication]`: listeners, connections and who may call.

use super::issuers;
use crate::address::ListenAddress;
use crate::authn::tls;
use crate::config::model::{AwsApi, Server};
use crate::config::reader::Reader;
use crate::config::settings;

pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Server {
    let mut count = |setting| usize::try_from(reader.get(setting)).unwrap_or(usize::MAX);
    let max_connections = count(&settings::MAX_CONNECTIONS);
    let max_connections_per_address = count(&settings::MAX_CONNECTIONS_PER_ADDRESS);
    let max_connections_per_uid = count(&settings::MAX_CONNECTIONS_PER_UID);
    let aws_api = read_aws_api(reader);
    Server {
        listen: read_listen(reader, aws_api.as_ref()),
        loopback: reader.get(&settings::LOOPBACK),
        drain_timeout: reader.get(&settings::DRAIN_TIMEOUT),
        max_connection_age: reader.get(&settings::MAX_CONNECTION_AGE),
        max_connections,
        max_connections_per_address,
        max_connections_per_uid,
        aws_api,
        tls: read_tls(reader),
        issuers: issuers::read(reader),
    }
}

/// What was handed over is listened on beside what is configured, or instead of the default places.
fn read_listen(reader: &mut Reader<'_>, aws_api: Option<&AwsApi>) -> Vec<ListenAddress> {
    let mut listen = reader.get(&settings::LISTEN);
    let taken = aws_api.map(|api| ListenAddress::Tcp(api.listen));
    let further = reader.handed().iter().filter(|address| !listen.contains(address) && taken.as_ref() != Some(address));
    listen.extend(further.cloned().collect::<Vec<_>>());
    listen
}

/// Its callers show a secret, and so there has to be one.
fn read_aws_api(reader: &mut Reader<'_>) -> Option<AwsApi> {
    let (listen, secret_file) = (reader.get(&settings::AWS_API_LISTEN), reader.get(&settings::AWS_API_SECRET_FILE));
    match (listen, secret_file) {
        (Some(listen), Some(secret_file)) => return Some(AwsApi { listen, secret_file }),
        (Some(_), None) if reader.find(&settings::AWS_API_SECRET_FILE.about).is_none() => reader.report(
            &settings::AWS_API_LISTEN,
            "its callers show a secret; set server.aws_api_secret_file (--aws-api-secret-file) to the file that holds it, or where the broker is to make one",
        ),
        (None, Some(_)) if reader.find(&settings::AWS_API_LISTEN.about).is_none() => reader.report(
            &settings::AWS_API_SECRET_FILE,
            "it is the secret of the AWS API, which is not served; set server.aws_api_listen",
        ),
        _ => {}
    }
    None
}

fn read_tls(reader: &mut Reader<'_>) -> Option<tls::Settings> {
    let (certificate, key) = (reader.get(&settings::TLS_CERTIFICATE), reader.get(&settings::TLS_KEY));
    let (trust_domains, dns_names) = (reader.get(&settings::CLIENT_CA), reader.get(&settings::CLIENT_DNS));
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, Some(_)) => {
            reader.report(&settings::TLS_KEY, "it needs the certificate that it belongs to: server.tls.certificate");
            return None;
        }
        (Some(_), None) => {
            reader.report(&settings::TLS_CERTIFICATE, "it needs its key: server.tls.key");
            return None;
        }
        (None, None) => {
            let without = "client certificates are shown over TLS only; set server.tls.certificate and server.tls.key";
            if !trust_domains.is_empty() {
                reader.report(&settings::CLIENT_CA, without);
            }
            if !dns_names.is_empty() {
                reader.report(&settings::CLIENT_DNS, without);
            }
            return None;
        }
    };
    Some(tls::Settings { certificate, key, trust_domains, dns_names })
}
