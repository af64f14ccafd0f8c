//! The problems that stop a diagnosis: their texts and exit codes in one table.

use crate::exit_code::Exit;

macro_rules! problems {
    ($($name:ident, $exit:ident, $text:literal;)*) => {
        /// A problem that stops the diagnosis. Its text is constant: users search the documentation for it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Problem {
            $(#[doc = $text] $name,)*
        }

        impl Problem {
            /// Every problem, in the order of the steps.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the text at the start of the step's line, before the details.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns the exit code of the command.
            #[must_use]
            pub fn exit(self) -> Exit {
                match self { $(Self::$name => Exit::$exit,)* }
            }
        }
    };
}

// Errors that the broker returns are not in this table: their reason stands at the start of the line.
problems! {
    // settings
    SettingsInvalid, Failure, "client settings are invalid";
    FileUnreadable, Failure, "file cannot be read";
    TokenFileEmpty, Failure, "token file is empty or not text";
    TokenExpired, Denied, "token has expired";
    NoCertificateInFile, Failure, "file contains no PEM certificate";
    CaCertificatesExpired, Failure, "all CA certificates have expired";
    CertificateMalformed, Failure, "client certificate cannot be parsed";
    CertificateExpired, Denied, "client certificate has expired";
    CertificateOfAuthority, Denied, "client certificate is a CA certificate";
    NoKeyInFile, Failure, "file contains no PEM private key";
    // address
    BrokerUnreachable, Unavailable, "no broker answers";
    // health
    BrokerShuttingDown, Unavailable, "broker is shutting down";
    BrokerWithoutCredentials, Unavailable, "broker has no AWS credentials";
    // registries
    NothingGranted, Denied, "no grant allows this caller anything";
    // token
    NoExpiryTime, Failure, "credential has no issue or expiry time";
    IssuedInFuture, Failure, "credential was issued in the future";
    CredentialExpired, Failure, "credential has expired";
    // /v2/
    RegistryNameInvalid, Failure, "registry name is not a host";
    CredentialRefused, Denied, "registry refuses the credential";
    RegistryRedirects, Failure, "registry redirects to another host";
    RegistryUnavailable, Unavailable, "registry is unavailable";
    RegistryAnswerUnexpected, Failure, "registry answer is not expected";
    RegistryTlsFailed, Unavailable, "TLS to the registry failed";
    RegistryTimeout, Unavailable, "registry does not answer in time";
    RegistryNameUnresolved, Unavailable, "registry name cannot be resolved";
    RegistryUnreachable, Unavailable, "registry cannot be reached";
    // mode
    FallbackNotRunnable, Failure, "fallback program cannot be run";
    // tools
    HelperNotInPath, Failure, "credential helper is not in the PATH";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn problem_texts_differ_and_fit_on_a_line() {
        let texts: BTreeSet<_> = Problem::ALL.iter().map(|problem| problem.text()).collect();
        assert_eq!(texts.len(), Problem::ALL.len());
        assert!(texts.iter().all(|text| text.len() <= 40 && !text.contains([':', ';'])), "{texts:?}");
    }
}
