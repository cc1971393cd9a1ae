//! What is printed for people to paste into a shell.

/// An argument as a shell wants it.
pub(crate) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:~=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    // Within single quotes nothing but they themselves means anything.
    format!("'{}'", text.replace('\'', r"'\''"))
}
