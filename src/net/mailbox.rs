//! Commands to workers, from any thread.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};

use mio::Waker;
use turnd_proto::Now;
use turnd_proto::server::Server;
use turnd_proto::server::connections::ConnectionId;
use turnd_udp::UdpSocket;

use super::admission::Displaced;
use super::counters::NetCounters;
use super::poll::Poller;
use super::refusals::Refusals;
use super::tcp_relay::DataStream;
use super::tcp_sockets::Acceptor;

/// Question to a worker's server, or a change of it, between two packets.
pub(super) type Ask = Box<dyn FnOnce(Now, &mut Server, NetCounters) + Send>;

/// Place for a worker's answer.
pub(super) type Answer<T> = tokio::sync::oneshot::Sender<T>;

/// An order to a worker.
pub(super) enum Command {
    /// End every allocation and return.
    Stop,
    /// Look at the server, or change it.
    Ask(Ask),
    /// Tell the last refusals.
    Refusals(Answer<Refusals>),
    /// Listen on more sockets, and take new clients on these addresses only.
    Listen(Listening, Arc<[SocketAddr]>),
    /// Tell which of these listening UDP sockets clients use.
    Used(Arc<[SocketAddr]>, Answer<Vec<SocketAddr>>),
    /// Close these listening UDP sockets.
    Close(Arc<[SocketAddr]>, Answer<()>),
    /// Take a data connection whose peer connection is here.
    Join(ConnectionId, Box<DataStream>),
    /// End a client without an allocation, in whose place another is served.
    Displace(Displaced),
}

/// Listening sockets of one worker.
#[derive(Debug, Default)]
pub(super) struct Listening {
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: Vec<Acceptor>,
}

/// Sending end of a worker's commands.
#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    sender: mpsc::Sender<Command>,
    waker: Arc<Waker>,
}

/// Receiving end, with the poller that the mailbox wakes.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) poller: Poller,
    pub(super) commands: mpsc::Receiver<Command>,
}

/// Makes a mailbox, so that every worker can be given those of all others before it runs.
pub(super) fn mailbox() -> io::Result<(Mailbox, Inbox)> {
    let poller = Poller::new()?;
    let (sender, commands) = mpsc::channel();
    let waker = Arc::new(poller.waker()?);
    Ok((Mailbox { sender, waker }, Inbox { poller, commands }))
}

impl Mailbox {
    /// Hands a command over; a worker that is gone drops it.
    pub(super) fn send(&self, command: Command) {
        if self.sender.send(command).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a worker cannot be woken");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::net::poll::Source;

    #[test]
    fn a_command_waits_for_a_worker_that_has_not_begun_and_wakes_it() {
        let (mailbox, mut inbox) = mailbox().unwrap();
        mailbox.send(Command::Stop);
        let worker = std::thread::spawn(move || {
            while inbox.poller.ready() == 0 {
                inbox.poller.wait(Instant::now(), None).unwrap();
            }
            let (source, _) = inbox.poller.next_ready().unwrap();
            (
                source,
                matches!(inbox.commands.try_recv(), Ok(Command::Stop)),
            )
        });
        assert_eq!(worker.join().unwrap(), (Source::Commands, true));
        mailbox.send(Command::Stop);
    }
}
