#!/usr/bin/env python3
"""A client of RFC 8489 and 8656 with a codec of its own: SHA-256, password algorithms, USERHASH.

It shares no code with turnd, so that two mistakes of one library cannot agree. Takes its task as JSON in
the first argument, and prints what it saw as JSON. A check that fails ends it with a traceback.
"""

import hashlib
import hmac
import json
import os
import socket
import struct
import sys

COOKIE = 0x2112A442
BINDING, ALLOCATE, REFRESH, SEND, DATA, PERMIT, BIND = 1, 3, 4, 6, 7, 8, 9
REQUEST, INDICATION, SUCCESS, ERROR = 0x000, 0x010, 0x100, 0x110

USERNAME, INTEGRITY, ERROR_CODE = 0x0006, 0x0008, 0x0009
CHANNEL, LIFETIME, PEER, PAYLOAD = 0x000C, 0x000D, 0x0012, 0x0013
REALM, NONCE, RELAYED, TRANSPORT = 0x0014, 0x0015, 0x0016, 0x0019
INTEGRITY_SHA256, ALGORITHM, USERHASH = 0x001C, 0x001D, 0x001E
MAPPED, ALGORITHMS = 0x0020, 0x8002

MD5, SHA256 = 1, 2
FEATURES = {"AAAA": set(), "AAAB": {"algorithms"}, "AAAC": {"anonymity"}, "AAAD": {"algorithms", "anonymity"}}


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def header(kind, length, transaction):
    return struct.pack("!HHI", kind, length, COOKIE) + transaction


def parse(message):
    """Kind, transaction and attributes, each with its offset."""
    kind, length, cookie = struct.unpack("!HHI", message[:8])
    assert cookie == COOKIE and length % 4 == 0 and len(message) == 20 + length, message.hex()
    attributes, at = [], 20
    while at < len(message):
        typ, size = struct.unpack("!HH", message[at : at + 4])
        value = message[at + 4 : at + 4 + size]
        assert len(value) == size
        padding = message[at + 4 + size : at + 4 + size + -size % 4]
        assert not any(padding), "padding is zero"
        attributes.append((typ, value, at))
        at += 4 + size + -size % 4
    return kind, message[8:20], attributes


def mac(message, at, size, key, digest):
    covered = message[:2] + struct.pack("!H", at - 20 + 4 + size) + message[4:at]
    return hmac.new(key, covered, digest).digest()


def xor(address, transaction):
    host, port = address
    return struct.pack("!BBH4s", 0, 1, port ^ (COOKIE >> 16), bytes(
        a ^ b for a, b in zip(socket.inet_aton(host), struct.pack("!I", COOKIE))))


def unxor(value):
    _, family, port, host = struct.unpack("!BBH4s", value)
    assert family == 1
    host = bytes(a ^ b for a, b in zip(host, struct.pack("!I", COOKIE)))
    return socket.inet_ntoa(host), port ^ (COOKIE >> 16)


class Link:
    """A way to the server that carries whole messages."""

    def __init__(self, server, tcp):
        self.tcp, self.rest = tcp, b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.connect(server)

    def send(self, message):
        self.socket.sendall(message + bytes(-len(message) % 4 if self.tcp else 0))

    def receive(self):
        if not self.tcp:
            return self.socket.recv(65536)
        size = self.size()
        while size is None or len(self.rest) < size[1]:
            more = self.socket.recv(65536)
            assert more, "the server has closed the connection"
            self.rest += more
            size = self.size()
        message, self.rest = self.rest[: size[0]], self.rest[size[1] :]
        return message

    def size(self):
        """Bytes of the next message, without and with its padding."""
        if len(self.rest) < 4:
            return None
        length = struct.unpack("!H", self.rest[2:4])[0]
        if self.rest[0] >= 0x40:
            return 4 + length, 4 + length + -length % 4
        return 20 + length, 20 + length


class Reply:
    def __init__(self, message):
        self.message = message
        self.kind, self.transaction, self.attributes = parse(message)

    def get(self, typ):
        return next((value for own, value, _ in self.attributes if own == typ), None)

    @property
    def code(self):
        value = self.get(ERROR_CODE)
        assert (value is not None) == (self.kind & 0x110 == ERROR)
        return value[2] * 100 + value[3] if value else 200

    def signature(self, key):
        """The algorithm that signs the reply, checked; nothing may follow but FINGERPRINT."""
        signed = None
        for typ, value, at in self.attributes:
            assert signed is None, "one signature, and it is the last attribute"
            if typ == INTEGRITY:
                signed = "sha1"
                assert value == mac(self.message, at, 20, key, hashlib.sha1), "MESSAGE-INTEGRITY"
            elif typ == INTEGRITY_SHA256:
                signed = "sha256"
                assert value == mac(self.message, at, 32, key, hashlib.sha256), "MESSAGE-INTEGRITY-SHA256"
        return signed


