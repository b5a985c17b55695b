//! HTTP by hand, so that a test can be as rude as it likes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const JSON: &str = "Content-Type: application/json";

pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A client that opens a connection for each request.
pub(crate) struct Http {
    endpoint: Endpoint,
    headers: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.any_json()
    }

    pub(crate) fn any_json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Http {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        Self {
            endpoint: Endpoint::Tcp(address),
            headers: vec![format!("Host: {address}")],
        }
    }

    pub(crate) fn unix(path: &Path) -> Self {
        Self {
            endpoint: Endpoint::Unix(path.to_owned()),
            headers: vec!["Host: localhost".to_owned()],
        }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.headers.push(format!("Authorization: Bearer {token}"));
        self
    }

    pub(crate) fn connect(&self) -> Box<dyn Stream> {
        match &self.endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                Box::new(stream)
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &self.lines(), "")
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &self.lines(), "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.json("POST", path, &body.to_string())
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.json("PUT", path, &body.to_string())
    }

    /// With this text as the JSON body.
    pub(crate) fn json(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut lines = self.lines();
        lines.push(JSON);
        self.send(method, path, &lines, body)
    }

    /// With these header lines and no others but Content-Length.
    pub(crate) fn send(&self, method: &str, path: &str, lines: &[&str], body: &str) -> Answer {
        let mut stream = self.connect();
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for line in lines {
            text += line;
            text += "\r\n";
        }
        if !body.is_empty() || method != "GET" {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        text += body;
        // Refused before all of it was read, it may be cut off.
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        parse(&String::from_utf8(answer).unwrap())
    }

    fn lines(&self) -> Vec<&str> {
        self.headers.iter().map(String::as_str).collect()
    }
}

fn parse(answer: &str) -> Answer {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
