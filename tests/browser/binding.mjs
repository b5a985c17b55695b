// Sends a STUN Binding request to each address from a socket of its own, and prints who answered.
// Argument: {"targets": ["203.0.113.1:3478", "[2001:db8::1]:3478"], "milliseconds": 10000}.
// Result: [{target, from, mapped}], in the order of the targets; `from` is null without an answer. No packages needed.
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

const COOKIE = Buffer.from([0x21, 0x12, 0xa4, 0x42]);
const { targets, milliseconds } = JSON.parse(process.argv[2]);
const show = (address, port) => (isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`);

/** The XOR-MAPPED-ADDRESS of a Binding success with this transaction id, or null for anything else. */
function mapped(message, id) {
  if (message.length < 20 || message.readUInt16BE(0) !== 0x0101 || !message.subarray(8, 20).equals(id)) {
    return null;
  }
  for (let at = 20; at + 4 <= message.length;) {
    const length = message.readUInt16BE(at + 2);
    if (message.readUInt16BE(at) === 0x0020) {
      const port = message.readUInt16BE(at + 6) ^ 0x2112;
      const mask = Buffer.concat([COOKIE, id]);
      const bytes = message.subarray(at + 8, at + 4 + length).map((byte, index) => byte ^ mask[index]);
      const address = bytes.length === 4
        ? bytes.join('.')
        : Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(':');
      return show(address, port);
    }
    at += 4 + length + ((4 - (length % 4)) % 4);
  }
  return null;
}

function ask(target) {
  const [, address, port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(target);
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  const id = randomBytes(12);
  const request = Buffer.concat([Buffer.from([0, 1, 0, 0]), COOKIE, id]);
  return new Promise((resolve) => {
    const send = () => socket.send(request, Number(port), address, () => {});
    const again = setInterval(send, 250);
    const finish = (answer) => {
      clearInterval(again);
      clearTimeout(limit);
      socket.close();
      resolve({ target, ...answer });
    };
    const limit = setTimeout(() => finish({ from: null, mapped: null }), milliseconds);
    socket.on('error', () => {});
    socket.on('message', (message, { address: from, port: fromPort }) => {
      const answer = mapped(message, id);
      if (answer !== null) {
        finish({ from: show(from, fromPort), mapped: answer });
      }
    });
    send();
  });
}

console.log(JSON.stringify(await Promise.all(targets.map(ask))));
