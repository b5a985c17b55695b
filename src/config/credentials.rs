//! Checking who may allocate: realm, users, secrets.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use precis_profiles::OpaqueString;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use zeroize::Zeroizing;

use super::check::{Checker, on};
use super::error::{ConfigError, shown};
use super::file::FileConfig;
use super::load::{Source, read};
use super::{Auth, Credential, RestExpiry, Secret, User};
use crate::auth::key::Key;
use crate::problem::Problem;

/// REALM has fewer than 128 characters (RFC 8489 §14.9).
const LONGEST_REALM: usize = 127;

/// In bytes, so that no 401 or 438 grows to 548 bytes (S13); a domain name has 253 at the most.
const LONGEST_REALM_BYTES: usize = 255;

/// Bytes of a 401 without its realm: header, ERROR-CODE, NONCE and REALM's own header.
const CHALLENGE: usize = 72;

/// In bytes: a 401 is five times as long as a request of 20 bytes, the promise of docs/security.md.
const LONGEST_HARMLESS_REALM: usize = 28;

/// USERNAME has fewer than 509 bytes (RFC 8489 §14.3).
const LONGEST_NAME: usize = 508;

/// Where an entry of a list was written.
enum Place<'a> {
    Element(usize),
    Line(&'a Path, usize),
}

