//! Checks of the keys about credentials: realm, users, secrets.

mod features;

use std::path::Path;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use zeroize::Zeroizing;

use super::Secret;
use super::error::{ConfigError, shown};
use super::file::FileConfig;
use super::problems::Problems;
use super::source::{Source, read};
use super::values::{on, one_of, seconds};
use super::weak::{check_passwords, check_secret};
use crate::problem::Problem;
use turnd_proto::auth::{Credential, Features, Keys, RestExpiry, Settings, User};

use features::check_features;

/// REALM has fewer than 128 characters (RFC 8489 §14.9).
const LONGEST_REALM: usize = 127;

/// Longest realm in bytes, so that no 401 or 438 grows to 548 bytes; a domain name has 253 at the most.
const LONGEST_REALM_BYTES: usize = 255;

/// Bytes of a 401 without its realm: header, ERROR-CODE, NONCE and REALM's own header.
const CHALLENGE: usize = 72;

/// Bytes of PASSWORD-ALGORITHMS in a 401.
const PASSWORD_ALGORITHMS: usize = 12;

/// Longest realm in bytes that keeps a 401 without PASSWORD-ALGORITHMS below five times a request of 20 bytes, as docs/security.md promises.
const LONGEST_HARMLESS_REALM: usize = 28;

/// USERNAME has fewer than 509 bytes (RFC 8489 §14.3).
const LONGEST_NAME: usize = 508;

/// Element of a list, or line of a file.
enum Position<'a> {
    Element(usize),
    Line(&'a Path, usize),
}

pub(super) fn check_auth(file: &mut FileConfig, problems: &mut Problems<'_>) -> Settings {
    let realm = realm(file, problems);
    let errors_before = problems.count();
    let mut users = users(file, problems);
    let mut secrets = secrets(file, problems);
    let clean = errors_before == problems.count();
    if file.lt_cred_mech == Some(false) && !users.is_empty() {
        unused("user", "lt-cred-mech is false", problems);
        users.clear();
    }
    if file.use_auth_secret == Some(false) && !secrets.is_empty() {
        unused("static-auth-secret", "use-auth-secret is false", problems);
        secrets.clear();
    }
    let no_auth = on(file.no_auth);
    if no_auth && !on(file.stun_only) {
        problems.warn([
            "no-auth: anyone who reaches this server may relay through it; \
                        give user or static-auth-secret instead"
                .to_owned(),
        ]);
    }
    if no_auth && !(users.is_empty() && secrets.is_empty()) {
        unused(
            "user and static-auth-secret",
            "no-auth lets anyone allocate",
            problems,
        );
    }
    // An error so far may be the reason for a missing credential: no second error for it.
    if clean && problems.count() == 0 {
        somebody(file, &users, &secrets, problems);
    }
    let nonce_secret = secret(
        "nonce-secret",
        file.nonce_secret.as_ref(),
        file.nonce_secret_file.as_deref(),
        problems,
    );
    if !no_auth {
        let passwords = users.iter().filter_map(|user| match &user.credential {
            Credential::Password(password) => Some((user.name.as_str(), password)),
            Credential::Keys(_) => None,
        });
        check_passwords(passwords, problems);
        for secret in &secrets {
            check_secret("static-auth-secret", secret, problems);
        }
    }
    let features = Features {
        password_algorithms: on(file.password_algorithms),
        username_anonymity: on(file.username_anonymity),
    };
    if no_auth && features != Features::default() {
        unused(
            "password-algorithms and username-anonymity",
            "no-auth lets anyone allocate",
            problems,
        );
    } else {
        check_features(features, &users, &secrets, problems);
    }
    if let Some(secret) = &nonce_secret {
        check_secret("nonce-secret", secret, problems);
    }
    file.lt_cred_mech = Some(!users.is_empty());
    file.use_auth_secret = Some(!secrets.is_empty());
    Settings {
        realm,
        no_auth,
        users,
        secrets,
        rest_separator: separator(file.rest_api_separator.as_deref(), problems),
        rest_expiry: one_of(
            "rest-expiry",
            file.rest_expiry.as_deref(),
            &[("keep", RestExpiry::Keep), ("end", RestExpiry::End)],
            RestExpiry::Keep,
            problems,
        ),
        stale_nonce: seconds("stale-nonce", file.stale_nonce, 1..=3600, problems),
        features,
        nonce_secret,
        lookup: None,
    }
}

fn unused(what: &str, why: &str, problems: &mut Problems<'_>) {
    problems.warn([format!("{what} not used: {why}")]);
}

