//! Bytes that wait to be written to clients on streams.

use std::io;

use super::Message;

/// Relayed data is dropped when more than this waits: the client does not read, and media that is late is of no use.
const DATA_LIMIT: usize = 128 << 10;
/// A client that leaves more than this unread, control messages included, is given up.
const CONTROL_LIMIT: usize = DATA_LIMIT + (64 << 10);
/// Bytes of memory that an empty queue may keep.
const KEPT: usize = 16 << 10;
/// Empty queues whose whole memory is kept for the next: after a turn, few are not empty.
const SPARE: usize = 8;

/// Bytes for one client: whole frames in order; the first may have left in part.
#[derive(Debug, Default)]
pub(in crate::net) struct WriteQueue {
    bytes: Vec<u8>,
    written: usize,
    dropped: u64,
    /// Whether the client is among [`WriteQueues::dirty`].
    dirty: bool,
    /// Whether a control message has found no room.
    overflown: bool,
}

/// The client reads too slowly for what it asks.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net) struct Overflow;

/// Queues of all stream clients of a worker, by [`ClientSocket::Stream`]. They stand apart from the
/// clients, so that one whose bytes are being handled can be answered.
///
/// [`ClientSocket::Stream`]: turnd_proto::server::five_tuple::ClientSocket::Stream
#[derive(Debug, Default)]
pub(in crate::net) struct WriteQueues {
    queues: Vec<Option<WriteQueue>>,
    /// Clients for whom something was queued since the last flush.
    dirty: Vec<u32>,
    /// Memory of queues that are empty, so that a burst costs no allocation.
    spare: Vec<Vec<u8>>,
}

