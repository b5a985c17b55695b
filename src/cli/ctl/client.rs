//! HTTP requests to the admin listener, one at a time.

use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::cli::Failure;
use crate::config::{AdminAddr, Secret};

/// Time limit of one request and its answer; a reload may read large files.
const LIMIT: Duration = Duration::from_secs(30);
/// Largest answer in bytes: a page of sessions with all their peers is smaller.
const LARGEST: usize = 256 << 20;

/// The server's admin listener.
pub(super) struct Client {
    /// Places to try, in this order.
    pub(super) places: Vec<AdminAddr>,
    pub(super) token: Option<Secret>,
}

impl Client {
    /// Sends a request and returns its answer; a refusal is a failure.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Failure> {
        let mut unreachable = Vec::new();
        for place in &self.places {
            match timeout(LIMIT, connect(place)).await {
                Ok(Ok(stream)) => {
                    let request = self.request(place, method, path, body)?;
                    let answer = timeout(LIMIT, exchange(stream, request)).await;
                    let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
                    let (status, bytes) =
                        answer.map_err(|error| Failure::Run(format!("{place}: {error}")))?;
                    let better = (status == StatusCode::UNAUTHORIZED && !unreachable.is_empty())
                        .then(|| explain(&unreachable));
                    return judge(place, status, &bytes, better);
                }
                Ok(Err(error)) => unreachable.push((place, error)),
                Err(_) => unreachable.push((place, ErrorKind::TimedOut.into())),
            }
        }
        Err(Failure::Run(explain(&unreachable)))
    }

    fn request(
        &self,
        place: &AdminAddr,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let host = match place {
            AdminAddr::Tcp(addr) => addr.to_string(),
            AdminAddr::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host);
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.reveal()));
            let mut value = value.map_err(|_| {
                Failure::usage("the token holds a character that cannot be sent; choose another")
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        request.body(Full::from(body)).map_err(Failure::run)
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(place: &AdminAddr) -> io::Result<Box<dyn Stream>> {
    Ok(match place {
        AdminAddr::Tcp(addr) => Box::new(TcpStream::connect(addr).await?),
        AdminAddr::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let no_http = |error: hyper::Error| format!("no answer in HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(no_http)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(no_http)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    Ok((status, body.to_bytes()))
}

/// The answer of a success; otherwise a failure with the server's reason, and why a `better` place was not asked.
fn judge(
    place: &AdminAddr,
    status: StatusCode,
    bytes: &[u8],
    better: Option<String>,
) -> Result<Value, Failure> {
    let answer: Option<Value> = serde_json::from_slice(bytes).ok();
    if let Some(answer) = &answer
        && status.is_success()
    {
        return Ok(answer.clone());
    }
    let problem = answer.unwrap_or_default();
    let details = problem["details"].as_array().into_iter().flatten();
    let details: Vec<_> = details.filter_map(Value::as_str).collect();
    let mut text = match problem["error"].as_str() {
        // A server without a token says what else there is to do.
        Some(error) if status == StatusCode::UNAUTHORIZED && !details.is_empty() => {
            format!("{place}: {error}")
        }
        _ if status == StatusCode::UNAUTHORIZED => format!(
            "{place}: the token is missing or wrong; give the server's admin-token with --token-file or --token"
        ),
        Some(error) => error.to_owned(),
        None => format!(
            "{place}: the answer is not turnd's ({status}); name its admin-listen with --admin"
        ),
    };
    for line in details.into_iter().chain(better.as_deref()) {
        let _ = write!(text, "\n{line}");
    }
    Err(Failure::Run(text))
}

fn explain(unreachable: &[(&AdminAddr, io::Error)]) -> String {
    if unreachable.is_empty() {
        let text = "the configuration has an empty admin-listen; name a place there and restart";
        return text.to_owned();
    }
    let mut text = "turnd cannot be reached:".to_owned();
    for (place, error) in unreachable {
        let reason = match error.kind() {
            ErrorKind::NotFound => "there is no such socket".to_owned(),
            ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            ErrorKind::TimedOut => "no answer in time".to_owned(),
            _ => error.to_string(),
        };
        let _ = write!(text, "\n  {place}: {reason}");
    }
    let denied = unreachable
        .iter()
        .any(|(_, error)| error.kind() == ErrorKind::PermissionDenied);
    text += if denied {
        "\nrun this as root, or as the user or in the group of the server"
    } else {
        "\nstart it with `turnd serve`, or name its admin-listen with --admin"
    };
    text
}

/// Every byte of a query's value but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A text as it stands in a query.
pub(super) fn encode(text: &str) -> impl Display {
    utf8_percent_encode(text, RESERVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_hold_any_name() {
        assert_eq!(
            encode("a&b=c d%\n~ü").to_string(),
            "a%26b%3Dc%20d%25%0A~%C3%BC"
        );
    }

    fn said(status: StatusCode, body: &str) -> String {
        let place = AdminAddr::Tcp(([127, 0, 0, 1], 9641).into());
        match judge(&place, status, body.as_bytes(), None) {
            Err(Failure::Run(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refusals_are_told_with_their_details() {
        let body = r#"{"error": "not reloaded", "details": ["one", "two"]}"#;
        let text = said(StatusCode::UNPROCESSABLE_ENTITY, body);
        assert_eq!(text, "not reloaded\none\ntwo");
        assert_eq!(
            said(StatusCode::UNAUTHORIZED, "{}"),
            "127.0.0.1:9641: the token is missing or wrong; give the server's admin-token with --token-file or --token"
        );
        let body = r#"{"error": "no token here", "details": ["use the socket"]}"#;
        assert_eq!(
            said(StatusCode::UNAUTHORIZED, body),
            "127.0.0.1:9641: no token here\nuse the socket"
        );
        assert_eq!(
            said(StatusCode::OK, "<html>"),
            "127.0.0.1:9641: the answer is not turnd's (200 OK); name its admin-listen with --admin"
        );
    }
}
