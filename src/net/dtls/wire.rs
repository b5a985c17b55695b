//! Buffers between associations and datagrams: in place of the socket that OpenSSL expects.

use std::io::{self, Read, Write};

/// Datagrams to and from one association at a time; all of a worker share it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    incoming: Vec<u8>,
    /// Whether `incoming` has not been read.
    unread: bool,
    /// Outgoing datagrams, one behind the other.
    outgoing: Vec<u8>,
    /// Ends of the outgoing datagrams.
    ends: Vec<usize>,
}

impl Wire {
    /// Replaces what was not read by `bytes`.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.incoming.clear();
        self.append(bytes);
    }

    /// Adds `bytes` to what was not read.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        if !self.unread {
            self.incoming.clear();
        }
        self.incoming.extend_from_slice(bytes);
        self.unread = true;
    }

    /// Drops what was not read: it was another association's.
    pub(super) fn drop_unread(&mut self) {
        self.unread = false;
    }

    pub(super) fn outgoing(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ends = self.ends.iter().copied();
        starts.zip(ends).map(|(from, to)| &self.outgoing[from..to])
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !self.ends.is_empty()
    }

    pub(super) fn clear_outgoing(&mut self) {
        self.outgoing.clear();
        self.ends.clear();
    }
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !std::mem::take(&mut self.unread) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // OpenSSL reads whole datagrams; one that is longer than any record is no loss.
        let len = self.incoming.len().min(out.len());
        out[..len].copy_from_slice(&self.incoming[..len]);
        Ok(len)
    }
}

impl Write for Wire {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(datagram);
        self.ends.push(self.outgoing.len());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_read_whole_and_once_and_those_that_are_written_stay_apart() {
        let mut wire = Wire::default();
        let mut out = [0; 8];
        assert_eq!(
            wire.read(&mut out).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        wire.put(b"early");
        wire.append(b"+");
        assert_eq!(wire.read(&mut out).unwrap(), 6);
        assert_eq!(&out[..6], b"early+");
        assert!(wire.read(&mut out).is_err());
        wire.append(b"late");
        wire.drop_unread();
        assert!(wire.read(&mut out).is_err());
        wire.write_all(b"one").unwrap();
        wire.write_all(b"two!").unwrap();
        assert!(wire.outgoing().eq([&b"one"[..], b"two!"]));
        wire.clear_outgoing();
        assert!(!wire.has_outgoing());
    }
}
