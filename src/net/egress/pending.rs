//! Messages that wait to be encrypted.

use super::Message;

/// Messages for the associations of one worker, in order. An association that a datagram is read
/// from cannot take the answer yet.
#[derive(Debug, Default)]
pub(in crate::net) struct PendingMessages {
    bytes: Vec<u8>,
    /// Association and end of each message.
    ends: Vec<(u32, usize)>,
}

impl PendingMessages {
    pub(in crate::net) fn push(&mut self, id: u32, message: &Message<'_>) {
        let (header, payload, padding) = message.parts();
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len() + padding, 0);
        self.ends.push((id, self.bytes.len()));
    }

    /// Associations and their messages.
    pub(in crate::net) fn messages(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let messages = starts.zip(&self.ends);
        messages.map(|(start, (id, end))| (*id, &self.bytes[start..*end]))
    }

    pub(in crate::net) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(in crate::net) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_apart_and_in_order() {
        let mut pending = PendingMessages::default();
        pending.push(7, &Message::Control(b"one"));
        pending.push(3, &Message::Control(b""));
        pending.push(7, &Message::Control(b"two"));
        let messages: Vec<_> = pending.messages().collect();
        assert_eq!(messages, [(7, &b"one"[..]), (3, b""), (7, b"two")]);
        pending.clear();
        assert_eq!(pending.messages().count(), 0);
    }
}
