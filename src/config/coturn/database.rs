//! coturn's database in an SQLite file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::rule::{Given, Place};
use crate::config::error::shown;
use crate::problem::Problem;

/// Most rows of a table.
const MOST_ROWS: usize = 1_000_000;

/// Most bytes of a value; coturn's longest is a name, with 512.
const MOST_BYTES: usize = 4096;

/// Digits of a key.
const KEY_DIGITS: usize = 32;

/// Time to wait while coturn writes.
const PATIENCE: Duration = Duration::from_secs(5);

/// A table, and the options that its rows become.
struct Table {
    name: &'static str,
    columns: &'static [&'static str],
    /// Option; `None`: the first column names it.
    option: Option<&'static str>,
    /// Whether a row without realm is for all realms.
    is_for_all: bool,
}

const TABLES: [Table; 5] = [
    Table {
        name: "turnusers_lt",
        columns: &["name", "hmackey"],
        option: Some("user"),
        is_for_all: false,
    },
    Table {
        name: "turn_secret",
        columns: &["value"],
        option: Some("static-auth-secret"),
        is_for_all: false,
    },
    Table {
        name: "allowed_peer_ip",
        columns: &["ip_range"],
        option: Some("allowed-peer-ip"),
        is_for_all: true,
    },
    Table {
        name: "denied_peer_ip",
        columns: &["ip_range"],
        option: Some("denied-peer-ip"),
        is_for_all: true,
    },
    Table {
        name: "turn_realm_option",
        columns: &["opt", "value"],
        option: None,
        is_for_all: false,
    },
];

/// A row: its realm, and its values or the reason why they cannot be used.
struct Entry {
    table: &'static Table,
    row: i64,
    realm: String,
    values: Result<Vec<String>, String>,
}

