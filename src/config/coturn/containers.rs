//! Files for docker-compose and Kubernetes.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::conf;
use super::container::{Container, volume as volume_of};
use super::images;
use super::options;
use super::rule::{Given, Place};
use super::source::Source;
use super::words::{self, Word};
use super::yaml::{self, Node};
use crate::problem::Problem;

/// Keys that begin a line of such a file.
const KEYS: [&str; 7] = [
    "args",
    "command",
    "containers",
    "entrypoint",
    "image",
    "kind",
    "services",
];

/// Whether the text is such a file, by its keys.
pub(super) fn is_one(text: &str) -> bool {
    let is_key = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ");
        line.split_once(':').is_some_and(|(key, value)| {
            KEYS.contains(&key) && (value.is_empty() || value.starts_with([' ', '\t']))
        })
    };
    text.lines().any(is_key)
}

/// The options of the first container with coturn, after those of a `turnserver.conf` that is in the text.
///
/// # Errors
/// When it is no YAML.
pub(super) fn read(text: &str) -> Result<Source, Problem> {
    let documents = yaml::documents(text).map_err(|problem| {
        Problem::new(
            format!("looks like YAML, but is not: {problem}"),
            "import what `docker compose config` or `helm template` prints",
        )
    })?;
    let mut found = Found::default();
    for document in &documents {
        found.walk(document);
    }
    let count = found.containers.len();
    let mut containers = found.containers.into_iter();
    let mut source = match containers.next() {
        Some((_, container)) => container.source(),
        None => Source::default(),
    };
    if count > 1 {
        let lines: Vec<_> = containers.map(|(line, _)| line.to_string()).collect();
        source.notes.push(format!(
            "only the first container with coturn was read: others are at line {}",
            lines.join(", ")
        ));
    }
    if !found.files.is_empty() {
        // The file that the container misses is here.
        source
            .notes
            .retain(|note| !note.contains("inside of the container"));
        source.given.splice(0..0, found.files);
    }
    Ok(source)
}

/// Parts of the documents so far.
#[derive(Default)]
struct Found {
    containers: Vec<(usize, Container)>,
    files: Vec<Given>,
    /// Maps and lists that were seen: an alias is another way to one.
    seen: HashSet<*const Node>,
}

impl Found {
    fn walk(&mut self, node: &Rc<Node>) {
        if !self.seen.insert(Rc::as_ptr(node)) {
            return;
        }
        if let Some(container) = container(node) {
            self.containers.push((node.line, container));
        }
        for (key, child) in node.map() {
            if let Some(text) = child.text() {
                self.file(key, text, child.line);
            }
            self.walk(child);
        }
        for child in node.list() {
            self.walk(child);
        }
    }

    /// Takes the options of a text that is a `turnserver.conf`.
    fn file(&mut self, key: &str, text: &str, line: usize) {
        let is_named = key.ends_with(".conf") || key == "content";
        if !is_named || !self.files.is_empty() {
            return;
        }
        let mut given = conf::file(text);
        let known = given
            .iter()
            .filter(|option| options::find(&option.name).is_some());
        if known.count() * 2 <= given.len() {
            return;
        }
        for option in &mut given {
            if let Place::Line(n) = &mut option.place {
                *n += line.saturating_sub(1);
            }
        }
        self.files = given;
    }
}

/// The container that a map describes, if coturn is in it.
fn container(node: &Node) -> Option<Container> {
    let image = node.get("image").and_then(Node::text).unwrap_or_default();
    let keys = ["entrypoint", "command", "args"];
    let words = keys.iter().filter_map(|key| node.get(key));
    let command: Vec<Word> = words.flat_map(command_words).collect();
    let starts_it = || words::options_in(&command).is_some();
    if !images::is_coturns(image) && !starts_it() {
        return None;
    }
    let mut variables = HashMap::new();
    for key in ["environment", "env"] {
        if let Some(node) = node.get(key) {
            set(node, &mut variables);
        }
    }
    let volumes = node.get("volumes").map_or(&[][..], Node::list);
    Some(Container {
        image: image.to_owned(),
        variables,
        volumes: volumes.iter().filter_map(|node| volume(node)).collect(),
        command,
    })
}

/// Words of a list, or of a text that is split as a shell does. `$$` is compose's way to write `$`.
fn command_words(node: &Node) -> Vec<Word> {
    let place = |node: &Node| Place::Line(node.line);
    match node.text() {
        Some(text) => words::words(text)
            .into_iter()
            .map(|word| (word.replace("$$", "$"), place(node)))
            .collect(),
        None => node
            .list()
            .iter()
            .filter_map(|item| Some((item.text()?.replace("$$", "$"), place(item))))
            .collect(),
    }
}

/// Reads variables: a map, or a list of `NAME=value`, or of maps with name and value.
fn set(node: &Node, variables: &mut HashMap<String, (String, Place)>) {
    for (name, value) in node.map() {
        if let Some(text) = value.text() {
            variables.insert(name.clone(), (text.to_owned(), Place::Line(value.line)));
        }
    }
    for item in node.list() {
        let place = Place::Line(item.line);
        let pair = match item.text() {
            Some(text) => text.split_once('='),
            None => item
                .get("name")
                .and_then(Node::text)
                .zip(item.get("value").and_then(Node::text)),
        };
        if let Some((name, value)) = pair {
            variables.insert(name.to_owned(), (value.to_owned(), place));
        }
    }
}

fn volume(node: &Node) -> Option<(String, String)> {
    match node.text() {
        Some(text) => volume_of(text),
        None => {
            let text = |key| node.get(key)?.text().map(str::to_owned);
            text("source").zip(text("target"))
        }
    }
}
