use std::collections::BTreeMap;

use clap::Args;

use super::*;

const SHIPPED: &str = include_str!("../../../config/turnd.toml");

/// `(key, text of the value, explanation, commented out)` of each entry of the shipped file, in order.
fn entries() -> Vec<(&'static str, &'static str, String, bool)> {
    let mut entries = Vec::new();
    let mut above = "";
    for line in SHIPPED.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some((key, value)) = bare.split_once(" = ")
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        {
            let explanation = above.strip_prefix("# ").unwrap_or_default().to_owned();
            entries.push((key, value, explanation, line.starts_with('#')));
        }
        above = line;
    }
    entries
}

/// Key → help text, as the command line has them.
fn flags() -> BTreeMap<String, String> {
    let command = FileConfig::augment_args(clap::Command::new("turnd"));
    let help = |arg: &clap::Arg| arg.get_help().unwrap().to_string();
    command
        .get_arguments()
        .map(|arg| (arg.get_long().unwrap().to_owned(), help(arg)))
        .collect()
}

#[test]
fn the_shipped_file_holds_the_defaults() {
    let shipped: FileConfig = toml::from_str(SHIPPED).unwrap();
    let defaults = FileConfig::defaults();
    assert_eq!(shipped.to_toml().unwrap(), defaults.to_toml().unwrap());
}

#[test]
fn the_shipped_file_holds_every_key_once_and_explains_it() {
    let flags = flags();
    let defaults = FileConfig::defaults().to_table().unwrap();
    let mut seen = BTreeMap::new();
    for (key, value, explanation, commented) in entries() {
        assert_eq!(seen.insert(key, ()), None, "{key} is there twice");
        let help = flags.get(key).unwrap_or_else(|| panic!("{key} is no key"));
        assert_eq!(explanation, format!("{help}."), "{key}");
        let alone: FileConfig = toml::from_str(&format!("{key} = {value}")).unwrap();
        let value = &alone.to_table().unwrap()[key];
        match defaults.get(key) {
            Some(default) => assert!(!commented && value == default, "{key} is {value}"),
            None => assert!(commented, "{key} has no default"),
        }
    }
    let missing: Vec<_> = flags.keys().filter(|k| !seen.contains_key(&***k)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_help_names_the_places_of_the_admin_listener() {
    let help = &flags()["admin-listen"];
    assert!(help.contains(crate::admin::DEFAULT_TCP), "{help}");
    assert!(help.contains(crate::admin::DEFAULT_UNIX), "{help}");
}

#[test]
fn no_secret_of_the_shipped_file_works_as_it_stands() {
    let secrets = crate::config::SECRETS;
    let shown: Vec<_> = entries()
        .into_iter()
        .filter(|(key, ..)| secrets.contains(key))
        .collect();
    assert_eq!(shown.len(), secrets.len());
    for (key, value, ..) in shown {
        let variable = value.starts_with("\"${") && value.ends_with("}\"");
        assert!(variable || value == "[]", "{key} = {value}");
    }
}

#[test]
fn the_keys_of_the_file_are_the_flags() {
    let whole: String = entries()
        .iter()
        .map(|(key, value, ..)| format!("{key} = {value}\n"))
        .collect();
    let whole: FileConfig = toml::from_str(&whole).unwrap();
    let keys: Vec<String> = whole.to_table().unwrap().keys().cloned().collect();
    assert_eq!(keys, flags().into_keys().collect::<Vec<_>>());
}

#[test]
fn the_minimal_file_is_accepted() {
    let text = include_str!("../../../config/minimal.toml").replace("${TURN_SECRET}", "north");
    let config = crate::config::Config::from_toml(&text).unwrap();
    assert_eq!(config.auth.realm, "turn.example.org");
    assert_eq!(config.auth.secrets.len(), 1);
}

#[test]
fn a_lone_value_is_a_list_of_one() {
    let lone: FileConfig = toml::from_str("user = 'a:b'").unwrap();
    assert_eq!(lone.user.unwrap(), [Secret::new("a:b")]);
    let list: FileConfig = toml::from_str("user = ['a:b', 'c:d']").unwrap();
    assert_eq!(list.user.unwrap(), ["a:b", "c:d"].map(Secret::new));
}

#[test]
fn no_secret_is_shown() {
    let text =
        "user = ['alice:s3cret', 's3cret']\nstatic-auth-secret = 's3cret'\nnonce-secret = 's3cret'";
    let config: FileConfig = toml::from_str(text).unwrap();
    let masked =
        "user = [\"alice:***\", \"***\"]\nstatic-auth-secret = [\"***\"]\nnonce-secret = \"***\"\n";
    assert_eq!(config.masked().to_toml().unwrap(), masked);
    assert_eq!(format!("{config:?}"), masked);
    assert!(config.to_toml().unwrap().contains("s3cret"));
}
