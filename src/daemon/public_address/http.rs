//! One HTTP request to a metadata service, with a bound on everything that comes back.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest answer in bytes; the description of a whole machine is smaller.
const LARGEST: usize = 64 << 10;

/// Largest head of an answer in bytes.
const LARGEST_HEAD: usize = 16 << 10;

/// Sends a request without a body, and returns the text of a success. The caller bounds the time.
pub(super) async fn ask(
    service: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<String> {
    let builder = Request::builder().method(method).uri(path);
    let builder = builder.header(HOST, service.ip().to_string());
    let request = headers
        .iter()
        .fold(builder, |builder, (name, value)| {
            builder.header(*name, *value)
        })
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let stream = TcpStream::connect(service).await?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(LARGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await;
        read(response.map_err(io::Error::other)?).await
    });
    // Not in a task of its own, which would outlive a caller that has given up.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

async fn read<B: Body>(response: hyper::Response<B>) -> io::Result<String>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !response.status().is_success() {
        return Err(io::Error::other(format!("status {}", response.status())));
    }
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let bytes = body.map_err(io::Error::other)?.to_bytes();
    String::from_utf8(bytes.into()).map_err(io::Error::other)
}