class Client:
    def __init__(self, task, link, user=None, password=None):
        self.link = link
        self.user = user or task["user"]
        self.password = password or task["password"]
        self.realm = self.nonce = self.algorithms = None

    def challenge(self, reply):
        """Takes over a 401 or 438 as RFC 8489, section 9.2.5, has it."""
        assert reply.get(USERNAME) is None and reply.get(USERHASH) is None
        self.realm, self.nonce = reply.get(REALM), reply.get(NONCE)
        assert self.nonce[:9] == b"obMatJos2", self.nonce
        self.features = FEATURES[self.nonce[9:13].decode()]
        self.algorithms = reply.get(ALGORITHMS)
        assert (self.algorithms is not None) == ("algorithms" in self.features)
        if self.algorithms is not None:
            numbers = struct.unpack(f"!{len(self.algorithms) // 2}H", self.algorithms)
            assert numbers[1::2] == (0, 0), "no parameters"
            assert numbers[0::2] == (SHA256, MD5)

    def key(self, algorithm):
        digest = hashlib.sha256 if algorithm == SHA256 else hashlib.md5
        return digest(b":".join([self.user.encode(), self.realm, self.password.encode()])).digest()

    def request(self, method, attributes, legacy=False, **changes):
        """A request with credentials; `changes` are attributes to send in place of the right ones."""
        transaction = os.urandom(12)
        new = self.algorithms is not None and not legacy
        algorithm = SHA256 if new else MD5
        credentials = {}
        if "anonymity" in self.features and not legacy:
            credentials[USERHASH] = hashlib.sha256(self.user.encode() + b":" + self.realm).digest()
        else:
            credentials[USERNAME] = self.user.encode()
        credentials[REALM], credentials[NONCE] = self.realm, self.nonce
        if new:
            credentials[ALGORITHMS], credentials[ALGORITHM] = self.algorithms, struct.pack("!HH", SHA256, 0)
        credentials.update(changes.get("credentials", {}))
        body = b"".join(attribute(typ, value(transaction) if callable(value) else value) for typ, value in attributes)
        body += b"".join(attribute(*both) for both in credentials.items() if both[1] is not None)
        size, digest, typ = (32, hashlib.sha256, INTEGRITY_SHA256) if new else (20, hashlib.sha1, INTEGRITY)
        message = header(REQUEST | method, len(body) + 4 + size, transaction) + body
        signature = mac(message, len(message), size, self.key(algorithm), digest)
        if "cut" in changes:
            # The right HMAC of a message whose length field counts the shorter attribute.
            size = changes["cut"]
            padded = size + -size % 4
            message = header(REQUEST | method, len(body) + 4 + padded, transaction) + body
            signature = mac(message, len(message), padded, self.key(algorithm), digest)[:size].ljust(size, b"\0")
        message += attribute(typ, signature)
        return transaction, message, self.key(algorithm)

    def ask(self, method, attributes, **changes):
        """The reply, and the algorithm that signs it."""
        transaction, message, key = self.request(method, attributes, **changes)
        self.link.send(message)
        reply = Reply(self.link.receive())
        assert reply.transaction == transaction and reply.kind & 0xEEF == method
        return reply, reply.signature(key)

    def begin(self):
        transaction = os.urandom(12)
        body = attribute(TRANSPORT, bytes([17, 0, 0, 0]))
        self.link.send(header(REQUEST | ALLOCATE, len(body), transaction) + body)
        reply = Reply(self.link.receive())
        assert (reply.code, reply.transaction, reply.signature(b"")) == (401, transaction, None)
        self.challenge(reply)

    def allocate(self, **changes):
        return self.ask(ALLOCATE, [(TRANSPORT, bytes([17, 0, 0, 0]))], **changes)


