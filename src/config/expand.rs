//! `${ENV}` in the texts of the configuration file.

use std::ffi::OsString;

use crate::problem::Problem;

const ESCAPE: &str = "write $${ for a plain ${";

/// Replaces each `${NAME}` by the variable and each `$${` by `${`; also says whether there was a variable. An error repeats no
/// more of the text than a variable's name.
pub(super) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(String, bool), Problem> {
    let mut full = String::with_capacity(text.len());
    let mut used = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        let inside = &from[2..];
        if let Some(plain) = before.strip_suffix('$') {
            full.push_str(plain);
            full.push_str("${");
            rest = inside;
            continue;
        }
        full.push_str(before);
        let Some((name, after)) = inside.split_once('}') else {
            return Err(Problem::new("`${` has no `}`", ESCAPE));
        };
        // Text that is no name may be part of a password: it is not repeated.
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(word) {
            let problem = "what stands in `${…}` is not the name of a variable";
            return Err(Problem::new(problem, ESCAPE));
        }
        let Some(value) = env(name) else {
            let problem = format!("the environment has no variable {name}");
            return Err(Problem::new(problem, format!("set it, or {ESCAPE}")));
        };
        let Ok(value) = value.into_string() else {
            let problem = format!("the variable {name} is not UTF-8");
            return Err(Problem::new(problem, "set it to UTF-8 text"));
        };
        full.push_str(&value);
        used = true;
        rest = after;
    }
    full.push_str(rest);
    Ok((full, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let env = |name: &str| match name {
            "A" => Some("one".into()),
            "NESTED" => Some("${A}".into()),
            _ => None,
        };
        expand(text, &env)
            .map(|(full, _)| full)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn replaces_and_escapes() {
        assert_eq!(run("plain $ text $A {A}").unwrap(), "plain $ text $A {A}");
        assert_eq!(run("<${A}${A}>").unwrap(), "<oneone>");
        assert_eq!(run("$${A}").unwrap(), "${A}");
        assert_eq!(run("$$${A}").unwrap(), "$${A}");
        assert_eq!(run("${NESTED}").unwrap(), "${A}");
    }

    #[test]
    fn says_what_is_missing_and_no_more() {
        assert_eq!(
            run("${B}").unwrap_err(),
            "the environment has no variable B; set it, or write $${ for a plain ${"
        );
        assert_eq!(
            run("p4ss${").unwrap_err(),
            "`${` has no `}`; write $${ for a plain ${"
        );
        assert_eq!(
            run("p4ss${s3cret!}").unwrap_err(),
            "what stands in `${…}` is not the name of a variable; write $${ for a plain ${"
        );
    }
}
