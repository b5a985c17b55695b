//! Any text as a configuration file of coturn, or its words as a command line: no panic, and what
//! comes of it is a configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd::config::Config;
use turnd::config::coturn::{Given, Source, command_line, read, translate};

fuzz_target!(|text: &str| {
    // Files that the text names are read; a device may have no end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let given = match read(text) {
        Source::File(given) => given,
        Source::CommandLine(words) => command_line(&words),
    };
    check(&given);
    let words: Vec<_> = text.lines().map(str::to_owned).collect();
    check(&command_line(&words));
});

fn check(given: &[Given]) {
    let import = translate(given);
    assert_eq!(import.entries.len(), given.len());
    // Whether anyone may allocate is for the operator to say.
    let toml = match import.toml.contains("\nno-auth = ") {
        true => import.toml,
        false => format!("no-auth = true\n{}", import.toml),
    };
    for error in Config::from_toml(&toml).err().into_iter().flatten() {
        let nobody = error.line.is_none() && error.to_string().contains("nobody");
        assert!(nobody, "{error}\n{toml}");
    }
}