impl WriteQueues {
    pub(in crate::net) fn open(&mut self, id: u32) {
        let index = id as usize;
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, || None);
        }
        self.queues[index] = Some(WriteQueue::default());
    }

    /// Takes the queue of a client that ends.
    pub(in crate::net) fn close(&mut self, id: u32) -> Option<WriteQueue> {
        self.queues.get_mut(id as usize)?.take()
    }

    pub(in crate::net) fn get_mut(&mut self, id: u32) -> Option<&mut WriteQueue> {
        self.queues.get_mut(id as usize)?.as_mut()
    }

    /// Queues a message; relayed data only if not too much waits already.
    pub(in crate::net) fn push(&mut self, id: u32, message: &Message<'_>) {
        let Some(queue) = self.queues.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        if queue.capacity() == 0 {
            queue.bytes = self.spare.pop().unwrap_or_default();
        }
        match message {
            Message::Control(message) => queue.overflown |= queue.push_control(message).is_err(),
            Message::Data {
                header, payload, ..
            } => queue.push_data(header.as_bytes(), payload, header.padding()),
        }
        if !std::mem::replace(&mut queue.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// Takes one client for whom something was queued.
    pub(in crate::net) fn pop_dirty(&mut self) -> Option<u32> {
        let id = self.dirty.pop()?;
        if let Some(queue) = self.get_mut(id) {
            queue.dirty = false;
        }
        Some(id)
    }

    /// Takes the memory of a client's queue for the next one, if nothing is left in it.
    pub(in crate::net) fn reclaim(&mut self, id: u32) {
        let Some(queue) = self.queues.get_mut(id as usize).and_then(Option::as_mut) else {
            return;
        };
        if queue.capacity() > 0 && queue.is_empty() && self.spare.len() < SPARE {
            self.spare.push(std::mem::take(&mut queue.bytes));
        }
        queue.shrink();
    }
}

impl WriteQueue {
    /// Adds a control message.
    pub(in crate::net) fn push_control(&mut self, message: &[u8]) -> Result<(), Overflow> {
        if self.len() + message.len() > CONTROL_LIMIT {
            return Err(Overflow);
        }
        self.bytes.extend_from_slice(message);
        Ok(())
    }

    /// Adds relayed data, or drops and counts it.
    pub(in crate::net) fn push_data(&mut self, header: &[u8], payload: &[u8], padding: usize) {
        if self.len() + header.len() + payload.len() + padding > DATA_LIMIT {
            self.dropped += 1;
            return;
        }
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len() + padding, 0);
    }

    pub(in crate::net) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that wait.
    pub(in crate::net) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Bytes of memory that it holds.
    pub(in crate::net) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether a control message has found no room.
    pub(in crate::net) fn is_overflown(&self) -> bool {
        self.overflown
    }

    /// Relayed packets that were dropped.
    pub(in crate::net) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gives memory back that an empty queue does not keep.
    pub(in crate::net) fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes.shrink_to(KEPT);
        }
    }

    /// Writes with `write` until all has left or it would block.
    pub(in crate::net) fn write_with(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while !self.is_empty() {
            match write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.is_empty() {
            self.bytes.clear();
            self.written = 0;
        } else if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most `room` bytes in all.
    fn drain(queue: &mut WriteQueue, room: usize) -> Vec<u8> {
        let mut got = Vec::new();
        let written = queue.write_with(|bytes| {
            let count = bytes.len().min(room - got.len()).min(1000);
            got.extend_from_slice(&bytes[..count]);
            if count == 0 {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                Ok(count)
            }
        });
        assert!(written.is_ok());
        got
    }

    #[test]
    fn c5_whole_frames_in_order_however_they_leave() {
        let mut queue = WriteQueue::default();
        queue.push_data(&[0x40, 0, 0, 3], b"abc", 1);
        queue.push_control(b"control!").unwrap();
        let expected = b"\x40\0\0\x03abc\0control!";
        let mut got = drain(&mut queue, 5);
        got.extend(drain(&mut queue, 2));
        got.extend(drain(&mut queue, 100));
        assert_eq!(got, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_client_that_never_reads_costs_so_much_and_no_more() {
        let mut queue = WriteQueue::default();
        for _ in 0..1000 {
            queue.push_data(&[0x40, 0, 4, 0], &[7; 1024], 0);
        }
        let kept = DATA_LIMIT / 1028;
        assert_eq!(queue.dropped(), 1000 - kept as u64);
        // Control messages still fit, and then the client is given up.
        let mut control = 0;
        while queue.push_control(&[0; 100]).is_ok() {
            control += 1;
        }
        assert!(control > 600, "{control}");
        assert!(queue.len() <= CONTROL_LIMIT);
        assert_eq!(
            drain(&mut queue, usize::MAX).len(),
            kept * 1028 + control * 100
        );
        queue.shrink();
        assert!(queue.bytes.capacity() <= KEPT);
    }

    #[test]
    fn an_empty_queue_lends_its_memory_to_the_next() {
        let mut queues = WriteQueues::default();
        let clients = 2 * SPARE as u32;
        (0..clients).for_each(|id| queues.open(id));
        let burst = [7; 2 * KEPT];
        let fill = |queues: &mut WriteQueues, id| queues.push(id, &Message::Control(&burst));
        let empty = |queues: &mut WriteQueues, id| {
            drain(queues.get_mut(id).unwrap(), usize::MAX);
            queues.reclaim(id);
            queues.get_mut(id).unwrap().capacity()
        };
        fill(&mut queues, 0);
        let memory = queues.get_mut(0).unwrap().bytes.as_ptr();
        // Bytes that wait stay where they are.
        queues.reclaim(0);
        assert_eq!(queues.get_mut(0).unwrap().bytes, burst);
        assert_eq!(empty(&mut queues, 0), 0);
        fill(&mut queues, 1);
        assert_eq!(queues.get_mut(1).unwrap().bytes.as_ptr(), memory);
        // Many at once: no more is kept than so much of each.
        (2..clients).for_each(|id| fill(&mut queues, id));
        for id in 1..clients {
            let kept = empty(&mut queues, id);
            assert!(kept <= if id <= SPARE as u32 { 0 } else { KEPT }, "{id}");
        }
        assert_eq!(queues.spare.len(), SPARE);
    }
}
