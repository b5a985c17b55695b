//! One client on a stream: PROXY header, TLS, whole frames.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;

use turnd_proto::server::five_tuple::{Path, Transport};
use turnd_proto::wire::framing::{self, Next, Rules};
use turnd_proto::wire::proxy::{self, Parsed};

use crate::net::admission::Watch;
use crate::net::certs::Certificates;
use crate::net::context::{Ctx, HandOver};
use crate::net::counters::DropReason;
use crate::net::egress::WriteQueue;
use crate::net::handshake::{Failure, Reason, is_http};
use crate::net::proxy::{TrustedProxies, is_untrusted};
use crate::net::tls::{Broken, Tls};

/// Bytes that one turn reads from a stream at the most, so that others get theirs.
const READ: usize = 64 << 10;
/// Longest message of a client without an allocation, in bytes.
const UNALLOCATED_FRAME: usize = 4096;
/// Bytes of memory of a connection beside its buffers.
pub(super) const STREAM_BYTES: usize = 512;
/// Bytes of memory of a TLS connection beside those of the stream.
const TLS_BYTES: usize = 16 << 10;
/// First byte of a TLS record that holds a handshake message (RFC 7983 §7).
const TLS_HANDSHAKE: u8 = 22;
/// Bytes of one turn, behind a PROXY header that came in parts.
const CIPHER: usize = READ + UNALLOCATED_FRAME;
/// Plain text of one turn, behind a frame and a TLS record that came in part.
const PLAIN: usize = framing::MAX_FRAME + CIPHER + (32 << 10);

/// Ways in which stream clients are served.
#[derive(Debug)]
pub(in crate::net) struct TcpOptions {
    /// Plain TCP.
    pub(in crate::net) plain: bool,
    /// TLS, with these certificates.
    pub(in crate::net) certificates: Option<Arc<Certificates>>,
    pub(in crate::net) proxies: Arc<TrustedProxies>,
}

impl TcpOptions {
    /// Reason to refuse a client whose first bytes are these, and not those of TLS that is served.
    fn refuses(&self, first: &[u8]) -> Option<Reason> {
        match first {
            [TLS_HANDSHAKE, ..] => Some(Reason::NoCertificate),
            _ if self.certificates.is_some() && is_http(first) => Some(Reason::Http),
            _ if self.plain => None,
            // RFC 7983 §7.
            [0..=3, ..] => Some(Reason::PlainStun),
            _ => Some(Reason::NotTls),
        }
    }
}

/// Buffers that all clients of a worker share, each during its turn.
pub(super) struct Buffers {
    /// Bytes from the network that TLS has not opened.
    cipher: Box<[u8]>,
    /// Bytes for the framing.
    plain: Box<[u8]>,
}

impl Buffers {
    pub(super) fn new(options: &TcpOptions) -> Self {
        let cipher = if options.certificates.is_some() {
            CIPHER
        } else {
            0
        };
        Self {
            cipher: vec![0; cipher].into(),
            plain: vec![0; PLAIN].into(),
        }
    }
}

impl std::fmt::Debug for Buffers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffers").finish_non_exhaustive()
    }
}

/// One client's connection. Its write queue is the worker's [`WriteQueues`].
///
/// [`WriteQueues`]: crate::net::egress::WriteQueues
#[derive(Debug)]
pub(super) struct TcpClient<S> {
    pub(super) id: u32,
    pub(super) socket: S,
    pub(super) path: Path,
    /// Layer below the frames, by the first byte; `None` before that.
    layer: Option<Layer>,
    /// Whether a PROXY header is to come first.
    expects_proxy: bool,
    /// Start of a frame that has not come whole.
    partial: Vec<u8>,
    /// Whether nothing follows what can be read now.
    pub(super) hung_up: bool,
    /// Reason to be closed at the end of the worker's round.
    pub(super) failed: Option<End>,
    pub(super) watch: Watch,
}

/// Layer between the frames and the socket.
#[derive(Debug)]
enum Layer {
    Plain,
    Tls(Box<Tls>),
}

/// Reason for the end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has closed it, or the network has.
    Closed,
    /// The bytes are of no protocol that is served.
    Garbage,
    /// There is no TLS with this client.
    Handshake(Failure),
    /// The client does not read what it asks for.
    Unread,
    /// No allocation in time.
    Idle,
    /// The client has been silent longest, and another needs the place.
    Displaced,
    /// The stream is a data connection from now on.
    Bound(HandOver),
}

impl End {
    /// The word for the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Garbage => "garbage",
            Self::Handshake(failure) => failure.reason.as_str(),
            Self::Unread => "unread",
            Self::Idle => "idle",
            Self::Displaced => "too-many-streams",
            Self::Bound(_) => "bound",
        }
    }
}

impl<S> TcpClient<S> {
    pub(super) fn new(id: u32, socket: S, path: Path, watch: Watch) -> Self {
        Self {
            id,
            socket,
            layer: None,
            expects_proxy: path.proxied,
            path,
            partial: Vec::new(),
            hung_up: false,
            failed: None,
            watch,
        }
    }

