//! The mapping of TCP ports: the test of RFC 5780 §4.3 over connections from one local port.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use stun::message::MESSAGE_HEADER_SIZE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::Arrived;
use super::ask::{Ask, Port, Reply, Step};
use super::driver::local_ip;
use super::exchange::{answer, request};
use super::mapping::MappingTest;
use super::report::{Learned, Mapping, Oddity, Unknown};
use crate::stun_message::decode;

/// Finds out how TCP ports are mapped towards `server`, each connection within `patience`.
///
/// # Errors
/// Why it could not be found out.
pub async fn mapping(
    server: SocketAddr,
    second: Option<SocketAddr>,
    patience: Duration,
) -> Learned<Mapping> {
    let mut test = MappingTest::new(server, second);
    let mut local = None;
    // Open until the end: a mapping may go with its connection.
    let mut streams = Vec::new();
    let mut reply = None;
    loop {
        let ask = match test.step(reply) {
            Step::Ask(ask) => ask,
            Step::Done(mapped) => return mapped.mapping,
            Step::Cross(_) | Step::Wait(_) => return Err(Unknown::NotSupported("TCP")),
        };
        reply = Some(
            match timeout(patience, exchange(&ask, &mut local, &mut streams)).await {
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
    let (transmit, id) = request(ask);
    stream.write_all(&transmit.bytes).await?;
    let mut bytes = vec![0; MESSAGE_HEADER_SIZE];
    stream.read_exact(&mut bytes).await?;
    let body = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    bytes.resize(MESSAGE_HEADER_SIZE + body, 0);
    if bytes[0] > 3 {
        return Ok(Reply::Silent(Some(Oddity::NotStun)));
    }
    stream.read_exact(&mut bytes[MESSAGE_HEADER_SIZE..]).await?;
    streams.push(stream);
    let decoded = decode(&bytes).filter(|message| message.transaction_id == id);
    let Some(message) = decoded else {
        return Ok(Reply::Silent(Some(Oddity::Damaged)));
    };
    let arrived = Arrived {
        port: Port::MAPPING,
        local: bound,
        from: ask.to,
        bytes: &bytes,
    };
    Ok(answer(&message, &arrived).map_or(Reply::Silent(Some(Oddity::Damaged)), Reply::Answer))
}

/// A socket bound to `from` beside others that are.
fn socket(from: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&from.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}