/// Reads the rows of one realm: of `realm`, or else of the only one that is there. The file is not changed.
///
/// # Errors
/// When the file is no such database, or holds several realms and none is given.
pub fn database(path: &Path, realm: Option<&str>) -> Result<Vec<Given>, Problem> {
    let unfit = |what: String| {
        Problem::new(
            what,
            "name the SQLite file that coturn has as userdb, such as /var/lib/turn/turndb",
        )
    };
    let failed = |error: rusqlite::Error| unfit(format!("cannot be read as a database: {error}"));
    match path.metadata() {
        Ok(file) if file.is_file() => {}
        Ok(_) => return Err(unfit("is no file".to_owned())),
        Err(error) => return Err(unfit(format!("cannot be read: {error}"))),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(path, flags).map_err(failed)?;
    file.busy_timeout(PATIENCE).map_err(failed)?;
    // Triggers and views of the file have no say.
    file.execute_batch("pragma query_only = on; pragma trusted_schema = off;")
        .map_err(failed)?;
    let mut entries = Vec::new();
    let mut is_coturns = false;
    for table in &TABLES {
        if has(&file, table).map_err(failed)? {
            is_coturns = true;
            read(&file, table, &mut entries)?;
        }
    }
    if !is_coturns {
        return Err(unfit("has no table of coturn's".to_owned()));
    }
    let only = only_realm(&entries, realm)?;
    let mut given = Vec::new();
    if let (None, Some((realm, row))) = (realm, &only) {
        let mut option = Given::new("realm", Some(realm), Place::Row(*row));
        let remark = "the only one of the database";
        option.remarks.push(remark.to_owned());
        given.push(option);
    }
    let realm = realm.or(only.as_ref().map(|(realm, _)| realm.as_str()));
    given.extend(entries.into_iter().map(|entry| option(entry, realm)));
    Ok(given)
}

/// Whether the table is there, and is one that holds its own rows.
fn has(file: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let query = "select count(*) from sqlite_schema where type = 'table' and name = ?1 \
                 and sql not like 'create virtual%'";
    let count: i64 = file.query_row(query, [table.name], |row| row.get(0))?;
    Ok(count > 0)
}

fn read(file: &Connection, table: &'static Table, entries: &mut Vec<Entry>) -> Result<(), Problem> {
    let failed = |error: rusqlite::Error| {
        Problem::new(
            format!("cannot be read in its table {}: {error}", table.name),
            "repair it with `sqlite3 FILE .recover`, or export the table",
        )
    };
    let query = format!(
        "select rowid, realm, {} from {} order by rowid limit {}",
        table.columns.join(", "),
        table.name,
        MOST_ROWS + 1
    );
    let mut query = file.prepare(&query).map_err(failed)?;
    let mut rows = query.query([]).map_err(failed)?;
    let before = entries.len();
    while let Some(row) = rows.next().map_err(failed)? {
        if entries.len() - before == MOST_ROWS {
            return Err(Problem::new(
                format!("has more than {MOST_ROWS} rows in its table {}", table.name),
                "delete those that nobody needs",
            ));
        }
        let realm = match row.get_ref(1).map_err(failed)? {
            ValueRef::Null => Ok(String::new()),
            _ => text(row, 1, "realm"),
        };
        let values = || {
            let columns = table.columns.iter().zip(2..);
            columns.map(|(name, at)| text(row, at, name)).collect()
        };
        let (realm, values) = match realm {
            Ok(realm) => (realm, values()),
            Err(problem) => (String::new(), Err(problem)),
        };
        entries.push(Entry {
            table,
            row: row.get(0).map_err(failed)?,
            realm,
            values,
        });
    }
    Ok(())
}

/// A value that is text; the reason when it is not.
fn text(row: &Row<'_>, at: usize, column: &str) -> Result<String, String> {
    let wrong = |what: &str| {
        Err(format!(
            "its {column} is {what}: correct it in the database"
        ))
    };
    match row.get_ref(at) {
        Ok(ValueRef::Text(bytes)) if bytes.len() > MOST_BYTES => {
            wrong(&format!("{} bytes long", bytes.len()))
        }
        Ok(ValueRef::Text(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => wrong("not UTF-8"),
        },
        Ok(ValueRef::Null) => wrong("missing"),
        Ok(ValueRef::Integer(_) | ValueRef::Real(_)) => wrong("a number and not a text"),
        Ok(ValueRef::Blob(_)) => wrong("a blob and not a text"),
        Err(error) => wrong(&format!("unreadable, {error}")),
    }
}

/// The realm of all users and secrets with its first row, unless one is given or there is none.
fn only_realm(entries: &[Entry], given: Option<&str>) -> Result<Option<(String, i64)>, Problem> {
    if given.is_some() {
        return Ok(None);
    }
    let mut realms: BTreeMap<&str, (usize, i64)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.table.is_for_all) {
        if entry.values.is_ok() {
            realms.entry(&entry.realm).or_insert((0, entry.row)).0 += 1;
        }
    }
    if realms.len() > 1 {
        let all: Vec<_> = realms
            .iter()
            .map(|(realm, (rows, _))| format!("{} with {rows} rows", shown(realm)))
            .collect();
        return Err(Problem::new(
            format!("holds {} realms: {}", realms.len(), all.join(", ")),
            "choose one with --realm, as turnd serves one",
        ));
    }
    let only = realms.into_iter().next();
    Ok(only.map(|(realm, (_, row))| (realm.to_owned(), row)))
}

/// The option that a row is.
fn option(entry: Entry, realm: Option<&str>) -> Given {
    let Entry {
        table,
        row,
        realm: own,
        values,
    } = entry;
    let place = Place::Row(row);
    let name = table.option.unwrap_or(table.name);
    let unusable = |why: String| {
        let mut given = Given::new(name, None, place);
        given.unusable = Some(why);
        given
    };
    let values = match values {
        Ok(values) => values,
        Err(why) => return unusable(format!("row of {}: {why}", table.name)),
    };
    let is_for_all = table.is_for_all && own.is_empty();
    if !is_for_all && Some(own.as_str()) != realm {
        return unusable(format!(
            "is for realm {}: turnd serves one realm, here {}",
            shown(&own),
            shown(realm.unwrap_or_default())
        ));
    }
    match (table.option, values.as_slice()) {
        (Some("user"), [name, key]) => {
            if name.contains(':') {
                return unusable(format!(
                    "user {} has a colon, which ends the name here: rename it",
                    shown(name)
                ));
            }
            let digits = key.bytes().filter(u8::is_ascii_hexdigit).count();
            if digits != KEY_DIGITS || key.len() != KEY_DIGITS {
                return unusable(format!(
                    "the key of user {} is not {KEY_DIGITS} hexadecimal digits: make one with `turnd key`",
                    shown(name)
                ));
            }
            Given::new("user", Some(&format!("{name}:0x{key}")), place)
        }
        (None, [option, value]) => Given::new(option, Some(value), place),
        (_, values) => Given::new(name, values.first().map(String::as_str), place),
    }
}