    /// Source network and memory that the client counts with.
    pub(super) fn charge(&self, ctx: &mut Ctx<'_>) -> (IpAddr, usize) {
        let queue = ctx.egress.streams.get_mut(self.id);
        let queued = queue.map_or(0, |queue| queue.capacity());
        (self.path.tuple.client.ip(), self.bytes() + queued)
    }

    /// Bytes of memory of the client, but for its queue.
    fn bytes(&self) -> usize {
        let layer = match &self.layer {
            Some(Layer::Tls(_)) => TLS_BYTES,
            Some(Layer::Plain) | None => 0,
        };
        STREAM_BYTES + layer + self.partial.capacity()
    }

    /// The failure of a handshake that the end of the client is, if it is one.
    pub(super) fn handshake_failure(&self, end: End) -> Option<Failure> {
        let within = matches!(&self.layer, Some(Layer::Tls(tls)) if !tls.is_established());
        match end {
            End::Handshake(failure) => Some(failure),
            _ if !within => None,
            End::Idle => Some(Reason::TimedOut.into()),
            End::Displaced => Some(Reason::Displaced.into()),
            End::Closed | End::Garbage | End::Unread => Some(Reason::CutOff.into()),
            End::Bound(_) => None,
        }
    }

    /// Name of the server that the client has asked for by TLS.
    pub(super) fn server_name(&self) -> Option<&str> {
        match &self.layer {
            Some(Layer::Tls(tls)) => tls.server_name(),
            Some(Layer::Plain) | None => None,
        }
    }

    /// The socket, its TLS and the bytes that have come already, for a data connection.
    pub(super) fn into_parts(self) -> (S, Option<Box<Tls>>, Vec<u8>) {
        let tls = match self.layer {
            Some(Layer::Tls(tls)) => Some(tls),
            Some(Layer::Plain) | None => None,
        };
        (self.socket, tls, self.partial)
    }
}

