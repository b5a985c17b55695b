//! A YAML file as a tree that knows its lines.
//!
//! Aliases share what they stand for, so that a small file stays a small tree.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser};

/// Deepest nesting of lists and maps that is read.
const DEEPEST: usize = 64;

/// A value with its place.
pub(super) struct Node {
    /// Line that it begins on, from 1.
    pub(super) line: usize,
    pub(super) value: Value,
    /// Levels of lists and maps within it, aliases followed.
    depth: usize,
}

pub(super) enum Value {
    Text(String),
    List(Vec<Rc<Node>>),
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// The value of a key, also of one that is merged in with `<<`.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.find(name, DEEPEST)
    }

    fn find(&self, name: &str, depth: usize) -> Option<&Node> {
        let Value::Map(map) = &self.value else {
            return None;
        };
        let own = map.iter().find(|(key, _)| key == name);
        own.map(|(_, node)| &**node).or_else(|| {
            let depth = depth.checked_sub(1)?;
            let (_, merged) = map.iter().find(|(key, _)| key == "<<")?;
            match &merged.value {
                Value::List(all) => all.iter().find_map(|node| node.find(name, depth)),
                _ => merged.find(name, depth),
            }
        })
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> &[Rc<Node>] {
        match &self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }

    pub(super) fn map(&self) -> &[(String, Rc<Node>)] {
        match &self.value {
            Value::Map(map) => map,
            _ => &[],
        }
    }
}

/// A list or map that is not complete.
struct Open {
    line: usize,
    anchor: usize,
    is_map: bool,
    items: Vec<Rc<Node>>,
}

impl Open {
    fn close(self) -> (usize, Node) {
        let depth = self.items.iter().map(|item| item.depth).max();
        let value = if self.is_map {
            let mut items = self.items.into_iter();
            let mut map = Vec::new();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                map.push((key.text().unwrap_or_default().to_owned(), value));
            }
            Value::Map(map)
        } else {
            Value::List(self.items)
        };
        let node = Node {
            line: self.line,
            value,
            depth: 1 + depth.unwrap_or_default(),
        };
        (self.anchor, node)
    }
}

/// The documents of a file.
///
/// # Errors
/// The reason why it is no YAML, with the line.
pub(super) fn documents(text: &str) -> Result<Vec<Rc<Node>>, String> {
    let mut documents = Vec::new();
    let mut anchors: HashMap<usize, Rc<Node>> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        let (anchor, node) = match event {
            Event::Scalar(text, _, anchor, _) => {
                let value = Value::Text(text.into_owned());
                let depth = 0;
                (anchor, Rc::new(Node { line, value, depth }))
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push(Open {
                    line,
                    anchor,
                    is_map: matches!(event, Event::MappingStart(..)),
                    items: Vec::new(),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop().map(Open::close) {
                // Dropping a tree takes as many calls as it is deep.
                Some((_, node)) if node.depth > DEEPEST => {
                    return Err(format!("line {line}: lists and maps are nested too deeply"));
                }
                Some((anchor, node)) => (anchor, Rc::new(node)),
                None => continue,
            },
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(node) => (0, Rc::clone(node)),
                None => return Err(format!("line {line}: an alias stands for what holds it")),
            },
            _ => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, Rc::clone(&node));
        }
        match open.last_mut() {
            Some(outer) => outer.items.push(node),
            None => documents.push(node),
        }
    }
    Ok(documents)
}
