//! What comes in on a stream: PROXY header, TLS, whole frames.

use std::io::{self, Read};

use super::super::io::Io;
use super::super::worker::Worker;
use super::tls::{Broken, Tls};
use super::{End, Layer, READ, STRANGER_FRAME, Streams};
use turnd_proto::Now;
use turnd_proto::server::five_tuple::{Path, Transport};
use turnd_proto::server::output::DropReason;
use turnd_proto::wire::framing::{self, Next, Rules};
use turnd_proto::wire::proxy::{self, Parsed};

/// The first byte of a TLS record that holds a handshake message (RFC 7983 §7).
const TLS_HANDSHAKE: u8 = 22;

impl Worker {
    /// Writes and reads what is possible at once; `true` when there may be more to read.
    pub(super) fn stream_ready(&mut self, now: Now, id: usize) -> Result<bool, End> {
        let Streams { slab, cipher, .. } = &mut self.io.streams;
        let Some(stream) = slab.get_mut(id) else {
            return Err(End::Closed);
        };
        if stream.wants_write() {
            stream.flush();
        }
        let hung_up = stream.hung_up;
        let (read, room) = if matches!(stream.layer, Some(Layer::Tls(_))) {
            let (read, room) = (stream.tcp.read(cipher), cipher.len());
            let read = read.map(|count| (count, self.open_tls(now, id, count)));
            (read, room)
        } else {
            let kept = stream.partial.len();
            let scratch = self.receiver.scratch();
            scratch[..kept].copy_from_slice(&stream.partial);
            let read = stream.tcp.read(&mut scratch[kept..][..READ]);
            let read = read.map(|count| (count, self.plain_bytes(now, id, kept + count)));
            (read, READ)
        };
        let more = match read {
            Ok((0, _)) => return Err(End::Closed),
            Ok((count, handled)) => {
                handled?;
                // A short read has emptied the socket, but does not show its end.
                count == room || hung_up
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(_) => return Err(End::Closed),
        };
        let Io {
            streams, admission, ..
        } = &mut self.io;
        streams.flush();
        let Some(stream) = streams.slab.get_mut(id) else {
            return Ok(false);
        };
        let bytes = stream.bytes();
        if let Some(idle) = &mut stream.idle {
            admission.charge(idle, bytes);
        }
        stream.failed.map_or(Ok(more), Err)
    }

    /// Takes the PROXY header off the first `len` bytes of the scratch buffer, and tells how many
    /// are left; `None` when it has not come whole.
    fn unwrap_proxy(&mut self, now: Now, id: usize, len: usize) -> Result<Option<usize>, End> {
        let Io {
            streams, admission, ..
        } = &mut self.io;
        let Some(stream) = streams.slab.get_mut(id) else {
            return Err(End::Closed);
        };
        let bytes = self.receiver.filled(len);
        match proxy::parse_stream(bytes) {
            Parsed::Header {
                addresses,
                len: header,
            } => {
                if let Some(named) = addresses {
                    stream.path.tuple.client = named.client;
                    stream.path.tuple.server = named.server;
                    // From now on it counts as the client's, not the proxy's.
                    let (client, socket) = (named.client.ip(), stream.path.socket);
                    stream.idle = Some(admission.admit(now, client, socket, stream.bytes()));
                }
                stream.proxied = false;
                stream.partial.clear();
                self.receiver.scratch().copy_within(header..len, 0);
                Ok(Some(len - header))
            }
            Parsed::Partial => {
                stream.partial.clear();
                stream.partial.extend_from_slice(bytes);
                Ok(None)
            }
            Parsed::Malformed => {
                self.server.count_drops(DropReason::Proxy, 1);
                Err(End::Garbage)
            }
        }
    }

    /// Looks at the first bytes, then at frames: `len` bytes of the scratch buffer.
    fn plain_bytes(&mut self, now: Now, id: usize, mut len: usize) -> Result<(), End> {
        if self
            .io
            .streams
            .slab
            .get(id)
            .is_some_and(|stream| stream.proxied)
            && len > 0
        {
            match self.unwrap_proxy(now, id, len)? {
                Some(rest) => len = rest,
                None => return Ok(()),
            }
        }
        let streams = &mut self.io.streams;
        let Some(stream) = streams.slab.get_mut(id) else {
            return Err(End::Closed);
        };
        if stream.layer.is_none() && len > 0 {
            let bytes = self.receiver.filled(len);
            if bytes[0] == TLS_HANDSHAKE
                && let Some(secure) = &streams.options.secure
            {
                stream.path.tuple.transport = Transport::Tls;
                stream.layer = Some(Layer::Tls(Box::new(Tls::new(secure.current()))));
                stream.partial.clear();
                streams.cipher[..len].copy_from_slice(bytes);
                return self.open_tls(now, id, len);
            }
            if !streams.options.plain {
                return Err(End::Garbage);
            }
            stream.layer = Some(Layer::Plain);
        }
        self.stream_bytes(now, id, len)
    }

    /// Decrypts `len` bytes that came, and handles what they say.
    fn open_tls(&mut self, now: Now, id: usize, len: usize) -> Result<(), End> {
        let Io {
            streams, admission, ..
        } = &mut self.io;
        let Streams { slab, cipher, .. } = streams;
        let Some(stream) = slab.get_mut(id) else {
            return Err(End::Closed);
        };
        let client = stream.path.tuple.client.ip();
        let Some(Layer::Tls(tls)) = &mut stream.layer else {
            return Err(End::Garbage);
        };
        let kept = stream.partial.len();
        let scratch = self.receiver.scratch();
        scratch[..kept].copy_from_slice(&stream.partial);
        let mut may_begin = || admission.may_begin_handshake(now, client);
        let opened = tls.open(&cipher[..len], &mut scratch[kept..], &mut may_begin);
        // Handshake messages, or the alert that says why there is an end.
        stream.flush();
        let opened = match opened {
            Ok(opened) => opened,
            Err(Broken::Tls) => return Err(End::Garbage),
            Err(Broken::Rate) => {
                self.server.count_drops(DropReason::HandshakeRate, 1);
                return Err(End::Refused);
            }
        };
        if opened.len > 0 {
            self.stream_bytes(now, id, kept + opened.len)?;
        }
        if opened.closed {
            return Err(End::Closed);
        }
        Ok(())
    }

    /// Handles every whole frame of the first `len` bytes of the scratch buffer, and keeps the rest.
    fn stream_bytes(&mut self, now: Now, id: usize, len: usize) -> Result<(), End> {
        let Some(stream) = self.io.streams.slab.get(id) else {
            return Err(End::Closed);
        };
        let path = stream.path;
        let mut rules = self.rules(&path);
        let mut at = 0;
        loop {
            if !rules.channel_data {
                rules = self.rules(&path);
            }
            match framing::next(&self.receiver.filled(len)[at..], &rules) {
                Next::Frame { frame, taken } => {
                    let range = at..at + frame.len();
                    at += taken;
                    self.client_packet(now, &path, len, range);
                    if self.io.streams.is_bound(id) {
                        break;
                    }
                }
                Next::Partial => break,
                Next::Broken => {
                    let reason = match proxy::parse_stream(&self.receiver.filled(len)[at..]) {
                        Parsed::Malformed => DropReason::Malformed,
                        // Whoever sends this is not trusted.
                        Parsed::Header { .. } | Parsed::Partial => DropReason::Proxy,
                    };
                    self.server.count_drops(reason, 1);
                    self.flush();
                    return Err(End::Garbage);
                }
            }
        }
        self.flush();
        if let Some(stream) = self.io.streams.slab.get_mut(id) {
            stream.partial.clear();
            stream
                .partial
                .extend_from_slice(&self.receiver.filled(len)[at..]);
            if stream.bound.is_some() {
                return Err(End::Bound);
            }
            // Only what comes on the stream makes an allocation for it.
            if stream.idle.is_some() && self.server.has_allocation(&path) {
                stream.idle = None;
            } else if at > 0
                && let Some(idle) = &mut stream.idle
            {
                idle.hear(now);
            }
        }
        Ok(())
    }

    fn rules(&self, path: &Path) -> Rules {
        let known = self.server.has_allocation(path);
        Rules {
            max_len: if known {
                framing::MAX_FRAME
            } else {
                STRANGER_FRAME
            },
            channel_data: known,
            rfc5766_channels: self.server.rfc5766_channels(),
        }
    }
}
