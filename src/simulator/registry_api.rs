//! The registry's own API below `/v2/`: pulls and pushes by tokens that were issued here.
//!
//! Enough of the OCI distribution API for docker, podman, skopeo, crane and containerd. A push creates its repository, as ECR does
//! with a repository creation template.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, RANGE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::json;

use super::answer::Answer;
use super::images::{Images, Refused};
use super::permission::{Access, repository_revokes, session_allows};
use super::repositories::Issued;
use super::simulated_aws::SimulatedAws;
use super::target::{Target, digest_parameter};
use crate::registry::Registry;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

type Reply = Response<Full<Bytes>>;

/// An error of the distribution API.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    challenge: Option<HeaderValue>,
}

/// Returns whether a request is for a registry.
pub(super) fn serves(head: &Parts) -> bool {
    head.uri.path().starts_with("/v2/")
}

/// Responds to one request. `id` is new and becomes the ID of an upload.
pub(super) async fn respond(aws: &SimulatedAws, (head, body): (Parts, Incoming), id: &str) -> Reply {
    let mut reply = serve(aws, (&head, body), id).await.unwrap_or_else(Refusal::into_reply);
    let (name, version) = API_VERSION;
    reply.headers_mut().insert(name, version);
    tracing::debug!(method = %head.method, status = reply.status().as_u16(), "registry answered");
    reply
}

async fn serve(aws: &SimulatedAws, (head, body): (&Parts, Incoming), id: &str) -> Result<Reply, Refusal> {
    let issued = authenticated(aws, head)?;
    let target = Target::of(head.uri.path()).ok_or_else(unsupported)?;
    if let Some(name) = target.repository() {
        let action = target.action(&head.method).ok_or_else(unsupported)?;
        authorize(aws, &issued, name, action)?;
    }
    // Only now, so that a peer without a token stores nothing.
    let room = aws.images().room();
    let body = Limited::new(body, room).collect().await.map_err(|_| refused(Refused::Full))?.to_bytes();
    let mut images = aws.images();
    match head.method {
        Method::GET | Method::HEAD => read(&images, &target),
        Method::PUT | Method::POST | Method::PATCH => write(&mut images, &target, (head, body), id),
        _ => Err(unsupported()),
    }
}

/// Returns the identity behind the token, if the host's registry accepts it.
fn authenticated(aws: &SimulatedAws, head: &Parts) -> Result<Issued, Refusal> {
    let host = host(head);
    if !answers_on(aws, host) {
        return Err(denied("the registry has no host of this kind"));
    }
    let token = text(&head.headers, &AUTHORIZATION).strip_prefix("Basic ").unwrap_or_default();
    let issued = aws.repositories().issued(token).ok_or_else(|| unauthenticated(host))?;
    if has_ended(aws, &issued) || issued.is_bearer && aws.gives(Answer::BearerRefused) {
        return Err(denied("the authorization token has expired; reauthenticate and try again"));
    }
    match host.parse() {
        Ok(Registry::Private(registry)) if issued.opens(&registry) => Ok(issued),
        Ok(_) => Err(denied("the token is for the registry of another account or region")),
        // A host of another kind: a loopback address or an alias.
        Err(_) => Ok(issued),
    }
}

/// Returns whether registries of the host's kind are there.
fn answers_on(aws: &SimulatedAws, host: &str) -> bool {
    let is_fips = host.contains(".dkr.ecr-fips.") || host.contains(".dkr-ecr-fips.");
    let is_dual_stack = host.contains(".dkr-ecr.") || host.contains(".dkr-ecr-fips.");
    !(is_fips && aws.gives(Answer::NoFips) || is_dual_stack && aws.gives(Answer::NoDualStack))
}

fn has_ended(aws: &SimulatedAws, issued: &Issued) -> bool {
    let now = aws.now();
    let session = issued.principal.session.as_ref().filter(|_| aws.gives(Answer::TokenEndsWithSession));
    now >= issued.ends || session.is_some_and(|session| now >= session.ends)
}

