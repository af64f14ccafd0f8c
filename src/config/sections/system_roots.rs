//! `SSL_CERT_FILE` and `SSL_CERT_DIR`: variables that name other root certificates than the system's, for every TLS client of the
//! broker.

use std::env;
use std::path::PathBuf;

use rustls_native_certs::load_certs_from_paths;

use crate::config::reader::Reader;
use crate::trusted_file::{self, TrustedFileError};

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// The places that the variables name.
struct Places {
    file: Option<PathBuf>,
    directories: Vec<PathBuf>,
}

/// Reports places that another user can change, and variables that name no certificate at all: then each call to AWS would fail.
pub(super) fn check(reader: &mut Reader<'_>) {
    let directories = reader.variable(DIRECTORIES).map(env::split_paths).into_iter().flatten();
    let directories = directories.filter(|path| !path.as_os_str().is_empty()).collect();
    let places = Places { file: reader.variable(FILE).map(PathBuf::from), directories };
    let mut problems = places.distrusted();
    if problems.is_empty() {
        problems.extend(places.without_certificate());
    }
    for (variable, problem) in problems {
        reader.report_at(variable.to_owned(), problem);
    }
}

impl Places {
    fn distrusted(&self) -> Vec<(&'static str, String)> {
        let file = self.file.iter().map(|path| (FILE, path, trusted_file::read(path).map(drop)));
        let directories = self.directories.iter().map(|path| (DIRECTORIES, path, trusted_file::check_directory(path)));
        file.chain(directories)
            .filter_map(|(variable, path, judged)| {
                let error = judged.err().filter(TrustedFileError::is_distrust)?;
                Some((variable, format!("{} {error}", path.display())))
            })
            .collect()
    }

    /// Returns the problem of the first place, if none has a certificate.
    fn without_certificate(&self) -> Option<(&'static str, String)> {
        let file = self.file.iter().map(|path| (FILE, load_certs_from_paths(Some(path), None)));
        let directories = self.directories.iter().map(|path| (DIRECTORIES, load_certs_from_paths(None, Some(path))));
        let found: Vec<_> = file.chain(directories).collect();
        let (variable, first) = found.first().filter(|_| found.iter().all(|(_, found)| found.certs.is_empty()))?;
        let reason = first.errors.first().map_or_else(|| "it has none in PEM format".to_owned(), ToString::to_string);
        Some((variable, format!("cannot read a root certificate: {reason}; correct or unset the variable")))
    }
}

#[cfg(test)]
mod tests;
