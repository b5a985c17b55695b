//! Translation of options to keys.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Args, Command};

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
        entries: Vec::with_capacity(given.len()),
        settings: Vec::new(),
    };
    for option in given {
        work.add(option);
    }
    work.secret_of_a_database();
    work.ports();
    let notes = work.notes();
    output::write(work.keys, work.settings, work.entries, notes)
}

struct Work<'a> {
    /// Keys of turnd.
    keys: &'a Command,
    entries: Vec<Entry>,
    settings: Vec<Setting>,
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
                let also = if matches!(&value, Value::Text(text) if text.contains("${")) {
                    "${ stays as it is, as in coturn; make it ${NAME} for an environment variable"
                } else if given.commented {
                    "without the comment after it"
                } else {
                    ""
                };
                self.set(key, value, entry, given.place);
                let between = if text.is_empty() || also.is_empty() {
                    ""
                } else {
                    "; "
                };
                (verdict, format!("{text}{between}{also}"))
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
        let Some(option) = options::find(&given.name) else {
            return Outcome::Drop(Verdict::Unknown, "coturn ignores it too".to_owned());
        };
        let name = option.name;
        match &option.rule {
            Rule::Nothing(why) => nothing(*why),
            Rule::Refused(_) | Rule::Missing if is_off(option, given) => {
                nothing(format!("there is no {name} to turn off"))
            }
            Rule::Refused(instead) => refused(*instead),
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
    fn set(&mut self, name: &'static str, value: Value, entry: usize, place: Place) {
        let list = self.key(name).is_some_and(is_list);
        let adds_up = list && !LAST_COUNTS.contains(&name);
        // The later of two passwords counts.
        let user = |value: &Value| match value {
            Value::Text(text) if name == "user" => text.split(':').next().map(str::to_owned),
            _ => None,
        };
        let same = |s: &&mut Setting| {
            s.key == name
                && (!adds_up
                    || s.value == value
                    || user(&value).is_some_and(|u| user(&s.value) == Some(u)))
        };
        if let Some(setting) = self.settings.iter_mut().find(same) {
            let earlier = &mut self.entries[setting.entry];
            earlier.verdict = Verdict::WithoutEffect;
            earlier.text = format!("{place} comes after it");
            (setting.value, setting.entry) = (value, entry);
            return;
        }
        self.settings.push(Setting {
            key: name,
            list,
            value,
            entry,
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
            });
        }
        let text = format!(
            "the relay ports are {low} to {}, to hold neither {plain} nor {tls}",
            end - 1
        );
        self.say(cause, Verdict::Mapped, text);
    }

    /// Notes for the reader of the result.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let keyed = |s: &Setting| {
            s.key == "user" && matches!(&s.value, Value::Text(user) if user.contains(":0x"))
        };
        if self.given("realm").is_none() && self.settings.iter().any(keyed) {
            notes.push(
                "a key (user:0x…) is good for one realm only: set realm to the one that coturn used"
                    .to_owned(),
            );
        }
        if self.given("cert").is_some() && self.given("dtls").is_none() {
            notes.push(
                "coturn before 4.17 served DTLS wherever it served TLS: here it is off unless dtls = true, \
                 which only clients that are no browsers need"
                    .to_owned(),
            );
        }
        if self.given("user-quota").is_none() {
            notes.push(
                "one user has a tenth of the relay ports at the most, where coturn has no limit: where all clients share one user, write user-quota = 0"
                    .to_owned(),
            );
        }
        if self.given("allowed-peer-ip").is_none() {
            notes.push(
                "peers at private addresses are refused: name a bridge or SFU that has one in allowed-peer-ip"
                    .to_owned(),
            );
        }
        notes
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
