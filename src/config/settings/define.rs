//! The macro behind the settings table.

/// Defines sections of settings: for each a struct, its reader and its metadata.
///
/// An entry is `key: Type = DEFAULT, value type, example EXAMPLE;`, and its doc comment is the explanation. Default and example are
/// TOML. Without a default the field has the `Default` of its type, such as `None`.
macro_rules! define_sections {
    ($(
        $(#[doc = $section_doc:literal])+
        $section:literal $Struct:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty $(= $default:tt)?, $values:expr $(, example $example:tt)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            pub(super) struct $Struct {
                $(
                    $(#[doc = $doc])+
                    pub(super) $key: $type,
                )+
            }

            impl $Struct {
                /// Reads the section's settings.
                pub(super) fn read(reader: &mut Reader<'_>) -> Self {
                    Self { $($key: reader.get(&Self::$key()),)+ }
                }

                $(
                    pub(super) const fn $key() -> Setting<$type> {
                        const VALUES: ValueType<$type> = $values;
                        let meta = SettingMeta {
                            section: $section,
                            key: stringify!($key),
                            default: concat!($(stringify!($default))?),
                            example: concat!($(stringify!($example))?),
                            env_format: VALUES.env_format,
                            expected: VALUES.expected,
                            doc: &[$($doc),+],
                        };
                        Setting { meta, read: VALUES.read }
                    }
                )+
            }
        )+

        /// Every section and its settings, in the order of the example.
        pub(super) const SECTIONS: &[Section] = &[
            $(Section { name: $section, doc: &[$($section_doc),+], settings: &[$($Struct::$key().meta),+] },)+
        ];
    };
}
