//! Paths of the registry's API.

use http::Method;

/// The longest tag or digest.
const MAX_REFERENCE: usize = 128;

/// The object that a path below `/v2/` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `/v2/` itself, by which clients try their credentials.
    Base,
    /// A manifest by its tag or digest.
    Manifest { name: &'a str, reference: &'a str },
    /// A blob.
    Blob { name: &'a str, digest: &'a str },
    /// The collection of uploads, in which a push starts.
    Uploads { name: &'a str },
    /// An upload.
    Upload { name: &'a str, id: &'a str },
    /// The tags of a repository.
    Tags { name: &'a str },
}

impl<'a> Target<'a> {
    /// The action that starts a push.
    pub(super) const STARTS_PUSH: &'static str = "ecr:InitiateLayerUpload";

    pub(super) fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix("/v2/")?;
        if path.is_empty() {
            return Some(Self::Base);
        }
        // From the end: a repository's name may contain words of the API.
        let (rest, last) = path.rsplit_once('/')?;
        let (name, kind) = rest.rsplit_once('/')?;
        match (kind, last) {
            ("tags", "list") => Some(Self::Tags { name }),
            ("manifests", reference) if (1..=MAX_REFERENCE).contains(&reference.len()) => {
                Some(Self::Manifest { name, reference })
            }
            ("uploads", id) => {
                let name = name.strip_suffix("/blobs")?;
                Some(if id.is_empty() { Self::Uploads { name } } else { Self::Upload { name, id } })
            }
            ("blobs", digest) => Some(Self::Blob { name, digest }),
            _ => None,
        }
    }

    pub(super) fn repository(&self) -> Option<&'a str> {
        match *self {
            Self::Base => None,
            Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Tags { name } => Some(name),
        }
    }

    /// Returns the IAM action of a request; none for a request that is not served.
    pub(super) fn action(&self, method: &Method) -> Option<&'static str> {
        match (method, self) {
            (&Method::GET | &Method::HEAD, Self::Manifest { .. }) => Some("ecr:BatchGetImage"),
            (&Method::PUT, Self::Manifest { .. }) => Some("ecr:PutImage"),
            (&Method::GET, Self::Blob { .. }) => Some("ecr:GetDownloadUrlForLayer"),
            (&Method::HEAD, Self::Blob { .. }) => Some("ecr:BatchCheckLayerAvailability"),
            (&Method::GET, Self::Tags { .. }) => Some("ecr:ListImages"),
            (&Method::POST, Self::Uploads { .. }) => Some(Self::STARTS_PUSH),
            (&Method::PATCH, Self::Upload { .. }) => Some("ecr:UploadLayerPart"),
            (&Method::PUT, Self::Upload { .. }) => Some("ecr:CompleteLayerUpload"),
            _ => None,
        }
    }
}

/// Returns the digest in a query. Its colon may be escaped; the rest of a digest never is.
pub(super) fn digest_parameter(query: &str) -> String {
    let value = query.rsplit('&').find_map(|pair| pair.strip_prefix("digest="));
    value.unwrap_or_default().replace("%3A", ":").replace("%3a", ":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_names_one_object() {
        let (name, digest) = ("team/app", "sha256:00");
        for (path, target) in [
            ("/v2/", Some(Target::Base)),
            ("/v2/team/app/manifests/v1", Some(Target::Manifest { name, reference: "v1" })),
            ("/v2/team/app/manifests/sha256:00", Some(Target::Manifest { name, reference: digest })),
            ("/v2/team/app/blobs/sha256:00", Some(Target::Blob { name, digest })),
            ("/v2/team/app/blobs/uploads/", Some(Target::Uploads { name })),
            ("/v2/team/app/blobs/uploads/1", Some(Target::Upload { name, id: "1" })),
            ("/v2/team/app/tags/list", Some(Target::Tags { name })),
            ("/v2/team/blobs/manifests/v1", Some(Target::Manifest { name: "team/blobs", reference: "v1" })),
            ("/v2/team/app/manifests/", None),
            ("/v2/_catalog", None),
            ("/v1/", None),
        ] {
            assert_eq!(Target::of(path), target, "{path}");
        }
    }

    #[test]
    fn digest_is_read_with_its_colon_escaped_or_not() {
        for query in ["digest=sha256:0f", "_state=x&digest=sha256%3A0f", "digest=sha256%3a0f&x=y"] {
            assert_eq!(digest_parameter(query), "sha256:0f");
        }
        assert_eq!(digest_parameter("digests=1"), "");
    }
}
