//! The client over sockets that block.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use stun::message::Message;

use crate::turn::{Client, Event, Framing, Request, RequestId, Response};

/// Longest datagram that is read whole.
const DATAGRAM: usize = 65_536;
/// Shortest time that a socket is waited for: none at all would be no limit.
const SHORTEST: Duration = Duration::from_millis(1);

/// Transport to a server.
pub trait Link {
    /// The way messages are told apart on it.
    fn framing(&self) -> Framing;

    /// Sends all of one message.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Receives a datagram, or some bytes of a stream, of which none mean its end.
    ///
    /// # Errors
    /// The system's; [`ErrorKind::WouldBlock`] when nothing comes within `limit`.
    fn receive(&mut self, bytes: &mut [u8], limit: Duration) -> io::Result<usize>;
}

/// A connected socket.
impl Link for UdpSocket {
    fn framing(&self) -> Framing {
        Framing::Datagrams
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        UdpSocket::send(self, bytes).map(drop)
    }

    fn receive(&mut self, bytes: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.set_read_timeout(Some(limit))?;
        self.recv(bytes)
    }
}

impl Link for TcpStream {
    fn framing(&self) -> Framing {
        Framing::Stream
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn receive(&mut self, bytes: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.set_read_timeout(Some(limit))?;
        self.read(bytes)
    }
}

impl Link for StreamOwned<ClientConnection, TcpStream> {
    fn framing(&self) -> Framing {
        Framing::Stream
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn receive(&mut self, bytes: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.sock.set_read_timeout(Some(limit))?;
        self.read(bytes)
    }
}

/// A client that waits for each response.
#[derive(Debug)]
pub struct Blocking<L> {
    link: L,
    client: Client,
}

impl<L: Link> Blocking<L> {
    /// A client over a transport.
    pub fn new(link: L) -> Self {
        Self {
            client: Client::new(link.framing()),
            link,
        }
    }

    /// The client itself.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The transport, to send on it what is no request.
    pub fn link(&mut self) -> &mut L {
        &mut self.link
    }

    /// The transport alone.
    pub fn into_link(self) -> L {
        self.link
    }

    /// Asks, answers challenges, and waits for the response; all else that comes meanwhile is dropped.
    ///
    /// # Errors
    /// The transport's; [`ErrorKind::TimedOut`] without a response.
    pub fn ask(&mut self, request: Request) -> io::Result<Response> {
        let id = self.client.ask(Instant::now(), request);
        self.response(id)
    }

    /// Sends a request as it is, and waits for the response; all else that comes meanwhile is dropped.
    ///
    /// # Errors
    /// The transport's; [`ErrorKind::TimedOut`] without a response.
    pub fn submit(&mut self, request: Message) -> io::Result<Response> {
        let id = self.client.submit(Instant::now(), request);
        self.response(id)
    }

    fn response(&mut self, id: RequestId) -> io::Result<Response> {
        loop {
            match self.event(None)? {
                Some(Event::Response(of, response)) if of == id => return Ok(response),
                Some(Event::TimedOut(of, _)) if of == id => return Err(ErrorKind::TimedOut.into()),
                _ => {}
            }
        }
    }

    /// Sends a payload on a channel.
    pub fn send_channel(&mut self, number: u16, payload: &[u8]) -> io::Result<()> {
        self.client.send_channel(number, payload);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(bytes) = self.client.poll_transmit(Instant::now()) {
            self.link.send(&bytes)?;
        }
        Ok(())
    }

    /// The next event; `None` when there is none until this time.
    pub fn event(&mut self, until: Option<Instant>) -> io::Result<Option<Event>> {
        let mut bytes = vec![0; DATAGRAM];
        loop {
            self.flush()?;
            if let Some(event) = self.client.poll_event() {
                return Ok(Some(event));
            }
            let now = Instant::now();
            let wake = [until, self.client.poll_timeout()].into_iter().flatten();
            let Some(wake) = wake.min().filter(|_| until.is_none_or(|until| now < until)) else {
                return Ok(None);
            };
            let limit = wake.saturating_duration_since(now).max(SHORTEST);
            match self.link.receive(&mut bytes, limit) {
                Ok(0) if self.link.framing() == Framing::Stream => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(len) => self.client.handle_input(Instant::now(), &bytes[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.client.handle_timeout(Instant::now());
        }
    }
}