impl Checker<'_> {
    pub(super) fn auth(&mut self, file: &mut FileConfig) -> Auth {
        let realm = self.realm(file);
        let users_before = self.errors.len();
        let mut users = self.users(file);
        let mut secrets = self.secrets(file);
        let clean = users_before == self.errors.len();
        if file.lt_cred_mech == Some(false) && !users.is_empty() {
            self.unused("user", "lt-cred-mech is false");
            users.clear();
        }
        if file.use_auth_secret == Some(false) && !secrets.is_empty() {
            self.unused("static-auth-secret", "use-auth-secret is false");
            secrets.clear();
        }
        let no_auth = on(file.no_auth);
        if no_auth && !(users.is_empty() && secrets.is_empty()) {
            self.unused(
                "user and static-auth-secret",
                "no-auth lets anyone allocate",
            );
        }
        // A mistake may be why a credential seems to be missing: no second error for it.
        if clean && self.errors.is_empty() {
            self.somebody(file, &users, &secrets);
        }
        let nonce_secret = self.secret(
            "nonce-secret",
            file.nonce_secret.as_ref(),
            file.nonce_secret_file.as_deref(),
        );
        if !no_auth {
            let passwords = users.iter().filter_map(|user| match &user.credential {
                Credential::Password(password) => Some((user.name.as_str(), password)),
                Credential::Key(_) => None,
            });
            self.passwords(passwords);
            for secret in &secrets {
                self.strength("static-auth-secret", secret);
            }
        }
        if let Some(secret) = &nonce_secret {
            self.strength("nonce-secret", secret);
        }
        file.lt_cred_mech = Some(!users.is_empty());
        file.use_auth_secret = Some(!secrets.is_empty());
        Auth {
            realm,
            no_auth,
            users,
            secrets,
            rest_separator: self.separator(file.rest_api_separator.as_deref()),
            rest_expiry: self.one_of(
                "rest-expiry",
                file.rest_expiry.as_deref(),
                &[("keep", RestExpiry::Keep), ("end", RestExpiry::End)],
                RestExpiry::Keep,
            ),
            stale_nonce: self.seconds("stale-nonce", file.stale_nonce, 1..=3600),
            nonce_secret,
        }
    }

    fn unused(&mut self, what: &str, why: &str) {
        self.warnings.push(format!("{what} not used: {why}"));
    }

    fn somebody(&mut self, file: &FileConfig, users: &[User], secrets: &[Secret]) {
        if on(file.use_auth_secret) && secrets.is_empty() {
            let remedy = "add static-auth-secret or static-auth-secret-file";
            self.wrong("use-auth-secret", None, "there is no secret", remedy);
        } else if users.is_empty() && secrets.is_empty() && !on(file.no_auth) && !on(file.stun_only)
        {
            self.errors.push(ConfigError {
                file: self.origins.file.clone(),
                line: None,
                key: None,
                problem: Problem::new(
                    "nobody may allocate, as there are no credentials",
                    "add user or static-auth-secret, or set no-auth = true",
                ),
            });
        }
    }

    fn realm(&mut self, file: &mut FileConfig) -> String {
        let key = self.origins.given(&["realm", "server-name"]);
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
            self.wrong(key, None, problem.what, problem.remedy);
        } else if realm.len() > LONGEST_HARMLESS_REALM {
            let reply = CHALLENGE + realm.len().next_multiple_of(4);
            self.warnings.push(format!(
                "{key}: has {} bytes, which makes a 401 {}.{} times as long as the shortest \
                 request; with {LONGEST_HARMLESS_REALM} or fewer it is at most 5 times",
                realm.len(),
                reply / 20,
                reply % 20 / 2,
            ));
        }
        realm
    }

    fn users(&mut self, file: &FileConfig) -> Vec<User> {
        let mut users = Vec::new();
        let mut names = std::collections::HashSet::new();
        let mut add = |checker: &mut Self, place: &Place<'_>, text: &str| {
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
            checker.entry("user", place, wrong);
        };
        for (n, text) in file.user.iter().flatten().enumerate() {
            add(self, &Place::Element(n), text.reveal());
        }
        let source = self.source("user-file", file.user_file.as_deref());
        if let Some(source) = &source {
            let remedy = "write one name:password per line";
            for (line, text) in self.entries("user-file", source, remedy) {
                add(self, &Place::Line(&source.path, line), text);
            }
        }
        users
    }

    fn secrets(&mut self, file: &FileConfig) -> Vec<Secret> {
        let mut secrets = Vec::new();
        for (n, text) in file.static_auth_secret.iter().flatten().enumerate() {
            if text.reveal().is_empty() {
                let wrong = Problem::new("a secret is empty", "write a long random text");
                self.entry("static-auth-secret", &Place::Element(n), wrong);
            } else {
                secrets.push(text.clone());
            }
        }
        let key = "static-auth-secret-file";
        let source = self.source(key, file.static_auth_secret_file.as_deref());
        if let Some(source) = &source {
            let lines = self.entries(key, source, "write one secret per line");
            secrets.extend(lines.into_iter().map(|(_, text)| Secret::new(text)));
        }
        secrets
    }

    /// The secret of `key`, given as such or on the one line of a file.
    pub(super) fn secret(
        &mut self,
        key: &str,
        text: Option<&Secret>,
        path: Option<&Path>,
    ) -> Option<Secret> {
        let file_key = format!("{key}-file");
        if let Some(source) = self.source(&file_key, path) {
            if text.is_some() {
                let problem = format!("{key} is given as well");
                self.wrong(&file_key, None, problem, "keep one of the two");
            }
            let lines = self.entries(&file_key, &source, "write one secret");
            if lines.len() > 1 {
                let problem = format!("{} holds {} lines", shown_path(&source.path), lines.len());
                self.wrong(&file_key, None, problem, "keep one");
            }
            return lines.first().map(|(_, text)| Secret::new(*text));
        }
        let text = text?;
        if text.reveal().is_empty() {
            let remedy = "write a long random text, or leave it out";
            self.wrong(key, None, "is empty", remedy);
        }
        Some(text.clone())
    }

    fn separator(&mut self, text: Option<&str>) -> char {
        let mut chars = text.unwrap_or_default().chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if !c.is_ascii_digit() && !c.is_control() => c,
            _ => {
                let problem = format!(
                    "{} cannot separate time and name",
                    shown(text.unwrap_or_default())
                );
                let remedy = "write one character that is not a digit, such as \":\"";
                self.wrong("rest-api-separator", None, problem, remedy);
                ':'
            }
        }
    }

    /// Reads a file that holds secrets.
    fn source(&mut self, key: &str, path: Option<&Path>) -> Option<Source> {
        let path = path?;
        match read(path, "name a file that this user may read") {
            Ok(source) => {
                self.warnings.extend(source.exposure());
                Some(source)
            }
            Err(problem) => {
                let problem = problem.of(shown_path(path));
                self.wrong(key, None, problem.what, problem.remedy);
                None
            }
        }
    }

    /// The lines of a file of secrets, of which there must be one.
    fn entries<'s>(
        &mut self,
        key: &str,
        source: &'s Source,
        remedy: &str,
    ) -> Vec<(usize, &'s str)> {
        match source.entries() {
            Ok(lines) => {
                if lines.is_empty() {
                    let problem = format!("{} is empty", shown_path(&source.path));
                    self.wrong(key, None, problem, remedy);
                }
                lines
            }
            Err(error) => {
                self.errors.push(error);
                Vec::new()
            }
        }
    }

    fn entry(&mut self, key: &str, place: &Place<'_>, problem: Problem) {
        match place {
            Place::Element(n) => self.wrong(key, Some(*n), problem.what, problem.remedy),
            Place::Line(path, line) => {
                self.errors
                    .push(ConfigError::of_file(*path, Some(*line), problem));
            }
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
        let Some(key) = Key::from_hex(password) else {
            return wrong(
                &format!(
                    "the key of user {} is not 0x and 32 hex digits",
                    shown(name)
                ),
                "make one with `turnd key`",
            );
        };
        Credential::Key(key)
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

impl FileConfig {
    /// Replaces `user` by one with a random name and password, in letters that need no quoting anywhere.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn with_random_user(mut self) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 24];
        loop {
            getrandom::fill(&mut bytes)?;
            let (name, password) = bytes.split_at(6);
            let name = URL_SAFE_NO_PAD.encode(name);
            let password = URL_SAFE_NO_PAD.encode(password);
            // What begins so would be read as a key.
            if !password.starts_with("0x") {
                self.user = Some(vec![Secret::new(format!("{name}:{password}"))]);
                return Ok(self);
            }
        }
    }
}

#[cfg(test)]
mod tests;