def use(client, saw, **how):
    """Allocates, sends both ways through the relay, refreshes and ends."""
    signed = set()

    def done(reply_and_signature):
        reply, signature = reply_and_signature
        assert reply.code == 200, reply.code
        signed.add(signature)
        return reply

    relayed = unxor(done(client.allocate(**how)).get(RELAYED))
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.settimeout(10)
    peer.bind(("127.0.0.1", 0))
    at = (PEER, lambda transaction: xor(peer.getsockname(), transaction))
    done(client.ask(PERMIT, [at], **how))
    transaction = os.urandom(12)
    body = attribute(PEER, xor(peer.getsockname(), transaction)) + attribute(PAYLOAD, b"to the peer")
    client.link.send(header(INDICATION | SEND, len(body), transaction) + body)
    data, source = peer.recvfrom(2048)
    assert (data, source) == (b"to the peer", relayed)
    peer.sendto(b"to the client", relayed)
    indication = Reply(client.link.receive())
    assert indication.kind == INDICATION | DATA and indication.get(PAYLOAD) == b"to the client"
    assert unxor(indication.get(PEER)) == peer.getsockname()
    done(client.ask(BIND, [(CHANNEL, struct.pack("!HH", 0x4001, 0)), at], **how))
    client.link.send(struct.pack("!HH", 0x4001, 7) + b"channel")
    assert peer.recvfrom(2048) == (b"channel", relayed)
    peer.sendto(b"back", relayed)
    assert client.link.receive() == struct.pack("!HH", 0x4001, 4) + b"back"
    reply = done(client.ask(REFRESH, [(LIFETIME, struct.pack("!I", 700))], **how))
    assert struct.unpack("!I", reply.get(LIFETIME)) == (700,)
    reply = done(client.ask(REFRESH, [(LIFETIME, bytes(4))], **how))
    assert struct.unpack("!I", reply.get(LIFETIME)) == (0,)
    reply, signature = client.ask(REFRESH, [], **how)
    assert reply.code == 437
    signed.add(signature)
    saw["signed"] = sorted(signed)
    saw["features"] = sorted(client.features)


def refused(task, link, saw):
    """What is altered, cut or of nobody."""

    def fresh(**who):
        client = Client(task, link, **who)
        client.begin()
        return client

    def code(client, **changes):
        reply, signature = client.allocate(**changes)
        assert signature is None, "a refusal of somebody unknown is not signed"
        return reply.code, reply.get(REALM) is not None and reply.get(NONCE) is not None

    client = fresh()
    right = client.algorithms
    altered = [right[:4], right[4:], right[4:] + right[:4], right + right[:4], b""]
    altered += [right[:at] for at in range(len(right))]
    for value in altered:
        assert code(client, credentials={ALGORITHMS: value}) == (400, False), value
    for value in [None, struct.pack("!HH", 3, 0), b"", b"\0\2", b"\0\2\0", struct.pack("!HHI", 2, 4, 0)]:
        assert code(client, credentials={ALGORITHM: value}) == (400, False), value
    assert code(client, credentials={ALGORITHMS: None}) == (400, False)
    for size in [*range(32), *range(33, 64)]:
        assert code(client, cut=size) == (401, True), size
    assert code(fresh(password="wrong")) == (401, True)
    assert code(fresh(user="nobody")) == (401, True)
    # Of an unknown user as of a wrong password: the same bytes but for what is drawn.
    shapes = set()
    for who in [{"password": "wrong"}, {"user": "nobody"}]:
        reply, _ = fresh(**who).allocate()
        shapes.add(tuple((typ, len(value)) for typ, value, _ in reply.attributes))
    assert len(shapes) == 1, shapes
    if "anonymity" in client.features:
        for size in range(32):
            assert code(client, credentials={USERHASH: bytes(size)}) == (401, True)
    # Somebody on the way took the features off: the nonce is not ours, and the truth comes in a signed 438.
    downgraded = fresh()
    downgraded.nonce = b"obMatJos2AAAA" + downgraded.nonce[13:]
    downgraded.features, downgraded.algorithms = set(), None
    reply, signature = downgraded.allocate()
    assert (reply.code, signature) == (438, "sha1")
    downgraded.challenge(reply)
    assert downgraded.features == client.features
    use(downgraded, {})
    saw["refused"] = True


def main():
    task = json.loads(sys.argv[1])
    host, port = task["server"].rsplit(":", 1)
    saw = {}
    link = Link((host, int(port)), task["tcp"])
    if task["what"] == "refused":
        refused(task, link, saw)
    else:
        client = Client(task, link)
        client.begin()
        legacy = task["what"] == "legacy"
        use(client, saw, **({"legacy": True} if legacy else {}))
    print(json.dumps(saw))


main()
