//! Variables in words of a command line.

use std::collections::HashMap;

/// The text with the variables that are known in place of `$NAME`, `${NAME}` and `$(NAME)`. Others stay as they are.
pub(super) fn expand(text: &str, values: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, end) = match after.chars().next() {
            Some('{') => enclosed(after, '}'),
            Some('(') => enclosed(after, ')'),
            _ => {
                let end = after
                    .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        match values.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = &after[end..];
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Name between brackets, and where the text goes on.
fn enclosed(after: &str, close: char) -> (&str, usize) {
    match after.find(close) {
        // A default value is no part of the name.
        Some(end) => {
            let inside = &after[1..end];
            let name = inside.split([':', '-', '?']).next().unwrap_or_default();
            (name, end + 1)
        }
        None => ("", 0),
    }
}
