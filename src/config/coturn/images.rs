//! Container images of coturn, and the variables that they are set up with.

use std::collections::HashMap;

use super::rule::{Given, Place};

/// A variable of the environment: its value and its place.
pub(super) type Variable = (String, Place);

/// Last parts of the names of images that hold coturn, beside those that contain its name.
const NAMES: [&str; 4] = [
    "turn-server",
    "turnserver",
    "docker-turnserver",
    "docker-turn-server",
];

/// Publishers whose images take coturn's own command line, and hardly any variable.
const COMMAND_LINE: [&str; 2] = ["coturn", "instrumentisto"];

/// Variables of other images, and coturn's options.
const VARIABLES: [(&str, &str); 33] = [
    ("REALM", "realm"),
    ("TURN_REALM", "realm"),
    ("TURNSERVER_REALM", "realm"),
    ("SERVER_NAME", "server-name"),
    ("PORT", "listening-port"),
    ("TURN_PORT", "listening-port"),
    ("LISTENING_PORT", "listening-port"),
    ("TLS_LISTENING_PORT", "tls-listening-port"),
    ("TURN_TLS_PORT", "tls-listening-port"),
    ("MIN_PORT", "min-port"),
    ("TURN_MIN_PORT", "min-port"),
    ("TURN_PORT_START", "min-port"),
    ("MAX_PORT", "max-port"),
    ("TURN_MAX_PORT", "max-port"),
    ("TURN_PORT_END", "max-port"),
    ("EXTERNAL_IP", "external-ip"),
    ("PUBLIC_IP", "external-ip"),
    ("TURN_EXTERNAL_IP", "external-ip"),
    ("TURN_PUBLIC_IP", "external-ip"),
    ("LISTENING_IP", "listening-ip"),
    ("INTERNAL_IP", "listening-ip"),
    ("RELAY_IP", "relay-ip"),
    ("STATIC_AUTH_SECRET", "static-auth-secret"),
    ("AUTH_SECRET", "static-auth-secret"),
    ("TURN_SECRET", "static-auth-secret"),
    ("TURN_STATIC_AUTH_SECRET", "static-auth-secret"),
    ("SSL_CRT_FILE", "cert"),
    ("TLS_CERT", "cert"),
    ("SSL_KEY_FILE", "pkey"),
    ("TLS_KEY", "pkey"),
    ("ENABLE_MOBILITY", "mobility"),
    ("ENABLE_SQLITE", "userdb"),
    ("CLI_PASSWORD", "cli-password"),
];

/// Variables that hold the name and the password of the one user.
const USERS: [(&str, &str); 4] = [
    ("USERNAME", "PASSWORD"),
    ("TURN_USERNAME", "TURN_PASSWORD"),
    ("TURN_USER", "TURN_PASSWORD"),
    ("TURN_USER", "TURN_PASS"),
];

/// Variables that make coturn's own image find out an address, and coturn's options.
const DETECTED: [(&str, &str); 4] = [
    ("DETECT_EXTERNAL_IP", "external-ip"),
    ("DETECT_EXTERNAL_IPV6", "external-ip"),
    ("DETECT_RELAY_IP", "relay-ip"),
    ("DETECT_RELAY_IPV6", "relay-ip"),
];

/// Whether an image holds coturn.
pub(super) fn is_coturns(image: &str) -> bool {
    let (_, name) = parts(image);
    name.contains("coturn") || NAMES.contains(&name)
}

/// Publisher and name of an image, without registry, tag and digest.
fn parts(image: &str) -> (&str, &str) {
    let image = image.split('@').next().unwrap_or_default();
    let (path, name) = image.rsplit_once('/').unwrap_or(("", image));
    let publisher = path.rsplit('/').next().unwrap_or_default();
    (publisher, name.split(':').next().unwrap_or_default())
}

/// The options that variables stand for, in the order of their places. Variables that are not `free` are for the command line.
pub(super) fn options(
    image: &str,
    variables: &HashMap<String, Variable>,
    free: impl Fn(&str) -> bool,
) -> Vec<Given> {
    let get = |name: &str| {
        variables
            .get(name)
            .filter(|(value, _)| !value.is_empty() && free(name))
    };
    let mut given = Vec::new();
    let mut auto = None;
    for (variable, option) in DETECTED {
        if let Some((_, place)) = get(variable) {
            if option == "external-ip" {
                // One is for both families.
                auto.get_or_insert_with(|| from(variable, option, "auto", *place));
                continue;
            }
            let mut detected = Given::new(option, None, *place);
            detected.unusable = Some(format!(
                "{variable} lets the image find out the address: write it, as {option} = [\"ADDRESS\"]"
            ));
            given.push(detected);
        }
    }
    for (variable, option) in VARIABLES {
        let Some((value, place)) = get(variable) else {
            continue;
        };
        given.push(from(variable, option, value, *place));
        if option == "static-auth-secret" {
            given.push(from(variable, "use-auth-secret", "1", *place));
        }
    }
    let user = USERS.iter().find_map(|(name, password)| {
        let (name_is, place) = get(name)?;
        let (password_is, _) = get(password)?;
        let user = format!("{name_is}:{password_is}");
        Some((format!("{name} and {password}"), user, *place))
    });
    if let Some((variables, user, place)) = user {
        given.push(from(&variables, "user", &user, place));
    }
    let (publisher, _) = parts(image);
    if COMMAND_LINE.contains(&publisher) {
        for option in given.iter_mut().filter(|option| option.unusable.is_none()) {
            let variable = option.remarks.concat();
            option.unusable = Some(format!(
                "{variable}, which the image does not read: write {} if it is meant",
                option.name
            ));
            option.remarks.clear();
        }
    }
    given.extend(auto);
    given.sort_by_key(|option| option.place);
    given
}

fn from(variable: &str, option: &str, value: &str, place: Place) -> Given {
    let mut given = Given::new(option, Some(value), place);
    given.remarks.push(format!("from {variable}"));
    given
}
