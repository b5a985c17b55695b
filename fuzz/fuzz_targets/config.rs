//! Any text as a configuration: no panic, and every error says what is wrong and what to do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd::config::Config;

fuzz_target!(|text: &str| {
    // Files that the text names are read; a device may have no end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    match Config::from_toml(text) {
        Ok(config) => {
            assert!(config.server.relay.min_port <= config.server.relay.max_port);
            assert!(!format!("{config:?}").is_empty());
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                assert!(!error.problem.what.is_empty() && !error.problem.remedy.is_empty());
                assert!(!error.to_string().contains("bug of turnd"), "{error}");
            }
        }
    }
});
