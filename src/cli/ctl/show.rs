//! Answers as people read them.

use std::fmt::Write as _;

use serde_json::Value;

/// Characters of a user name that the table shows; `--json` has them all.
const NAME_WIDTH: usize = 48;

/// `turnd ctl status`.
pub(super) fn status(status: &Value) -> String {
    let number = |key: &str| status[key].as_u64().unwrap_or_default();
    let flow = |side: &str, way: &str| {
        let of = |what: &str| status[side][format!("{way}_{what}")].as_u64();
        let packets = of("packets").unwrap_or_default();
        let bytes = of("bytes").unwrap_or_default();
        format!("{packets} packets, {}", size(bytes))
    };
    let state = if status["draining"] == true {
        "draining"
    } else {
        "serving"
    };
    let version = status["version"].as_str().unwrap_or_default();
    let mut text = format!(
        "turnd {version}, {state}, up {}",
        time(number("uptime_seconds"))
    );
    for (name, value) in [
        (
            "allocations",
            format!(
                "{} live, {} made, {} ended",
                number("allocations"),
                number("allocations_created"),
                number("allocations_ended")
            ),
        ),
        (
            "relay ports",
            format!(
                "{} of {} in use",
                number("relay_ports_used"),
                number("relay_ports_total")
            ),
        ),
        ("from clients", flow("clients", "received")),
        ("to clients", flow("clients", "sent")),
        ("from peers", flow("peers", "received")),
        ("to peers", flow("peers", "sent")),
        ("dropped", format!("{} packets", number("packets_dropped"))),
        ("binding requests", number("binding_requests").to_string()),
        ("auth failures", number("auth_failures").to_string()),
        ("quota refusals", number("quota_refusals").to_string()),
        (
            "reloads",
            format!("{}, {} failed", number("reloads"), number("failed_reloads")),
        ),
    ] {
        let _ = write!(text, "\n{name:<17} {value}");
    }
    if status["last_reload_failed"] == true {
        text += "; the last one failed, the configuration before is in force";
    }
    for change in list(status, "pending") {
        let _ = write!(text, "\n{:<17} {}", "pending", pending(change));
    }
    if let Some(reason) = status["certificates_unusable"].as_str() {
        let _ = write!(text, "\n{:<17} {}", "certificates", kept(reason));
    }
    text
}

/// The elements of a list; none where there is no list.
fn list<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
}

fn change(change: &Value) -> String {
    let of = |key: &str| match change[key].as_str() {
        Some("") | None => "absent",
        Some(text) => text,
    };
    format!("{}: {} -> {}", of("key"), of("old"), of("new"))
}

fn pending(key: &Value) -> String {
    format!("{} from the next restart on", change(key))
}

fn kept(reason: &str) -> String {
    format!("the old one is in use, because {reason}")
}

/// `turnd ctl sessions`.
pub(super) fn sessions(answer: &Value) -> String {
    let sessions = list(answer, "sessions");
    let total = answer["total"].as_u64().unwrap_or_default();
    if sessions.is_empty() {
        return "no sessions".to_owned();
    }
    let mut rows = vec![
        [
            "ID",
            "USER",
            "CLIENT",
            "VIA",
            "RELAYED",
            "AGE",
            "LEFT",
            "TO PEERS",
            "TO CLIENT",
        ]
        .map(str::to_owned),
    ];
    rows.extend(sessions.iter().map(|session| {
        let text = |key: &str| session[key].as_str().unwrap_or("-").to_owned();
        let number = |key: &str| session[key].as_u64().unwrap_or_default();
        [
            number("id").to_string(),
            name(&text("user")),
            text("client"),
            text("transport"),
            text("relayed"),
            time(number("age_seconds")),
            time(number("remaining_seconds")),
            size(number("bytes_to_peers")),
            size(number("bytes_to_client")),
        ]
    }));
    let mut text = table(&rows);
    if answer["next"].is_null() {
        let _ = write!(text, "\n{total} in all");
    } else {
        let _ = write!(
            text,
            "\n{} of {total}; --all shows the rest",
            sessions.len()
        );
    }
    text
}

/// A user name in one cell: without what would move the cursor, and not too long.
fn name(name: &str) -> String {
    let mut shown = String::new();
    for (n, c) in name.chars().enumerate() {
        if n == NAME_WIDTH {
            shown.push('…');
            break;
        }
        match c {
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

/// `turnd ctl kill`.
pub(super) fn killed(answer: &Value) -> String {
    match answer["killed"].as_u64() {
        Some(1) => "1 session ended".to_owned(),
        Some(0) | None => "no session was meant".to_owned(),
        Some(killed) => format!("{killed} sessions ended"),
    }
}

/// `turnd ctl drain`.
pub(super) fn draining(answer: &Value) -> String {
    if answer["drain"] == true {
        "draining: new sessions are refused".to_owned()
    } else {
        "new sessions are accepted".to_owned()
    }
}

/// `turnd ctl reload`.
pub(super) fn reloaded(answer: &Value) -> String {
    let changes = list(answer, "changes");
    let mut text = match changes {
        [] => "reloaded, nothing has changed".to_owned(),
        _ => "reloaded".to_owned(),
    };
    for key in changes {
        let _ = write!(text, "\n  {}", change(key));
    }
    for key in list(answer, "pending") {
        let _ = write!(text, "\n  {}", pending(key));
    }
    if let Some(reason) = answer["certificates_unusable"].as_str() {
        let _ = write!(text, "\n  certificates: {}", kept(reason));
    }
    text
}

/// Columns two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let lines = rows.iter().map(|row| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Bytes with the unit that leaves three digits or fewer before the point.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Seconds in the two largest units.
fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000].map(size), ["0 B", "999 B", "1.0 kB"]);
        assert_eq!(size(999_949), "999.9 kB");
        assert_eq!(size(999_950), "1.0 MB");
        assert_eq!(size(u64::MAX), "18446.7 PB");
        let times = [59, 61, 3661, 90_000].map(time);
        assert_eq!(times, ["59s", "1m01s", "1h01m", "1d01h"]);
    }

    #[test]
    fn a_name_stays_in_its_row() {
        let session = json!({
            "id": 7, "user": "a\n\u{1b}[2J<b>", "client": "192.0.2.1:1", "transport": "udp",
            "relayed": "192.0.2.9:2", "age_seconds": 1, "remaining_seconds": 599,
            "bytes_to_peers": 10, "bytes_to_client": 0,
        });
        let text = sessions(&json!({ "total": 2, "next": 7, "sessions": [session] }));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains(r"a\n\u{1b}[2J<b>"), "{text}");
        assert_eq!(lines[2], "1 of 2; --all shows the rest");
        assert_eq!(lines[0].find("CLIENT"), lines[1].find("192.0.2.1:1"));
    }

    #[test]
    fn answers_that_lack_something_are_no_panic() {
        for answer in [json!(null), json!({}), json!([]), json!({"sessions": 1})] {
            for show in [status, sessions, killed, draining, reloaded] {
                assert!(!show(&answer).is_empty());
            }
        }
    }
}
