//! coturn's database.

use rusqlite::Connection;

use super::*;

/// coturn's schema.sql, as far as it is read, and rows.
fn rows(sql: &str, realm: Option<&str>) -> Result<Vec<Given>, String> {
    let name = format!(
        "turnd-import-{}-{:?}.db",
        std::process::id(),
        std::thread::current().id()
    );
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let file = Connection::open(&path).unwrap();
    file.execute_batch(
        "create table turnusers_lt (realm varchar(127) default '', name varchar(512), hmackey char(128), primary key (realm,name));
         create table turn_secret (realm varchar(127) default '', value varchar(256), primary key (realm,value));
         create table denied_peer_ip (realm varchar(127) default '', ip_range varchar(256), primary key (realm,ip_range));
         create table turn_realm_option (realm varchar(127) default '', opt varchar(32), value varchar(128), primary key (realm,opt));",
    )
    .unwrap();
    file.execute_batch(sql).unwrap();
    drop(file);
    let before = std::fs::read(&path).unwrap();
    let given = database(&path, realm).map_err(|problem| problem.to_string());
    assert!(
        before == std::fs::read(&path).unwrap(),
        "the file was changed"
    );
    std::fs::remove_file(path).unwrap();
    given
}

const KEY: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn users_secrets_peers_and_limits_of_one_realm() {
    let sql = format!(
        "insert into turnusers_lt values ('example.org', 'alice', '{KEY}'), ('example.org', 'bob', '{KEY}');
         insert into turn_secret values ('example.org', 'north-of-the-river');
         insert into denied_peer_ip values ('', '192.0.2.0-192.0.2.255'), ('example.org', '198.51.100.1');
         insert into turn_realm_option values ('example.org', 'max-bps', '64000');"
    );
    let import = translate(&rows(&sql, None).unwrap());
    let expected = format!(
        "realm = \"example.org\"\nuser = [\n  \"alice:0x{KEY}\",\n  \"bob:0x{KEY}\",\n]\nstatic-auth-secret = [\"north-of-the-river\"]\n\
         max-bps = 64000\ndenied-peer-ip = [\n  \"192.0.2.0-192.0.2.255\",\n  \"198.51.100.1\",\n]"
    );
    assert_eq!(keys(&import).join("\n"), expected);
    assert!(
        import
            .entries
            .iter()
            .all(|entry| entry.verdict == Verdict::Kept),
        "{import:?}"
    );
    Config::from_toml(&import.toml).unwrap();
}

#[test]
fn odd_rows_are_told_of_one_by_one() {
    let sql = format!(
        "insert into turnusers_lt values ('r', 'alice', '{KEY}'), ('r', 'a:b', '{KEY}'), ('r', 'short', 'abc'),
           ('r', 'null', null), ('r', x'ff00', '{KEY}'), ('r', 'blob', x'00'), ('other', 'carol', '{KEY}'),
           ('r', cast(x'ff' as text), '{KEY}'), ('r', 'long' || hex(zeroblob(5000)), '{KEY}'), ('r', 'null' || char(0), '{KEY}');"
    );
    let import = translate(&rows(&sql, Some("r")).unwrap());
    let told: Vec<_> = import
        .entries
        .iter()
        .skip(1)
        .map(|entry| entry.text.as_str())
        .collect();
    assert_eq!(
        told[..8],
        [
            "user \"a:b\" has a colon, which ends the name here: rename it",
            "the key of user \"short\" is not 32 hexadecimal digits: make one with `turnd key`",
            "row of turnusers_lt: its hmackey is missing: correct it in the database",
            "row of turnusers_lt: its name is a blob and not a text: correct it in the database",
            "row of turnusers_lt: its hmackey is a blob and not a text: correct it in the database",
            "is for realm \"other\": turnd serves one realm, here \"r\"",
            "row of turnusers_lt: its name is not UTF-8: correct it in the database",
            "row of turnusers_lt: its name is 10004 bytes long: correct it in the database",
        ]
    );
    assert_eq!(import.entries[0].verdict, Verdict::Kept);
    assert!(
        import
            .entries
            .iter()
            .skip(1)
            .all(|entry| entry.verdict == Verdict::NotSupported)
    );
    assert_eq!(import.entries[2].place, Place::Row(3));
}

#[test]
fn of_several_realms_one_is_chosen() {
    let sql = format!(
        "insert into turnusers_lt values ('a', 'x', '{KEY}'), ('b', 'y', '{KEY}'), ('b', 'z', '{KEY}');"
    );
    assert_eq!(
        rows(&sql, None).unwrap_err(),
        "holds 2 realms: \"a\" with 1 rows, \"b\" with 2 rows; choose one with --realm, as turnd serves one"
    );
    let import = translate(&rows(&sql, Some("b")).unwrap());
    assert_eq!(toml_users(&import), 2);
}

fn toml_users(import: &Import) -> usize {
    let table: toml::Table = import.toml.parse().unwrap();
    table["user"].as_array().unwrap().len()
}

/// coturn asks for the secrets only when it is told to.
#[test]
fn secrets_that_coturn_does_not_ask_for() {
    let secret = rows(
        "insert into turn_secret values ('r', 'north-of-the-river');",
        Some("r"),
    )
    .unwrap();
    let beside = |conf: &str| {
        let mut given = read_conf(conf);
        given.extend(secret.clone());
        translate(&given)
    };
    assert!(
        beside("realm=r\nuse-auth-secret\nuserdb=/x")
            .toml
            .contains("static-auth-secret = [")
    );
    let idle = beside("realm=r\nlt-cred-mech");
    assert!(!idle.toml.contains("static-auth-secret"), "{}", idle.toml);
    assert_eq!(idle.entries[2].verdict, Verdict::WithoutEffect);
    let read = beside("use-auth-secret\nuserdb=/x");
    assert_eq!(read.entries[1].text, "its rows are listed by themselves");
    assert!(
        verdict("userdb=/var/lib/turn/turndb")
            .1
            .contains("turnd import --db /var/lib/turn/turndb")
    );
}

#[test]
fn files_that_are_no_database() {
    let folder = std::env::temp_dir();
    let told = |path: &std::path::Path| database(path, None).unwrap_err().to_string();
    assert!(
        told(&folder).starts_with("is no file; name the SQLite file"),
        "{}",
        told(&folder)
    );
    assert!(told(std::path::Path::new("/nonexistent")).starts_with("cannot be read: No such file"));
    let text = folder.join(format!("turnd-import-{}.txt", std::process::id()));
    for (contents, problem) in [
        (
            "realm=a\nuser=b:c\n".repeat(100),
            "cannot be read as a database: file is not a database",
        ),
        (String::new(), "has no table of coturn's"),
    ] {
        std::fs::write(&text, contents).unwrap();
        assert!(told(&text).starts_with(problem), "{}", told(&text));
    }
    std::fs::remove_file(text).unwrap();
    // A view could go on for ever.
    let view = "drop table turn_secret; create view turn_secret as with recursive n(i) as (select 1 union all select i + 1 from n) select 'r' as realm, i as value from n;";
    assert!(rows(view, None).unwrap().is_empty());
}
