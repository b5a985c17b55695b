//! One request of a test's client, and its response.

use std::time::Instant;

use stun::message::Message;
use turnd_client::turn::{Client, Event, Framing};

/// A request that is sent once and exactly as it is.
pub(crate) struct Asking(Client);

impl Asking {
    pub(crate) fn new(framing: Framing, request: &Message) -> Self {
        let mut client = Client::new(framing);
        client.submit(Instant::now(), request.clone());
        Self(client)
    }

    /// The bytes to send.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let bytes = self.0.poll_transmit(Instant::now());
        bytes.expect("a request is sent once")
    }

    /// The response to this request, which `bytes` must be.
    pub(crate) fn reply(mut self, bytes: &[u8]) -> Message {
        self.0.handle_input(Instant::now(), bytes);
        match self.0.poll_event() {
            Some(Event::Response(_, response)) => response.message,
            other => panic!("no response, but {other:?}: {bytes:02x?}"),
        }
    }
}
