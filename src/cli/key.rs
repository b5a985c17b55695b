//! `turnd key`.

use super::{Failure, say};

/// Print the key to store in place of a password: user = "USER:0x…".
#[derive(clap::Args)]
#[command(after_help = "Example:\n  turnd key alice turn.example.org 'her password'")]
pub(super) struct Key {
    /// Name of the user.
    user: String,
    /// Realm of the server; a key is good for this realm only.
    realm: String,
    /// Password of the user.
    password: String,
}

impl Key {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self {
            user,
            realm,
            password,
        } = self;
        let key = crate::auth::key::Key::from_password(&user, &realm, &password)
            .map_err(|error| Failure::usage(format!("no key can be made: {error}")))?;
        say(key.to_hex())
    }
}
