//! Names of objects in Kubernetes.

/// The longest name.
const LONGEST: usize = 253;

/// Parses a name that Kubernetes accepts.
///
/// # Errors
/// Returns what a name may consist of.
pub fn parse(text: &str) -> Result<String, &'static str> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let edges = [text.bytes().next(), text.bytes().last()];
    let good = edges.iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    if good && text.len() <= LONGEST && text.bytes().all(known) {
        Ok(text.to_owned())
    } else {
        Err("not a Kubernetes name; use a-z, 0-9, - and ., beginning and ending with a letter or digit")
    }
}
