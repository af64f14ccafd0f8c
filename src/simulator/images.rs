//! Images of the simulated registries, in memory.
//!
//! Not in another registry: its htpasswd or token authentication could not check tokens that it never saw, and a proxy in front of
//! one would make demos need a second program.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::HeaderValue;
use sha2::{Digest as _, Sha256};

/// The most bytes of all images and uploads together.
const MAX_BYTES: usize = 256 * 1024 * 1024;
/// Bytes that an entry costs beside its content, so that empty entries are bounded too.
const ENTRY: usize = 1024;

/// Repositories by name, and uploads that have not ended. All accounts and regions share them.
#[derive(Debug, Default)]
pub(super) struct Images {
    repositories: HashMap<String, Repository>,
    uploads: HashMap<String, Upload>,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<String, Manifest>,
    /// Digests by tag.
    tags: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Upload {
    repository: String,
    content: Vec<u8>,
}

/// A manifest as it was pushed.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) digest: String,
    pub(super) media_type: HeaderValue,
    pub(super) content: Bytes,
}

/// Why an upload or a manifest is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The limit of bytes is reached.
    Full,
    /// The upload is unknown.
    UnknownUpload,
    /// The content has another digest.
    OtherDigest,
}

impl Images {
    /// Returns the bytes that fit in.
    pub(super) fn room(&self) -> usize {
        let stored: usize = self.repositories.values().map(Repository::bytes).sum();
        let uploaded: usize = self.uploads.values().map(|upload| ENTRY + upload.content.len()).sum();
        MAX_BYTES.saturating_sub(stored + uploaded)
    }

    pub(super) fn remove(&mut self, repository: &str) {
        self.repositories.remove(repository);
    }

    pub(super) fn start_upload(&mut self, repository: &str, id: &str) -> Result<(), Refused> {
        self.check_room(0)?;
        let upload = Upload { repository: repository.to_owned(), content: Vec::new() };
        self.uploads.insert(id.to_owned(), upload);
        Ok(())
    }

    /// Appends to an upload and returns its length.
    pub(super) fn append(&mut self, repository: &str, id: &str, part: &[u8]) -> Result<usize, Refused> {
        self.check_room(part.len())?;
        let upload = self.uploads.get_mut(id).filter(|upload| upload.repository == repository);
        let content = &mut upload.ok_or(Refused::UnknownUpload)?.content;
        content.extend_from_slice(part);
        Ok(content.len())
    }

    /// Ends an upload: its content becomes the blob with the digest.
    pub(super) fn finish_upload(&mut self, repository: &str, id: &str, digest: &str) -> Result<(), Refused> {
        self.append(repository, id, &[])?;
        let upload = self.uploads.remove(id).ok_or(Refused::UnknownUpload)?;
        if digest_of(&upload.content) != digest {
            return Err(Refused::OtherDigest);
        }
        self.repository(repository).blobs.insert(digest.to_owned(), upload.content.into());
        Ok(())
    }

    pub(super) fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        self.repositories.get(repository)?.blobs.get(digest).cloned()
    }

    /// Stores a manifest under its digest and, if `reference` is not a digest, under that tag. Returns the digest.
    pub(super) fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        (media_type, content): (HeaderValue, Bytes),
    ) -> Result<String, Refused> {
        self.check_room(content.len())?;
        let digest = digest_of(&content);
        let names_digest = reference.contains(':');
        if names_digest && reference != digest {
            return Err(Refused::OtherDigest);
        }
        let repository = self.repository(repository);
        let manifest = Manifest { digest: digest.clone(), media_type, content };
        repository.manifests.insert(digest.clone(), manifest);
        if !names_digest {
            repository.tags.insert(reference.to_owned(), digest.clone());
        }
        Ok(digest)
    }

    /// Returns a manifest by its tag or digest.
    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<Manifest> {
        let repository = self.repositories.get(repository)?;
        let digest = repository.tags.get(reference).map_or(reference, String::as_str);
        repository.manifests.get(digest).cloned()
    }

    /// Returns the tags of a repository, sorted.
    pub(super) fn tags(&self, repository: &str) -> Vec<String> {
        self.repositories.get(repository).into_iter().flat_map(|one| one.tags.keys().cloned()).collect()
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    fn check_room(&self, bytes: usize) -> Result<(), Refused> {
        if bytes + ENTRY > self.room() { Err(Refused::Full) } else { Ok(()) }
    }
}

impl Repository {
    fn bytes(&self) -> usize {
        let blobs = self.blobs.values().map(Bytes::len);
        let manifests = self.manifests.values().map(|one| one.content.len() + one.media_type.len());
        let contents: usize = blobs.chain(manifests).sum();
        contents + ENTRY * (1 + self.blobs.len() + self.manifests.len() + self.tags.len())
    }
}

fn digest_of(content: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: HeaderValue = HeaderValue::from_static("application/json");

    #[test]
    fn images_stay_within_the_limit_of_bytes() {
        let mut images = Images::default();
        images.start_upload("a", "1").unwrap();
        let most = images.room() - ENTRY;
        let part = vec![0; most + 1];
        assert_eq!(images.append("a", "1", &part), Err(Refused::Full));
        assert_eq!(images.append("a", "1", &part[1..]), Ok(most));
        assert_eq!(images.start_upload("a", "2"), Ok(()), "the last entry");
        assert_eq!(images.start_upload("a", "3"), Err(Refused::Full));
        assert_eq!(images.put_manifest("a", "v1", (JSON, Bytes::new())), Err(Refused::Full));
        assert_eq!(images.append("a", "2", &[]), Err(Refused::Full));
    }

    #[test]
    fn removed_repository_makes_room() {
        let mut images = Images::default();
        let empty = images.room();
        let digest = images.put_manifest("a", "v1", (JSON, Bytes::from_static(b"{}"))).unwrap();
        assert_eq!(images.manifest("a", "v1").unwrap().digest, digest);
        assert!(images.room() < empty && images.manifest("b", "v1").is_none());
        images.remove("a");
        assert!(images.room() == empty && images.manifest("a", &digest).is_none());
    }

    #[test]
    fn upload_ends_only_in_its_repository_and_with_its_digest() {
        let mut images = Images::default();
        images.start_upload("a", "1").unwrap();
        assert_eq!(images.append("b", "1", b"x"), Err(Refused::UnknownUpload));
        assert_eq!(images.append("a", "1", b"x"), Ok(1));
        assert_eq!(images.finish_upload("a", "1", "sha256:0"), Err(Refused::OtherDigest));
        assert_eq!(images.finish_upload("a", "1", &digest_of(b"x")), Err(Refused::UnknownUpload));
        images.start_upload("a", "2").unwrap();
        images.append("a", "2", b"x").unwrap();
        images.finish_upload("a", "2", &digest_of(b"x")).unwrap();
        assert_eq!(images.blob("a", &digest_of(b"x")).unwrap(), "x");
        let other = images.put_manifest("a", "sha256:0", (JSON, Bytes::from_static(b"{}")));
        assert_eq!(other, Err(Refused::OtherDigest));
    }
}
