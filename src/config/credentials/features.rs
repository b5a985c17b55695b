//! Checks of `password-algorithms` and `username-anonymity` against the credentials that there are.

use turnd_proto::auth::algorithm::PasswordAlgorithm;
use turnd_proto::auth::{Credential, Features, User};

use crate::config::Secret;
use crate::config::problems::Problems;
use crate::config::weak::listed;

/// Warns of users who cannot log in, or not as the clients do that the features are for.
pub(super) fn check_features(
    features: Features,
    users: &[User],
    secrets: &[Secret],
    problems: &mut Problems<'_>,
) {
    let key = problems.given(&["user", "user-file"]);
    let lack = |algorithm| {
        let lacks = |user: &&User| match &user.credential {
            Credential::Password(_) => false,
            Credential::Keys(keys) => keys.get(algorithm).is_none(),
        };
        let names: Vec<_> = users
            .iter()
            .filter(lacks)
            .map(|user| user.name.as_str())
            .collect();
        (!names.is_empty()).then(|| listed(&names))
    };
    if features.password_algorithms
        && let Some(names) = lack(PasswordAlgorithm::Sha256)
    {
        problems.warn([format!(
            "{key}: no SHA-256 key of {names}, so clients of RFC 8489 cannot log in as such a user while \
             password-algorithms is on; write \"name:0x…,0x…\" with both keys of `turnd key --algorithm both`"
        )]);
    }
    if let Some(names) = lack(PasswordAlgorithm::Md5) {
        let who = if features.password_algorithms {
            "browsers and other clients that know no SHA-256 cannot log in as such a user"
        } else {
            "nobody can log in as such a user while password-algorithms is off"
        };
        problems.warn([format!(
            "{key}: no MD5 key of {names}, so {who}; write \"name:0x…,0x…\" with both keys of \
             `turnd key --algorithm both`"
        )]);
    }
    if features.username_anonymity && !secrets.is_empty() {
        problems.warn([
            "username-anonymity: clients that obey it cannot use TURN REST credentials, which no hash finds; \
             turn it off unless all clients of RFC 8489 are static users"
                .to_owned(),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::file::FileConfig;
    use crate::config::from_flags;

    const MD5: &str = "0x8493fbc53ba582fb4c044c456bdc40eb";
    const SHA256: &str = "0x8493fbc53ba582fb4c044c456bdc40eb8493fbc53ba582fb4c044c456bdc40eb";
    const BOTH: &str = "`turnd key --algorithm both`";

    fn warnings(text: &str) -> Vec<String> {
        let flags: FileConfig = toml::from_str(text).unwrap();
        from_flags(&flags).unwrap().warnings
    }

    #[test]
    fn a_user_without_the_key_of_an_algorithm_is_told_of() {
        let user = |keys: &str, on: bool| {
            warnings(&format!(
                "user = ['alice:{keys}', 'bob:correct horse battery']\npassword-algorithms = {on}"
            ))
        };
        assert_eq!(user(MD5, false), [""; 0]);
        assert_eq!(
            user(MD5, true),
            [format!(
                "user: no SHA-256 key of \"alice\", so clients of RFC 8489 cannot log in as such a user while \
                 password-algorithms is on; write \"name:0x…,0x…\" with both keys of {BOTH}"
            )]
        );
        for (on, who) in [
            (
                false,
                "nobody can log in as such a user while password-algorithms is off",
            ),
            (
                true,
                "browsers and other clients that know no SHA-256 cannot log in as such a user",
            ),
        ] {
            assert_eq!(
                user(SHA256, on),
                [format!(
                    "user: no MD5 key of \"alice\", so {who}; write \"name:0x…,0x…\" with both keys of {BOTH}"
                )]
            );
            assert_eq!(user(&format!("{MD5},{SHA256}"), on), [""; 0]);
        }
    }

    #[test]
    fn rest_credentials_and_no_auth_are_told_of() {
        let secret =
            "static-auth-secret = 'a long secret of more bytes'\nusername-anonymity = true";
        assert_eq!(
            warnings(secret),
            [
                "username-anonymity: clients that obey it cannot use TURN REST credentials, which no hash finds; \
                 turn it off unless all clients of RFC 8489 are static users"
            ]
        );
        let warned = warnings("no-auth = true\nstun-only = true\npassword-algorithms = true");
        assert_eq!(
            warned,
            ["password-algorithms and username-anonymity not used: no-auth lets anyone allocate"]
        );
    }

    #[test]
    fn the_length_of_a_401_counts_the_list() {
        let warned = |length, on| {
            let realm = "x".repeat(length);
            let text = format!(
                "user = 'a:correct horse battery'\nrealm = '{realm}'\npassword-algorithms = {on}"
            );
            !warnings(&text).is_empty()
        };
        assert!(!warned(28, false) && warned(29, false));
        assert!(!warned(16, true) && warned(17, true));
    }
}
