//! The protocol knows no socket, no runtime and no clock.

use std::fs;
use std::path::{Path, PathBuf};

/// Sans-IO: bytes and a `Now` come in, verdicts and outputs go out.
const PURE: [&str; 4] = ["wire", "auth", "policy", "server"];
const FORBIDDEN: [&str; 9] = [
    "tokio",
    "mio::",
    "socket2",
    "libc",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "Instant::now",
    "SystemTime",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            found.push(path);
        }
    }
}

/// The code without comments, and without the tests, which stand at the end.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let without_comment = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    code.lines()
        .map(without_comment)
        .collect::<Vec<_>>()
        .join("\n")
}

fn offences(text: &str) -> Vec<&'static str> {
    let code = code(text);
    FORBIDDEN
        .into_iter()
        .filter(|word| code.contains(word))
        .collect()
}

#[test]
fn the_pure_folders_know_no_socket_no_runtime_and_no_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for folder in PURE {
        let mut found = Vec::new();
        files(&root.join(folder), &mut found);
        assert!(found.len() > 3, "{folder} has moved");
        for file in found {
            let offences = offences(&fs::read_to_string(&file).unwrap());
            assert!(offences.is_empty(), "{}: {offences:?}", file.display());
        }
    }
}

#[test]
fn offences_are_found_in_code_only() {
    assert_eq!(offences("let now = Instant::now();"), ["Instant::now"]);
    assert_eq!(
        offences("use std::net::{IpAddr, UdpSocket};"),
        ["UdpSocket"]
    );
    assert_eq!(
        offences("// tokio\n/// a UdpSocket\nfn f() {}\n#[cfg(test)]\nuse tokio;"),
        [""; 0]
    );
}
