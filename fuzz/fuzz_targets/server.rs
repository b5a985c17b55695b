//! Clients with good credentials, peers, operators and the clock, in any order: no panic, every reply
//! is well formed, nothing is asked of a relay that is closed, and nothing is left when every lifetime
//! is over.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../tests/support/messages.rs"]
mod messages;
#[path = "server/run.rs"]
mod run;
#[allow(dead_code)]
#[path = "../../tests/support/settings.rs"]
mod settings;
#[path = "server/step.rs"]
mod step;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/support/world.rs"]
mod world;

use libfuzzer_sys::fuzz_target;

// As the integration tests have them.
const USER: &str = "alice";
const PASSWORD: &str = "secret";
const REALM: &str = "example.org";

fuzz_target!(|input: &[u8]| {
    let mut run = run::Run::new();
    let mut bytes = step::Bytes(input);
    // Inputs that are slow to run find little.
    for _ in 0..200 {
        let Some(step) = step::Step::read(&mut bytes) else {
            break;
        };
        run.step(step);
    }
    run.finish();
});