fn somebody(file: &FileConfig, users: &[User], secrets: &[Secret], problems: &mut Problems<'_>) {
    if on(file.use_auth_secret) && secrets.is_empty() {
        let remedy = "add static-auth-secret or static-auth-secret-file";
        problems.wrong("use-auth-secret", None, "there is no secret", remedy);
    } else if users.is_empty() && secrets.is_empty() && !on(file.no_auth) && !on(file.stun_only) {
        problems.add_without_key(Problem::new(
            "nobody may allocate, as there are no credentials",
            "add user or static-auth-secret, or set no-auth = true",
        ));
    }
}

fn realm(file: &mut FileConfig, problems: &mut Problems<'_>) -> String {
    let key = problems.given(&["realm", "server-name"]);
    if key == "server-name" {
        file.realm.clone_from(&file.server_name);
    }
    let realm = file.realm.clone().unwrap_or_default();
    let length = realm.chars().count();
    let wrong = if length > LONGEST_REALM {
        Some(Problem::new(
            format!("has {length} characters"),
            format!("shorten it to {LONGEST_REALM}"),
        ))
    } else if realm.len() > LONGEST_REALM_BYTES {
        Some(Problem::new(
            format!("has {} bytes", realm.len()),
            format!("shorten it to {LONGEST_REALM_BYTES}"),
        ))
    } else {
        match prepared(&realm) {
            Ok(_) => None,
            Err(Unfit::Empty) => Some(Problem::new(
                "is empty",
                "write the domain name of the service",
            )),
            Err(Unfit::Char(c)) => Some(Problem::new(
                format!("holds {}, which is not allowed", named(c)),
                "remove that character",
            )),
        }
    };
    if let Some(problem) = wrong {
        problems.add(key, None, problem);
        return realm;
    }
    let algorithms = if on(file.password_algorithms) {
        PASSWORD_ALGORITHMS
    } else {
        0
    };
    let harmless = LONGEST_HARMLESS_REALM - algorithms;
    if realm.len() > harmless {
        let reply = CHALLENGE + algorithms + realm.len().next_multiple_of(4);
        problems.warn([format!(
            "{key}: has {} bytes, which makes a 401 {}.{} times as long as the shortest \
                 request; with {harmless} or fewer it is at most 5 times",
            realm.len(),
            reply / 20,
            reply % 20 / 2,
        )]);
    }
    realm
}

fn users(file: &FileConfig, problems: &mut Problems<'_>) -> Vec<User> {
    let mut users = Vec::new();
    let mut names = std::collections::HashSet::new();
    let mut add = |problems: &mut Problems<'_>, position: &Position<'_>, text: &str| {
        let wrong = match user(text) {
            Ok((user, same)) => {
                if names.insert(same) {
                    users.push(user);
                    return;
                }
                let problem = format!("user {} is given twice", shown(&user.name));
                Problem::new(problem, "remove one")
            }
            Err(wrong) => wrong,
        };
        entry("user", position, wrong, problems);
    };
    for (n, text) in file.user.iter().flatten().enumerate() {
        add(problems, &Position::Element(n), text.reveal());
    }
    let source = source("user-file", file.user_file.as_deref(), problems);
    if let Some(source) = &source {
        let remedy = "write one name:password per line";
        for (line, text) in entries("user-file", source, remedy, problems) {
            add(problems, &Position::Line(&source.path, line), text);
        }
    }
    users
}

fn secrets(file: &FileConfig, problems: &mut Problems<'_>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for (n, text) in file.static_auth_secret.iter().flatten().enumerate() {
        if text.reveal().is_empty() {
            let wrong = Problem::new("a secret is empty", "write a long random text");
            entry("static-auth-secret", &Position::Element(n), wrong, problems);
        } else {
            secrets.push(text.clone());
        }
    }
    let key = "static-auth-secret-file";
    let source = source(key, file.static_auth_secret_file.as_deref(), problems);
    if let Some(source) = &source {
        let lines = entries(key, source, "write one secret per line", problems);
        secrets.extend(lines.into_iter().map(|(_, text)| Secret::new(text)));
    }
    secrets
}

/// The secret of `key`, given as such or on the one line of a file.
pub(super) fn secret(
    key: &str,
    text: Option<&Secret>,
    path: Option<&Path>,
    problems: &mut Problems<'_>,
) -> Option<Secret> {
    let file_key = format!("{key}-file");
    if let Some(source) = source(&file_key, path, problems) {
        if text.is_some() {
            let problem = format!("{key} is given as well");
            problems.wrong(&file_key, None, problem, "keep one of the two");
        }
        let lines = entries(&file_key, &source, "write one secret", problems);
        if lines.len() > 1 {
            let problem = format!("{} holds {} lines", shown_path(&source.path), lines.len());
            problems.wrong(&file_key, None, problem, "keep one");
        }
        return lines.first().map(|(_, text)| Secret::new(*text));
    }
    let text = text?;
    if text.reveal().is_empty() {
        let remedy = "write a long random text, or leave it out";
        problems.wrong(key, None, "is empty", remedy);
    }
    Some(text.clone())
}

