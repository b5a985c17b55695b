//! Lines that start a container.

use std::collections::HashMap;

use super::container::{Container, volume};
use super::images;
use super::words::{Word, options_in};

/// Switches of `docker run` that take no value; all other options take the next word.
const DOCKER_SWITCHES: [&str; 20] = [
    "--detach",
    "--disable-content-trust",
    "--init",
    "--interactive",
    "--no-healthcheck",
    "--no-hosts",
    "--oom-kill-disable",
    "--privileged",
    "--publish-all",
    "--quiet",
    "--read-only",
    "--replace",
    "--rm",
    "--rmi",
    "--sig-proxy",
    "--systemd",
    "--tls-verify",
    "--tty",
    "--unsetenv-all",
    "--use-api-socket",
];

/// Letters of `docker run` that take no value.
const DOCKER_LETTERS: &str = "ditPq";

/// Docker, or a program that takes its command lines.
pub(super) fn is_docker(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    matches!(name, "docker" | "podman" | "nerdctl")
}

/// The container that `docker run`, or a program like it, starts with coturn in it.
pub(super) fn container(words: &[Word]) -> Option<Container> {
    let docker = words.iter().position(|(word, _)| is_docker(word))?;
    let verb = words[docker..]
        .iter()
        .position(|(word, _)| word == "run" || word == "create")?;
    let mut rest = words[docker + verb + 1..].iter();
    let mut variables = HashMap::new();
    let mut volumes = Vec::new();
    let image = loop {
        let (word, place) = rest.next()?;
        if !word.starts_with('-') {
            break word;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = || value.clone().or_else(|| Some(rest.next()?.0.clone()));
        let letters = name.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        match name {
            "-e" | "--env" => {
                let set = value()?;
                let (name, value) = set.split_once('=').unwrap_or((&set, ""));
                variables.insert(name.to_owned(), (value.to_owned(), *place));
            }
            "-v" | "--volume" => volumes.extend(volume(&value()?)),
            _ if DOCKER_SWITCHES.contains(&name) => {}
            _ if letters.is_some_and(|letters| {
                letters.len() > 1 || letters.chars().all(|c| DOCKER_LETTERS.contains(c))
            }) => {}
            _ => drop(value()?),
        }
    };
    let command: Vec<_> = rest.cloned().collect();
    let container = Container {
        image: image.clone(),
        variables,
        volumes,
        command,
    };
    let is_coturns = images::is_coturns(image) || options_in(&container.command).is_some();
    is_coturns.then_some(container)
}
