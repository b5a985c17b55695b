//! Any text as a file with options of coturn, or its words as a command line: no panic, and what
//! comes of it is a configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd::config::Config;
use turnd::config::coturn::{Given, command_line, read, translate};

fuzz_target!(|text: &str| {
    // Files that the text names are read; a device may have no end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    if let Ok(source) = read(text) {
        check(&source.given);
    }
    let words: Vec<_> = text.lines().map(str::to_owned).collect();
    check(&command_line(&words).given);
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
        // A certificate that cannot be read stays in the result.
        let certificate = matches!(error.key.as_deref(), Some("cert" | "pkey"));
        let nobody = error.line.is_none() && error.to_string().contains("nobody");
        assert!(certificate || nobody, "{error}\n{toml}");
    }
}
