//! Secrets and names that clients claim, in all that is shown or logged.

use stun::attributes::ATTR_USERNAME;
use stun::message::METHOD_ALLOCATE;
use turnd::config::file::FileConfig;
use turnd::daemon::ConfigInput;
use turnd_proto::auth::key::Key;
use turnd_proto::auth::secret::Secret;
use turnd_proto::server::output::Event;

use crate::support::Scratch;
use crate::support::messages::{raw, request, status};
use crate::support::world::{CLIENT, World};

#[test]
fn a_claimed_user_name_is_logged_in_bounds() {
    let mut world = World::usual();
    let caller = world.caller(CLIENT);
    for name in [
        vec![b'x'; 60_000],
        "ü".repeat(10_000).into(),
        vec![0xFF; 60_000],
    ] {
        let mut attributes = vec![raw(ATTR_USERNAME, &name)];
        attributes.extend(caller.login.credentials().into_iter().skip(1));
        attributes.push(Box::new(caller.login.integrity.clone()));
        assert_eq!(
            status(&world.reply(&caller.path, &request(METHOD_ALLOCATE, attributes))),
            401
        );
        match world.events.pop() {
            Some(Event::Refused {
                user: Some(user),
                code: 401,
                ..
            }) => assert!(user.len() <= 400),
            event => panic!("{event:?}"),
        }
    }
}

#[test]
fn no_secret_is_in_what_can_be_shown() {
    const KEY: [u8; 16] = *b"\xd3\xadkeykeykeykey\xbe\xef";
    let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let toml = format!(
        "user = ['alice:secret', 'bob:0x{hex}']\nstatic-auth-secret = 'northern'\nnonce-secret = 'southern'\n\
         admin-token = 'eastern'\npkey-pwd = 'western'"
    );
    let mut world = World::new(|s| {
        s.secrets(&["northern"]);
        s.users(&["alice:secret", &format!("bob:0x{hex}")]);
        s.auth.nonce_secret = Some(Secret::new("southern"));
    });
    let (caller, _) = world.allocated(CLIENT);
    world.refresh(&caller, Some(0));

    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    std::fs::write(&file, &toml).unwrap();
    let loaded = turnd::config::load(Some(&file), &FileConfig::default()).unwrap();
    let input = ConfigInput {
        path: None,
        flags: toml::from_str(&toml).unwrap(),
    };
    let coturn =
        "user=alice:secret\nuser=bob:0xd3ad\nstatic-auth-secret=northern\npkey-pwd=western";
    let given = turnd::config::coturn::read(coturn).unwrap();
    let import = turnd::config::coturn::translate(&given.given);
    let credentials: Vec<_> = loaded
        .config
        .auth
        .users
        .iter()
        .map(|u| &u.credential)
        .collect();
    let shown = format!(
        "{:?} {:?} {:?} {loaded:?} {input:?} {given:?} {import:?} {credentials:?} {:?}",
        world.shared.auth,
        world.events,
        world.shared.relays,
        Key::md5(KEY),
    );
    // Every one of them is there, so their absence means something.
    for name in [
        "Authenticator",
        "alice",
        "Loaded",
        "admin_token",
        "nonce-secret = \"***\"",
        "Key(",
        "Given",
        "Import",
    ] {
        assert!(shown.contains(name), "{name} is not in {shown}");
    }
    for key in [&KEY[..], &caller.login.integrity.0] {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = format!("{key:?}");
        for secret in [&hex, &numbers[1..20]] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
    }
    for secret in [
        "\"secret\"",
        ":secret",
        "d3ad",
        "northern",
        "southern",
        "eastern",
        "western",
    ] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
