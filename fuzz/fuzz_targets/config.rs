//! Any text as a configuration: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use turnd::config::Config;

fuzz_target!(|text: &str| {
    // A file that the text names would be read.
    if !text.contains("file") {
        let _ = Config::from_toml(text);
    }
});
