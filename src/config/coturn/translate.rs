//! Translation of options to keys.

use std::collections::HashMap;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Args, Command};

use super::notes;
use super::options;
use super::output;
use super::report::{Entry, Import};
use super::rule::{CoturnOption, Given, Outcome, Place, Rule, Setting, Takes, Value, Verdict};
use super::rules::{nothing, number, refused, switch};
use crate::config::file::FileConfig;

/// Lists here that have one value in coturn, the last.
const LAST_COUNTS: [&str; 2] = ["cert", "pkey"];

/// Says what becomes of each option, and writes the configuration.
pub fn translate(given: &[Given]) -> Import {
    let keys = FileConfig::augment_args(Command::new("turnd"));
    let mut work = Work {
        keys: &keys,
        rows: Rows::of(given),
        entries: Vec::with_capacity(given.len()),
        settings: Vec::new(),
        places: HashMap::new(),
    };
    for option in given {
        work.add(option);
    }
    work.secret_of_a_database();
    work.ports();
    let notes = notes::of(given, &work.settings);
    output::write(work.keys, work.settings, work.entries, notes)
}

/// Part that a database has in the options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// There are none.
    None,
    /// Users and secrets come from one.
    Some,
    /// The same, and by the other options coturn does not ask for the secrets.
    WithoutSecrets,
}

impl Rows {
    fn of(given: &[Given]) -> Self {
        let is_row = |option: &Given| matches!(option.place, Place::Row(_));
        let asks = |option: &&Given| option.name == "use-auth-secret";
        let last = given.iter().rfind(asks);
        let asks = last.is_some_and(|option| switch(option.value.as_deref()) == Ok(true));
        match given.iter().any(is_row) {
            false => Self::None,
            true if asks || given.iter().all(|o| is_row(o) || o.name == "realm") => Self::Some,
            true => Self::WithoutSecrets,
        }
    }
}

struct Work<'a> {
    /// Keys of turnd.
    keys: &'a Command,
    rows: Rows,
    entries: Vec<Entry>,
    settings: Vec<Setting>,
    /// Index of each setting, by its key and by what makes it one of several.
    places: HashMap<(&'static str, String), usize>,
}