impl<S: Read + Write> TcpClient<S> {
    /// Writes and reads what is possible at once; `true` when there may be more to read.
    pub(super) fn on_ready(
        &mut self,
        ctx: &mut Ctx<'_>,
        options: &TcpOptions,
        buffers: &mut Buffers,
    ) -> Result<bool, End> {
        self.flush_queue(ctx);
        let is_tls = matches!(self.layer, Some(Layer::Tls(_)));
        let kept = self.partial.len();
        let (read, room) = if is_tls {
            (self.socket.read(&mut buffers.cipher), CIPHER)
        } else {
            buffers.plain[..kept].copy_from_slice(&self.partial);
            (self.socket.read(&mut buffers.plain[kept..][..READ]), READ)
        };
        let more = match read {
            Ok(0) => return Err(End::Closed),
            Ok(count) => {
                if is_tls {
                    self.on_records(ctx, buffers, count)?;
                } else {
                    self.on_bytes(ctx, options, buffers, kept + count)?;
                }
                // A short read has emptied the socket, but does not show its end.
                count == room || self.hung_up
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(_) => return Err(End::Closed),
        };
        self.flush_queue(ctx);
        let (_, bytes) = self.charge(ctx);
        ctx.admission.charge(&mut self.watch, bytes);
        self.failed.map_or(Ok(more), Err)
    }

    /// Takes the PROXY header off the first `len` bytes, and tells how many are left; `None` when
    /// it has not come whole.
    fn on_proxy_header(
        &mut self,
        ctx: &mut Ctx<'_>,
        plain: &mut [u8],
        len: usize,
    ) -> Result<Option<usize>, End> {
        match proxy::parse_stream(&plain[..len]) {
            Parsed::Header {
                addresses,
                len: header,
            } => {
                self.expects_proxy = false;
                self.partial.clear();
                if let Some(named) = addresses {
                    self.path.tuple.client = named.client;
                    self.path.tuple.server = named.server;
                    // From now on it counts as the client's, not the proxy's.
                    let (source, bytes) = self.charge(ctx);
                    let watch = &mut self.watch;
                    ctx.admission.rename(ctx.now, watch, source, bytes);
                }
                plain.copy_within(header..len, 0);
                Ok(Some(len - header))
            }
            Parsed::Partial => {
                self.keep(&plain[..len]);
                Ok(None)
            }
            Parsed::Malformed => {
                ctx.counters.drop(DropReason::Proxy, 1);
                Err(End::Garbage)
            }
        }
    }

    /// Looks at the first bytes, then at frames: `len` bytes of the plain buffer.
    fn on_bytes(
        &mut self,
        ctx: &mut Ctx<'_>,
        options: &TcpOptions,
        buffers: &mut Buffers,
        mut len: usize,
    ) -> Result<(), End> {
        if self.expects_proxy {
            match self.on_proxy_header(ctx, &mut buffers.plain, len)? {
                Some(rest) => len = rest,
                None => return Ok(()),
            }
        }
        if self.layer.is_none() && len > 0 {
            if buffers.plain[0] == TLS_HANDSHAKE
                && let Some(certificates) = &options.certificates
            {
                self.path.tuple.transport = Transport::Tls;
                self.layer = Some(Layer::Tls(Box::new(Tls::new(certificates.current()))));
                self.partial.clear();
                buffers.cipher[..len].copy_from_slice(&buffers.plain[..len]);
                return self.on_records(ctx, buffers, len);
            }
            if let Some(reason) = options.refuses(&buffers.plain[..len]) {
                ctx.counters.drop(DropReason::Malformed, 1);
                return Err(End::Handshake(reason.into()));
            }
            self.layer = Some(Layer::Plain);
        }
        self.on_frames(ctx, &buffers.plain[..len])
    }

    /// Decrypts `len` bytes that came, and handles the plain text.
    fn on_records(
        &mut self,
        ctx: &mut Ctx<'_>,
        buffers: &mut Buffers,
        len: usize,
    ) -> Result<(), End> {
        let Buffers { cipher, plain } = buffers;
        let client = self.path.tuple.client.ip();
        let Some(Layer::Tls(tls)) = &mut self.layer else {
            return Err(End::Garbage);
        };
        let kept = self.partial.len();
        plain[..kept].copy_from_slice(&self.partial);
        let (now, admission) = (ctx.now, &*ctx.admission);
        let mut may_begin = || admission.may_begin_handshake(now, client);
        let opened = tls.open(&cipher[..len], &mut plain[kept..], &mut may_begin);
        // Handshake messages, or the alert that says why there is an end.
        self.flush(ctx);
        let opened = match opened {
            Ok(opened) => opened,
            Err(Broken::Record) => return Err(End::Garbage),
            Err(Broken::Handshake(failure)) => {
                if failure.reason == Reason::Rate {
                    ctx.counters.drop(DropReason::HandshakeRate, 1);
                }
                return Err(End::Handshake(failure));
            }
        };
        ctx.counters.handshakes += u64::from(opened.established);
        if opened.len > 0 {
            self.on_frames(ctx, &plain[..kept + opened.len])?;
        }
        if opened.closed {
            return Err(End::Closed);
        }
        Ok(())
    }

    /// Handles every whole frame of `bytes`, and keeps the rest.
    fn on_frames(&mut self, ctx: &mut Ctx<'_>, bytes: &[u8]) -> Result<(), End> {
        let path = self.path;
        let mut rules = rules(ctx, &path);
        let mut left = bytes;
        let mut hand_over = None;
        while hand_over.is_none() {
            if !rules.channel_data {
                rules = self::rules(ctx, &path);
            }
            match framing::next(left, &rules) {
                Next::Frame { frame, taken } => {
                    left = &left[taken..];
                    hand_over = ctx.client_packet(&path, frame, None);
                }
                Next::Partial => break,
                Next::Broken => {
                    let reason = if is_untrusted(left) {
                        DropReason::Proxy
                    } else {
                        DropReason::Malformed
                    };
                    ctx.counters.drop(reason, 1);
                    return Err(End::Garbage);
                }
            }
        }
        self.keep(left);
        if let Some(hand_over) = hand_over {
            return Err(End::Bound(hand_over));
        }
        // Only what comes on the stream makes an allocation for it.
        let whole = left.len() < bytes.len();
        let has_allocation = || ctx.server.has_allocation(&path);
        let watch = &mut self.watch;
        ctx.admission.hear(ctx.now, watch, whole, has_allocation);
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.partial.clear();
        self.partial.extend_from_slice(bytes);
    }

    /// Writes what is queued, as far as the socket takes it.
    pub(super) fn flush(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(queue) = ctx.egress.streams.get_mut(self.id) {
            self.flush_from(queue);
            ctx.egress.streams.reclaim(self.id);
        }
    }

    fn flush_queue(&mut self, ctx: &mut Ctx<'_>) {
        let of_layer = matches!(&self.layer, Some(Layer::Tls(tls)) if tls.wants_write());
        if let Some(queue) = ctx.egress.streams.get_mut(self.id)
            && (of_layer || !queue.is_empty())
        {
            self.flush_from(queue);
            ctx.egress.streams.reclaim(self.id);
        }
    }

    fn flush_from(&mut self, queue: &mut WriteQueue) {
        let socket = &mut self.socket;
        let written = match &mut self.layer {
            Some(Layer::Tls(tls)) => tls.write(queue, socket),
            _ => queue.write_with(|bytes| socket.write(bytes)),
        };
        if written.is_err() {
            self.failed = Some(End::Closed);
        } else if queue.is_overflown() {
            self.failed = Some(End::Unread);
        }
    }

    /// Sends close_notify, where there is TLS.
    pub(super) fn say_goodbye(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(Layer::Tls(tls)) = &mut self.layer {
            tls.close();
        }
        self.flush(ctx);
    }
}

fn rules(ctx: &Ctx<'_>, path: &Path) -> Rules {
    let known = ctx.server.has_allocation(path);
    Rules {
        max_len: if known {
            framing::MAX_FRAME
        } else {
            UNALLOCATED_FRAME
        },
        channel_data: known,
        rfc5766_channels: ctx.server.rfc5766_channels(),
    }
}
