//! `SSL_CERT_FILE` and `SSL_CERT_DIR`: variables that name other root certificates than the system's, for every TLS client of the
//! broker.

use std::env;
use std::path::PathBuf;

use rustls_native_certs::load_certs_from_paths;

use crate::config::reader::Reader;
use crate::trusted_file::{self, TrustedFileError};

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// Reports variables that name no certificate at all, for then each call to AWS would fail, and a file that another user can replace.
pub(super) fn check(reader: &mut Reader<'_>) {
    let mut places = Vec::new();
    if let Some(file) = reader.variable(FILE).map(PathBuf::from) {
        if let Some(error) = trusted_file::read(&file).err().filter(TrustedFileError::is_distrust) {
            reader.report_at(FILE.to_owned(), format!("{} {error}", file.display()));
            return;
        }
        places.push((FILE, load_certs_from_paths(Some(&file), None)));
    }
    let directories: Vec<_> = reader.variable(DIRECTORIES).map(env::split_paths).into_iter().flatten().collect();
    for directory in directories.iter().filter(|path| !path.as_os_str().is_empty()) {
        places.push((DIRECTORIES, load_certs_from_paths(None, Some(directory))));
    }
    if places.iter().any(|(_, found)| !found.certs.is_empty()) {
        return;
    }
    if let Some((variable, found)) = places.first() {
        let reason = found.errors.first().map_or_else(|| "it has none in PEM format".to_owned(), ToString::to_string);
        let problem = format!("cannot read a root certificate: {reason}; correct or unset the variable");
        reader.report_at((*variable).to_owned(), problem);
    }
}

#[cfg(test)]
mod tests;