impl Work<'_> {
    fn key(&self, name: &str) -> Option<&Arg> {
        key(self.keys, name)
    }

    fn add(&mut self, given: &Given) {
        let outcome = self.outcome(given);
        let entry = self.entries.len();
        let (verdict, mut text) = match outcome {
            Outcome::Drop(verdict, text) => (verdict, text),
            Outcome::Set(key, value, verdict, text) => {
                let mut told: Vec<_> = Some(text)
                    .filter(|text| !text.is_empty())
                    .into_iter()
                    .collect();
                if matches!(&value, Value::Text(text) if text.contains("${")) {
                    told.push("${ stays as it is, as in coturn; make it ${NAME} for an environment variable".to_owned());
                }
                told.extend(given.remarks.iter().cloned());
                self.set(key, value, entry, given);
                (verdict, told.join("; "))
            }
        };
        if verdict == Verdict::Unknown
            && let Some(near) = options::nearest(&given.name)
        {
            text = format!("coturn ignores it too; was {near} meant?");
        }
        self.entries.push(Entry {
            place: given.place,
            name: given.name.clone(),
            verdict,
            text,
        });
    }

    fn outcome(&self, given: &Given) -> Outcome {
        if let Some(why) = &given.unusable {
            return refused(why.clone());
        }
        let Some(option) = options::find(&given.name) else {
            return Outcome::Drop(Verdict::Unknown, "coturn ignores it too".to_owned());
        };
        let name = option.name;
        let is_row = matches!(given.place, Place::Row(_));
        match &option.rule {
            Rule::Keep
                if is_row && name == "static-auth-secret" && self.rows == Rows::WithoutSecrets =>
            {
                nothing(
                    "coturn has it in its database and does not ask for it, as use-auth-secret is off",
                )
            }
            Rule::By(_) if matches!(name, "userdb" | "db") && self.rows != Rows::None => {
                nothing("its rows are listed by themselves")
            }
            Rule::Nothing(why) => nothing(*why),
            Rule::Refused(_) | Rule::Missing | Rule::Differs(_) if is_off(option, given) => {
                nothing(format!("there is no {name} to turn off"))
            }
            Rule::Refused(instead) => refused(*instead),
            Rule::Differs(how) => Outcome::Drop(Verdict::Mapped, (*how).to_owned()),
            _ if option.takes == Takes::Value && given.value.is_none() => refused("has no value"),
            Rule::Missing => refused(format!("turnd has no {name} yet")),
            Rule::Keep => self.as_key(name, given, false),
            Rule::As(key) => self.as_key(key, given, false),
            Rule::Opposite(key) => self.as_key(key, given, true),
            Rule::By(rule) => rule(given),
        }
    }

    /// The value as the key of this name takes it.
    fn as_key(&self, name: &'static str, given: &Given, opposite: bool) -> Outcome {
        let Some(key) = self.key(name) else {
            return refused(format!("turnd has no {name}"));
        };
        let value = match read(key, given.value.as_deref()) {
            Ok(Value::Switch(on)) => Value::Switch(on != opposite),
            Ok(value) => value,
            Err(problem) => return refused(problem),
        };
        if name == given.name {
            return Outcome::Set(name, value, Verdict::Kept, String::new());
        }
        let text = match &value {
            Value::Switch(on) => format!("{name} = {on}"),
            _ => name.to_owned(),
        };
        Outcome::Set(name, value, Verdict::Mapped, text)
    }

    /// Adds a value to a list, or puts it in place of an earlier one.
    fn set(&mut self, name: &'static str, value: Value, entry: usize, given: &Given) {
        let list = self.key(name).is_some_and(is_list);
        let adds_up = list && !LAST_COUNTS.contains(&name);
        let one_of = match &value {
            // The later of two passwords counts.
            Value::Text(text) if name == "user" => text.split(':').next().unwrap_or_default(),
            Value::Text(text) if adds_up => text,
            _ => "",
        };
        let at = self.settings.len();
        let place = self.places.entry((name, one_of.to_owned())).or_insert(at);
        let comments = given.comments.clone();
        if let Some(setting) = self.settings.get_mut(*place) {
            let earlier = &mut self.entries[setting.entry];
            earlier.verdict = Verdict::WithoutEffect;
            earlier.text = format!("{} comes after it", given.place);
            (setting.value, setting.entry) = (value, entry);
            setting.comments.extend(comments);
            return;
        }
        self.settings.push(Setting {
            key: name,
            list,
            value,
            entry,
            comments,
        });
    }

    fn given(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|s| s.key == key)
    }

    fn switched_on(&self, key: &str) -> bool {
        self.given(key)
            .is_some_and(|s| s.value == Value::Switch(true))
    }

    fn say(&mut self, entry: usize, verdict: Verdict, text: String) {
        self.entries[entry].verdict = verdict;
        self.entries[entry].text = text;
    }

    /// `use-auth-secret` alone takes the secret from a database.
    fn secret_of_a_database(&mut self) {
        if !self.switched_on("use-auth-secret") || self.given("static-auth-secret").is_some() {
            return;
        }
        let text = "the secret is in a database: write it as static-auth-secret".to_owned();
        if let Some(at) = self
            .settings
            .iter()
            .position(|s| s.key == "use-auth-secret")
        {
            let entry = self.settings.remove(at).entry;
            self.say(entry, Verdict::NotSupported, text);
        }
    }

    fn port(&self, key: &str, default: u64) -> u64 {
        match self.given(key).map(|s| &s.value) {
            Some(Value::Number(port)) => *port,
            _ => default,
        }
    }

    /// Two listening ports, and relay ports that hold neither.
    fn ports(&mut self) {
        let plain = self.port("listening-port", 3478);
        let mut tls = self.port("tls-listening-port", 5349);
        if plain == tls {
            let keys = ["tls-listening-port", "listening-port"];
            let entry = keys.iter().find_map(|key| self.given(key)).map(|s| s.entry);
            tls = if plain == 5349 { 3478 } else { 5349 };
            if let Some(entry) = entry {
                let text = format!("tls-listening-port = {tls}, as each port speaks everything");
                self.say(entry, Verdict::Mapped, text);
                self.settings.retain(|s| s.key != keys[0]);
                self.settings.push(Setting {
                    key: keys[0],
                    list: false,
                    value: Value::Number(tls),
                    entry,
                    comments: Vec::new(),
                });
            }
        }
        let (min, max) = (self.port("min-port", 49152), self.port("max-port", 65535));
        let within = |port: &u64| (min..=max).contains(port);
        let mut cuts: Vec<_> = [plain, tls].into_iter().filter(within).collect();
        if cuts.is_empty() || self.switched_on("stun-only") {
            return;
        }
        cuts.sort_unstable();
        cuts.push(max + 1);
        let mut start = min;
        let gaps = cuts
            .into_iter()
            .map(|end| (std::mem::replace(&mut start, end + 1), end));
        let Some((low, end)) = gaps.max_by_key(|(start, end)| end.saturating_sub(*start)) else {
            return;
        };
        if end <= low {
            return;
        }
        // At least one is given, as the defaults do not clash.
        let keys = [
            "min-port",
            "max-port",
            "listening-port",
            "tls-listening-port",
        ];
        let Some(cause) = keys.iter().find_map(|key| self.given(key)).map(|s| s.entry) else {
            return;
        };
        self.settings
            .retain(|s| !matches!(s.key, "min-port" | "max-port"));
        for (key, port) in [("min-port", low), ("max-port", end - 1)] {
            self.settings.push(Setting {
                key,
                list: false,
                value: Value::Number(port),
                entry: cause,
                comments: Vec::new(),
            });
        }
        let text = format!(
            "the relay ports are {low} to {}, to hold neither {plain} nor {tls}",
            end - 1
        );
        self.say(cause, Verdict::Mapped, text);
    }
}

/// The key of this name, if turnd has it.
pub(super) fn key<'a>(keys: &'a Command, name: &str) -> Option<&'a Arg> {
    keys.get_arguments()
        .find(|arg| arg.get_long() == Some(name))
}

fn is_list(key: &Arg) -> bool {
    matches!(key.get_action(), ArgAction::Append)
}

/// Whether a flag is turned off where it is given.
fn is_off(option: &CoturnOption, given: &Given) -> bool {
    option.takes == Takes::Flag && switch(given.value.as_deref()) == Ok(false)
}

/// Reads a value as the key takes it.
fn read(key: &Arg, value: Option<&str>) -> Result<Value, String> {
    let kind = key.get_value_parser().type_id();
    let is = |parser: ValueParser| kind == parser.type_id();
    if is(clap::value_parser!(bool)) {
        switch(value).map(Value::Switch)
    } else if is(clap::value_parser!(u16).into()) {
        number(value, u16::MAX.into()).map(Value::Number)
    } else if is(clap::value_parser!(u32).into()) {
        number(value, u32::MAX.into()).map(Value::Number)
    } else if is(clap::value_parser!(u64).into()) {
        number(value, i64::MAX.unsigned_abs()).map(Value::Number)
    } else {
        value
            .map(|text| Value::Text(text.to_owned()))
            .ok_or_else(|| "has no value".to_owned())
    }
}
