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
    let mut text = heading(status);
    let public = status["public_addresses"].as_array().into_iter().flatten();
    let public: Vec<_> = public.filter_map(Value::as_str).collect();
    if !public.is_empty() {
        let _ = write!(text, "\n{:<17} {}", "public address", public.join(", "));
    }
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
        ("relay ports", format!("{} in use", relay_ports_of(status))),
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

/// Version, state and age of the server.
fn heading(status: &Value) -> String {
    let state = if status["draining"] == true {
        "draining"
    } else {
        "serving"
    };
    let version = status["version"].as_str().unwrap_or_default();
    let uptime = status["uptime_seconds"].as_u64().unwrap_or_default();
    format!("turnd {version}, {state}, up {}", time(uptime))
}

fn relay_ports_of(status: &Value) -> String {
    let number = |key: &str| status[key].as_u64().unwrap_or_default();
    relay_ports(
        number("relay_ports_used"),
        number("relay_ports_total"),
        number("relay_addresses"),
    )
}

/// Relay ports: with several relay addresses there are more than port numbers.
fn relay_ports(used: u64, total: u64, addresses: u64) -> String {
    match addresses {
        0 | 1 => format!("{used} of {total}"),
        _ => format!(
            "{used} of {total} ({} on each of {addresses} addresses)",
            total / addresses
        ),
    }
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

/// `turnd ctl sessions`: whether there are more, and whether the peers of each session are wanted.
pub(super) fn sessions(answer: &Value, more: bool, peers: bool) -> String {
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
            "PEERS NOW",
            "CLIENT NOW",
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
            rate(session, "bytes_to_peers"),
            rate(session, "bytes_to_client"),
        ]
    }));
    let mut lines = table(&rows).into_iter();
    let mut text = lines.next().unwrap_or_default();
    for (line, session) in lines.zip(sessions) {
        let _ = write!(text, "\n{line}");
        if peers {
            text += &peers_of(session);
        }
    }
    let _ = if more {
        let shown = sessions.len();
        write!(text, "\n{shown} of {total}; --all shows the rest")
    } else {
        write!(text, "\n{total} in all")
    };
    text
}

/// Peers of a session, each on a line of its own.
fn peers_of(session: &Value) -> String {
    let mut text = String::new();
    for channel in list(session, "channels") {
        let (number, peer) = (channel["number"].as_u64(), channel["peer"].as_str());
        if let (Some(number), Some(peer)) = (number, peer) {
            let _ = write!(text, "\n      channel {number:#06x} {peer}");
        }
    }
    for peer in list(session, "permissions")
        .iter()
        .filter_map(Value::as_str)
    {
        let _ = write!(text, "\n      permission {peer}");
    }
    text
}

/// `turnd ctl top`.
pub(super) fn top(answer: &Value) -> String {
    let status = &answer["status"];
    let total = |key: &str| match answer["per_second"][key].as_u64() {
        Some(bytes) => bits(bytes),
        None => "-".to_owned(),
    };
    let mut text = format!(
        "{}\n{} sessions, {} to peers, {} to clients, relay ports {}",
        heading(status),
        status["allocations"].as_u64().unwrap_or_default(),
        total("bytes_to_peers"),
        total("bytes_to_clients"),
        relay_ports_of(status)
    );
    let mut rows = vec![
        [
            "PEERS NOW",
            "CLIENT NOW",
            "TO PEERS",
            "TO CLIENT",
            "AGE",
            "VIA",
            "CLIENT",
            "RELAYED",
            "USER",
            "ID",
        ]
        .map(str::to_owned),
    ];
    let sessions = list(&answer["sessions"], "sessions");
    rows.extend(sessions.iter().map(|session| {
        let text = |key: &str| session[key].as_str().unwrap_or("-").to_owned();
        let number = |key: &str| session[key].as_u64().unwrap_or_default();
        [
            rate(session, "bytes_to_peers"),
            rate(session, "bytes_to_client"),
            size(number("bytes_to_peers")),
            size(number("bytes_to_client")),
            time(number("age_seconds")),
            text("transport"),
            text("client"),
            text("relayed"),
            name(&text("user")),
            number("id").to_string(),
        ]
    }));
    if !sessions.is_empty() {
        let _ = write!(text, "\n\n{}", table(&rows).join("\n"));
    }
    text
}

/// A rate of a session; a dash: nobody has asked for rates lately.
fn rate(session: &Value, key: &str) -> String {
    let bytes = session["per_second"][key].as_u64();
    bytes.map_or_else(|| "-".to_owned(), bits)
}

/// The elements of a list; none where there is no list.
fn list<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    answer[key].as_array().map_or(&[], Vec::as_slice)
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
    match answer["killed"].as_u64().unwrap_or_default() {
        1 => "1 session ended".to_owned(),
        killed => format!("{killed} sessions ended"),
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
fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
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
    lines.collect()
}

fn size(bytes: u64) -> String {
    scaled(bytes, ["B", "kB", "MB", "GB", "TB", "PB"])
}

/// Bytes a second as networks are measured.
fn bits(bytes: u64) -> String {
    let units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s"];
    scaled(bytes.saturating_mul(8), units)
}

/// A number with the unit that leaves three digits or fewer before the point.
fn scaled(number: u64, units: [&str; 6]) -> String {
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{number} {}", units[0])
    } else {
        format!("{value:.1} {}", units[unit])
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
        assert_eq!(
            [0, 124, 125].map(bits),
            ["0 bit/s", "992 bit/s", "1.0 kbit/s"]
        );
        assert_eq!(bits(125_000_000), "1.0 Gbit/s");
        assert_eq!(relay_ports(3, 16_384, 1), "3 of 16384");
        assert_eq!(
            relay_ports(0, 81_920, 5),
            "0 of 81920 (16384 on each of 5 addresses)"
        );
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
        let text = sessions(
            &json!({ "total": 2, "next": 7, "sessions": [session] }),
            true,
            false,
        );
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains(r"a\n\u{1b}[2J<b>"), "{text}");
        assert_eq!(lines[2], "1 of 2; --all shows the rest");
        assert_eq!(lines[0].find("CLIENT"), lines[1].find("192.0.2.1:1"));
    }

    #[test]
    fn peers_stand_below_their_session() {
        let answer = json!({ "total": 1, "next": null, "sessions": [{
            "id": 7, "per_second": { "bytes_to_peers": 125, "bytes_to_client": 0 },
            "permissions": ["192.0.2.1"], "channels": [{ "number": 16384, "peer": "192.0.2.1:5000" }],
        }]});
        let text = sessions(&answer, false, true);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with("1.0 kbit/s  0 bit/s"), "{text}");
        assert_eq!(lines[2].trim(), "channel 0x4000 192.0.2.1:5000");
        assert_eq!(lines[3].trim(), "permission 192.0.2.1");
        assert_eq!(lines[4], "1 in all");
        assert_eq!(sessions(&answer, false, false).lines().count(), 3);
    }

    #[test]
    fn answers_that_lack_something_are_no_panic() {
        for answer in [json!(null), json!({}), json!([]), json!({"sessions": 1})] {
            let listed = |answer: &Value| sessions(answer, true, true);
            let shows: [&dyn Fn(&Value) -> String; 6] =
                [&status, &listed, &top, &killed, &draining, &reloaded];
            for show in shows {
                assert!(!show(&answer).is_empty());
            }
        }
    }
}
