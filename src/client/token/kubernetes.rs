//! Projected service account token of a pod. kubelet writes the next one before it ends.

use std::path::Path;

use super::audience;
use super::file;
use crate::bearer_token::BearerToken;

/// Reads the token, unless it is for another audience: the API server's token must not leave the pod.
pub(super) fn read(path: &Path, expected: &str) -> Result<BearerToken, String> {
    if !path.exists() {
        return Err(format!(
            "token_source kubernetes: {} does not exist; mount a projected serviceAccountToken with audience {expected}",
            path.display()
        ));
    }
    let token = file::read(path)?;
    audience::check(&token, expected)
        .map_err(|problem| format!("token_source kubernetes: {} {problem}", path.display()))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    #[test]
    fn token_of_the_api_server_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let missing = read(&path, "ecr-broker").unwrap_err();
        assert!(missing.contains("does not exist; mount a projected serviceAccountToken"), "{missing}");
        let token =
            |aud: &str| format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(format!(r#"{{"aud":["{aud}"]}}"#).as_bytes()));
        std::fs::write(&path, token("https://kubernetes.default.svc")).unwrap();
        let refused = read(&path, "ecr-broker").unwrap_err();
        assert!(
            refused.contains("is for the audience \"https://kubernetes.default.svc\", not ecr-broker;"),
            "{refused}"
        );
        std::fs::write(&path, token("ecr-broker")).unwrap();
        assert_eq!(read(&path, "ecr-broker").unwrap().expose(), token("ecr-broker"));
    }
}