fn separator(text: Option<&str>, problems: &mut Problems<'_>) -> char {
    let mut chars = text.unwrap_or_default().chars();
    match (chars.next(), chars.next()) {
        (Some(c), None) if !c.is_ascii_digit() && !c.is_control() => c,
        _ => {
            let problem = format!(
                "{} cannot separate time and name",
                shown(text.unwrap_or_default())
            );
            let remedy = "write one character that is not a digit, such as \":\"";
            problems.wrong("rest-api-separator", None, problem, remedy);
            ':'
        }
    }
}

/// Reads a file that holds secrets.
fn source(key: &str, path: Option<&Path>, problems: &mut Problems<'_>) -> Option<Source> {
    let path = path?;
    match read(path, "name a file that this user may read") {
        Ok(source) => {
            problems.warn(source.exposure());
            Some(source)
        }
        Err(problem) => {
            let problem = problem.of(shown_path(path));
            problems.add(key, None, problem);
            None
        }
    }
}

/// The lines of a file of secrets, of which there must be one.
fn entries<'s>(
    key: &str,
    source: &'s Source,
    remedy: &str,
    problems: &mut Problems<'_>,
) -> Vec<(usize, &'s str)> {
    match source.entries() {
        Ok(lines) => {
            if lines.is_empty() {
                let problem = format!("{} is empty", shown_path(&source.path));
                problems.wrong(key, None, problem, remedy);
            }
            lines
        }
        Err(error) => {
            problems.push(error);
            Vec::new()
        }
    }
}

fn entry(key: &str, position: &Position<'_>, problem: Problem, problems: &mut Problems<'_>) {
    match position {
        Position::Element(n) => problems.add(key, Some(*n), problem),
        Position::Line(path, line) => {
            problems.push(ConfigError::of_file(*path, Some(*line), problem));
        }
    }
}

fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Reads one `user`, and gives its name as it is compared too. The error never holds the password.
fn user(text: &str) -> Result<(User, String), Problem> {
    const FORM: &str = "write \"name:password\"";
    let wrong = |what: &str, remedy: &str| Err(Problem::new(what, remedy));
    let Some((name, password)) = text.split_once(':') else {
        return wrong("a user has no `:`", FORM);
    };
    if name.len() > LONGEST_NAME {
        return wrong(
            &format!("user {} has {} bytes", shown(name), name.len()),
            &format!("shorten the name to {LONGEST_NAME}"),
        );
    }
    let same = match prepared(name) {
        Ok(same) => same,
        Err(Unfit::Empty) => return wrong("a user name is empty", FORM),
        Err(Unfit::Char(c)) => {
            return wrong(
                &format!(
                    "user {} holds {}, which is not allowed",
                    shown(name),
                    named(c)
                ),
                "remove that character",
            );
        }
    };
    let credential = if password.starts_with("0x") {
        let Some(keys) = Keys::from_hex(password) else {
            return wrong(
                &format!(
                    "the key of user {} is not 0x and 32 hex digits, or 64 of SHA-256",
                    shown(name)
                ),
                "make one with `turnd key`",
            );
        };
        Credential::Keys(keys)
    } else {
        match prepared(password) {
            Ok(prepared) => {
                drop(Zeroizing::new(prepared));
                Credential::Password(Secret::new(password))
            }
            Err(Unfit::Empty) => {
                return wrong(
                    &format!("the password of user {} is empty", shown(name)),
                    FORM,
                );
            }
            Err(Unfit::Char(_)) => {
                return wrong(
                    &format!(
                        "the password of user {} holds a character that is not allowed",
                        shown(name)
                    ),
                    "choose one without control or unassigned characters",
                );
            }
        }
    };
    let user = User {
        name: name.to_owned(),
        credential,
    };
    Ok((user, same))
}

enum Unfit {
    Empty,
    Char(Option<char>),
}

/// The form in which RFC 8489 compares names and passwords (OpaqueString, RFC 8265 §4.2).
fn prepared(text: &str) -> Result<String, Unfit> {
    if text.is_empty() {
        return Err(Unfit::Empty);
    }
    match OpaqueString::enforce(text) {
        Ok(text) => Ok(text.into_owned()),
        Err(PrecisError::BadCodepoint(info)) => Err(Unfit::Char(char::from_u32(info.cp))),
        Err(_) => Err(Unfit::Char(None)),
    }
}

fn named(c: Option<char>) -> String {
    match c {
        Some(c) => format!("U+{:04X}", u32::from(c)),
        None => "a character".to_owned(),
    }
}

#[cfg(test)]
mod tests;
