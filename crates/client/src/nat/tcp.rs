//! The mapping of TCP ports: the test of RFC 5780 §4.3 over connections from one local port.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Arrived;
use super::ask::{Ask, Port, Reply, Step};
use super::exchange::answer;
use super::mapping::MappingTest;
use super::report::{Learned, Mapping, Unknown};
use crate::Oddity;
use crate::local::local_ip;
use crate::turn::{Client, Event, Framing, Request, Response};

/// Finds out how TCP ports are mapped towards `server`; each connection may take `limit`.
///
/// # Errors
/// The reason why it could not be found out.
pub async fn mapping(
    server: SocketAddr,
    second: Option<SocketAddr>,
    limit: Duration,
) -> Learned<Mapping> {
    let mut test = MappingTest::new(server, second);
    let mut local = None;
    // Open until the end: a mapping may go with its connection.
    let mut streams = Vec::new();
    let mut reply = None;
    loop {
        let ask = match test.step(reply) {
            Step::Ask(ask) => ask,
            Step::Done(mapped) => {
                return mapped.mapping.map_err(|why| match why {
                    Unknown::Silent(server, None) => Unknown::SilentOverTcp(server),
                    why => why,
                });
            }
            Step::Cross(_) | Step::Wait(_) => return Err(Unknown::NotSupported("TCP")),
        };
        reply = Some(
            match timeout(limit, exchange(&ask, &mut local, &mut streams)).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Err(Unknown::NotSupported("TCP"));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(Unknown::Local(error.kind()));
                }
                Ok(Err(_)) | Err(_) => Reply::Silent(None),
            },
        );
    }
}

/// Connects from the one local port, asks, and reads the answer.
async fn exchange(
    ask: &Ask,
    local: &mut Option<SocketAddr>,
    streams: &mut Vec<TcpStream>,
) -> io::Result<Reply> {
    let from = match *local {
        Some(local) => local,
        None => SocketAddr::new(local_ip(ask.to)?, 0),
    };
    let socket = socket(from)?;
    // The port is settled by the first bind, before anything is connected.
    let bound = *local.insert(socket.local_addr()?);
    let mut stream = socket.connect(ask.to).await?;
    let response = match binding(&mut stream).await? {
        Ok(response) => response,
        Err(oddity) => return Ok(Reply::Silent(Some(oddity))),
    };
    streams.push(stream);
    if let Some(code) = response.error {
        return Ok(Reply::Error(code));
    }
    let arrived = Arrived {
        port: Port::MAPPING,
        local: bound,
        from: ask.to,
        bytes: &response.message.raw,
    };
    let answer = answer(&response.message, &arrived);
    Ok(answer.map_or(Reply::Silent(Some(Oddity::Damaged)), Reply::Answer))
}

/// The response to a Binding request, or what came in its place.
async fn binding(stream: &mut TcpStream) -> io::Result<Result<Response, Oddity>> {
    let mut client = Client::new(Framing::Stream);
    client.ask_once(Instant::now(), &Request::Binding);
    while let Some(bytes) = client.poll_transmit(Instant::now()) {
        stream.write_all(&bytes).await?;
    }
    let mut buffer = [0; 2048];
    loop {
        match client.poll_event() {
            Some(Event::Response(_, response)) => return Ok(Ok(response)),
            Some(Event::Odd(oddity)) => return Ok(Err(oddity)),
            Some(_) => return Ok(Err(Oddity::Damaged)),
            None => {}
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => client.handle_input(Instant::now(), &buffer[..len]),
        }
    }
}

/// A socket bound to `from` beside others that are.
fn socket(from: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&from.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}
