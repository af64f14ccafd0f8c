//! Labels of failures: one value for each [`FailureClass`](crate::error::FailureClass), and those that the metric adds.

/// Defines an enum that is a label and has a value for each failure class: `failure_labels! { enum Class: "class" { Other = "other" } }`.
macro_rules! failure_labels {
    ($(#[$about:meta])* $visibility:vis enum $name:ident: $label:literal {
        $($(#[$about_value:meta])* $value:ident = $text:literal),* $(,)?
    }) => {
        $crate::metrics::labels! {
            $(#[$about])*
            $visibility enum $name: $label {
                Throttled = "throttled",
                Denied = "denied",
                NoCredentials = "no_credentials",
                Misconfigured = "misconfigured",
                ClockSkewed = "clock_skewed",
                Unavailable = "unavailable",
                InvalidResponse = "invalid_response",
                ParentDenied = "parent_denied",
                ParentUnavailable = "parent_unavailable",
                Overloaded = "overloaded",
                $($(#[$about_value])* $value = $text),*
            }
        }

        impl From<$crate::error::FailureClass> for $name {
            fn from(class: $crate::error::FailureClass) -> Self {
                use $crate::error::FailureClass;
                match class {
                    FailureClass::Throttled => Self::Throttled,
                    FailureClass::Denied => Self::Denied,
                    FailureClass::NoCredentials => Self::NoCredentials,
                    FailureClass::Misconfigured => Self::Misconfigured,
                    FailureClass::ClockSkewed => Self::ClockSkewed,
                    FailureClass::Unavailable => Self::Unavailable,
                    FailureClass::InvalidResponse => Self::InvalidResponse,
                    FailureClass::ParentDenied => Self::ParentDenied,
                    FailureClass::ParentUnavailable => Self::ParentUnavailable,
                    FailureClass::Overloaded => Self::Overloaded,
                }
            }
        }
    };
}
pub(crate) use failure_labels;