fn authorize(aws: &SimulatedAws, issued: &Issued, name: &str, action: &'static str) -> Result<(), Refusal> {
    let Issued { principal, region, .. } = issued;
    let partition = region.partition().name();
    let arn = format!("arn:{partition}:ecr:{region}:{}:repository/{name}", principal.account);
    let access = Access { action, resource: &arn };
    let is_narrowed = !aws.gives(Answer::PolicyIgnored) && !session_allows(principal, &access);
    let policy = aws.repositories().policy(name);
    let is_revoked = policy.iter().flatten().any(|policy| repository_revokes(policy, principal, &access))
        && !aws.gives(Answer::RevocationIgnored);
    if is_narrowed || is_revoked {
        return Err(denied("a policy does not allow this"));
    }
    let creates = Access { action: "ecr:CreateRepository", resource: &arn };
    if policy.is_err() && action == Target::STARTS_PUSH && session_allows(principal, &creates) {
        return aws
            .repositories()
            .create_if_absent(name)
            .map_err(|_| error(StatusCode::BAD_REQUEST, "NAME_INVALID", name));
    }
    policy.map(drop).map_err(|_| error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", name))
}

fn read(images: &Images, target: &Target<'_>) -> Result<Reply, Refusal> {
    match *target {
        Target::Base => Ok(reply(StatusCode::OK, [(CONTENT_TYPE, JSON)], "{}")),
        Target::Manifest { name, reference } => {
            let unknown = || error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", reference);
            let manifest = images.manifest(name, reference).ok_or_else(unknown)?;
            let headers = [(CONTENT_TYPE, manifest.media_type), (DIGEST, value(&manifest.digest))];
            Ok(reply(StatusCode::OK, headers, manifest.content))
        }
        Target::Blob { name, digest } => {
            let unknown = || error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", digest);
            let content = images.blob(name, digest).ok_or_else(unknown)?;
            Ok(reply(StatusCode::OK, [(CONTENT_TYPE, OCTETS), (DIGEST, value(digest))], content))
        }
        Target::Tags { name } => {
            let tags = json!({ "name": name, "tags": images.tags(name) });
            Ok(reply(StatusCode::OK, [(CONTENT_TYPE, JSON)], tags.to_string()))
        }
        Target::Uploads { .. } | Target::Upload { .. } => Err(unsupported()),
    }
}

fn write(images: &mut Images, target: &Target<'_>, (head, body): (&Parts, Bytes), id: &str) -> Result<Reply, Refusal> {
    match (&head.method, target) {
        (&Method::POST, Target::Uploads { name }) => {
            images.start_upload(name, id).map_err(refused)?;
            Ok(accepted(name, id, 0))
        }
        (&Method::PATCH, Target::Upload { name, id }) => {
            let length = images.append(name, id, &body).map_err(refused)?;
            Ok(accepted(name, id, length))
        }
        (&Method::PUT, Target::Upload { name, id }) => {
            let digest = digest_parameter(head.uri.query().unwrap_or_default());
            images.append(name, id, &body).map_err(refused)?;
            images.finish_upload(name, id, &digest).map_err(refused)?;
            Ok(created(&format!("/v2/{name}/blobs/{digest}"), &digest))
        }
        (&Method::PUT, Target::Manifest { name, reference }) => {
            let media_type = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(JSON);
            let digest = images.put_manifest(name, reference, (media_type, body)).map_err(refused)?;
            Ok(created(&format!("/v2/{name}/manifests/{digest}"), &digest))
        }
        _ => Err(unsupported()),
    }
}

/// Returns the answer to a part of an upload, of which `length` bytes are there.
fn accepted(name: &str, id: &str, length: usize) -> Reply {
    let location = value(&format!("/v2/{name}/blobs/uploads/{id}"));
    let range = value(&format!("0-{}", length.saturating_sub(1)));
    reply(StatusCode::ACCEPTED, [(LOCATION, location), (RANGE, range)], "")
}

fn created(location: &str, digest: &str) -> Reply {
    reply(StatusCode::CREATED, [(LOCATION, value(location)), (DIGEST, value(digest))], "")
}

fn reply<const N: usize>(status: StatusCode, headers: [(HeaderName, HeaderValue); N], body: impl Into<Bytes>) -> Reply {
    let body: Bytes = body.into();
    // Explicitly, for answers to HEAD.
    let length = HeaderValue::from(body.len());
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().extend(headers);
    reply.headers_mut().insert(CONTENT_LENGTH, length);
    reply
}

impl Refusal {
    fn into_reply(self) -> Reply {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let mut reply = reply(self.status, [(CONTENT_TYPE, JSON)], body.to_string());
        reply.headers_mut().extend(self.challenge.map(|challenge| (WWW_AUTHENTICATE, challenge)));
        reply
    }
}

fn refused(reason: Refused) -> Refusal {
    match reason {
        Refused::Full => denied("the simulated registry is full; restart it"),
        Refused::UnknownUpload => error(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "unknown upload"),
        Refused::OtherDigest => error(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the content has another digest"),
    }
}

fn unsupported() -> Refusal {
    error(StatusCode::NOT_FOUND, "UNSUPPORTED", "the simulated registry does not have this operation")
}

fn denied(message: &str) -> Refusal {
    error(StatusCode::FORBIDDEN, "DENIED", message)
}

fn unauthenticated(host: &str) -> Refusal {
    let challenge = value(&format!("Basic realm=\"https://{host}/\",service=\"ecr.amazonaws.com\""));
    let message = "the registry accepts only tokens that the simulated AWS issued";
    Refusal { challenge: Some(challenge), ..error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message) }
}

fn error(status: StatusCode, code: &'static str, message: &str) -> Refusal {
    Refusal { status, code, message: message.to_owned(), challenge: None }
}

/// Returns a header's value. Names, digests and IDs come from paths, which are visible ASCII.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Returns the host that the client addressed; a client behind a proxy also writes it into the request line.
fn host(head: &Parts) -> &str {
    head.uri.host().unwrap_or_else(|| text(&head.headers, &HOST))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
