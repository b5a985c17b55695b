// Gathers candidates as Trickle ICE does, and sends a round trip through the relay, from this very browser.
import { call } from './api.js';
import { $, Tiles, el, milliseconds, visible } from './dom.js';
import { fillHost } from './host.js';
import { Dots } from './plot.js';

const GATHER_LIMIT = 20_000;
const CONNECT_LIMIT = 20_000;
/** Between two messages, as an audio stream has it. */
const PACE = 20;
/** How long the last answers may take. */
const TIMEOUT = 2000;
const PADDING = 'x'.repeat(160);

const MEANINGS = {
  300: 'The server drains and names another one.',
  400: 'The request was not understood.',
  401: 'The credentials were refused. Is the clock right?',
  403: 'The server does not allow it.',
  437: 'The port was used by another allocation a moment ago. Try again.',
  438: 'The nonce is too old; browsers then try again.',
  440: 'No relay address of this family.',
  442: 'This transport is not relayed.',
  486: 'The quota of this user or of the server is used up.',
  508: 'The server drains, or has no relay port left.',
  600: 'The browser refuses this address or port.',
  701: 'No answer. A firewall may drop the packets, or the host is wrong.',
};

/** The meaning of 701 for a URL, whose TLS the browser does not talk about. */
function unanswered(url) {
  const [, scheme, host] = /^(\w+):(\[[^\]]*\]|[^:?]*)/.exec(url ?? '') ?? [];
  return scheme === 'turns'
    ? `No answer. The browser may not trust the certificate, the certificate may be for another name than ${host}, or a firewall drops the packets.`
    : MEANINGS[701];
}

const meaning = (code, url) => (code === 701 ? unanswered(url) : MEANINGS[code] ?? '');

const pause = (duration) => new Promise((resolve) => { setTimeout(resolve, duration); });

export function startIceTest() {
  fillHost($('ice-host'));
  $('ice-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    if ($('ice-run').disabled) {
      return;
    }
    $('ice-run').disabled = true;
    reset();
    try {
      await test();
    } catch (problem) {
      verdict('ice-verdict', 'bad', [problem.message, ...(problem.details ?? [])].join(' '));
    }
    $('ice-run').disabled = false;
  });
}

function reset() {
  for (const id of ['ice-verdict', 'trip-verdict', 'ice-results', 'ice-errors', 'trip']) {
    $(id).hidden = true;
  }
  for (const id of ['ice-urls', 'candidates', 'candidate-errors']) {
    for (const body of [...$(id).tBodies]) {
      body.remove();
    }
    $(id).append(el('tbody'));
  }
  $('candidates-empty').hidden = false;
  $('candidates-empty').textContent = 'None yet.';
}

async function test() {
  if (typeof RTCPeerConnection === 'undefined') {
    throw new Error('This browser has no WebRTC.');
  }
  const host = $('ice-host').value.trim();
  const name = $('ice-user').value;
  const messages = Math.min(2000, Math.max(1, Number($('ice-messages').value) || 100));
  const password = $('ice-password').value;
  const request = { urls_only: password !== '' };
  if (host !== '') {
    request.host = host;
  }
  if (name !== '') {
    request.name = name;
  }
  verdict('ice-verdict', 'busy', 'Asking for credentials…');
  const answer = await call('POST', '/api/v1/credentials', request);
  const own = password === '' ? {} : { username: name, credential: password };
  const iceServers = answer.iceServers.map((server) => ({ ...server, ...own }));
  $('ice-results').hidden = false;
  const relays = await gather(iceServers);
  if (relays > 0) {
    await roundTrip(iceServers, messages);
  }
}

function verdict(id, kind, text) {
  $(id).className = `verdict ${kind}`;
  $(id).textContent = visible(text);
  $(id).hidden = false;
}

/** Tries every URL by itself, shows what comes, and returns how many relay candidates there are. */
async function gather(iceServers) {
  verdict('ice-verdict', 'busy', 'Gathering candidates…');
  const start = performance.now();
  const all = iceServers.flatMap(({ urls, ...login }) => urls.map((url) => ({ url, login })));
  const tried = await Promise.all(all.map((one, index) => tryUrl(one, index === 0)));
  $('candidates-empty').textContent = 'None.';
  const ended = tried.every(({ complete }) => complete);
  const took = ended ? `after ${milliseconds(performance.now() - start)}` : `gave up after ${GATHER_LIMIT / 1000} s`;
  const found = {};
  for (const type of tried.flatMap(({ types }) => types)) {
    found[type] = (found[type] ?? 0) + 1;
  }
  const counts = Object.entries(found).map(([type, count]) => `${count} ${type}`).join(', ') || 'no candidates';
  const failed = tried.filter(({ works }) => !works).map(({ url }) => url);
  if (found.relay > 0) {
    const but = failed.length > 0 ? ` But not by ${failed.join(', ')}.` : '';
    verdict('ice-verdict', 'good', `The relay can be used: ${counts}, ${took}.${but}`);
  } else {
    const hint = tried.map(({ hint: text }) => text).find((text) => text !== '') ?? '';
    verdict('ice-verdict', 'bad', `No relay candidate: ${counts}, ${took}. ${hint}`);
  }
  return found.relay ?? 0;
}

/** Gathers with one URL alone. Host candidates are the same for all, so that one tells them. */
async function tryUrl({ url, login }, tellsHosts) {
  const row = new UrlRow(url);
  const types = [];
  const codes = [];
  let connection;
  try {
    connection = new RTCPeerConnection({ iceServers: [{ urls: url, ...login }] });
  } catch (problem) {
    row.end('bad', problem.message);
    return { url, types, works: false, complete: true, hint: problem.message };
  }
  const start = performance.now();
  connection.onicecandidateerror = (event) => {
    codes.push(event.errorCode);
    showError(event);
  };
  const got = {};
  const ended = new Promise((resolve) => {
    setTimeout(() => resolve(false), GATHER_LIMIT);
    connection.onicecandidate = ({ candidate }) => {
      if (candidate === null) {
        resolve(true);
      } else if (candidate.candidate !== '' && (candidate.type !== 'host' || tellsHosts)) {
        const after = performance.now() - start;
        types.push(candidate.type);
        got[candidate.type] ??= `${hostPort(candidate.address, candidate.port)}, ${milliseconds(after)}`;
        showCandidate(candidate, url, after);
      }
    };
  });
  connection.createDataChannel('gather');
  await connection.setLocalDescription();
  const complete = await ended;
  connection.close();
  const hint = codes.map((code) => meaning(code, url)).find((text) => text !== '') ?? '';
  const turn = url.startsWith('turn');
  const works = turn ? got.relay !== undefined : got.srflx !== undefined || (complete && codes.length === 0);
  if (works) {
    const stun = got.srflx ? `This browser is seen as ${got.srflx}` : 'Answered: no NAT is between';
    row.end('good', turn ? `Relay ${got.relay}` : stun);
  } else {
    const code = codes.length > 0 ? `${codes[0]}: ` : '';
    row.end('bad', `${code}${hint || (complete ? 'No candidate.' : 'No answer in time.')}`);
  }
  return { url, types, works, complete, hint };
}

/** The verdict on one URL. */
class UrlRow {
  constructor(url) {
    this.result = el('td', { 'data-label': 'Result', className: 'wide' }, '…');
    this.row = el('tr', { 'data-url': url }, el('td', { 'data-label': 'URL', className: 'address wide' }, visible(url)), this.result);
    $('ice-urls').tBodies[0].append(this.row);
  }

  end(kind, text) {
    this.row.dataset.verdict = kind;
    this.result.replaceChildren(el('span', { className: `mark ${kind}` }, kind === 'good' ? '✓ ' : '✗ '), visible(text));
  }
}

// Some browsers give IPv6 addresses with their brackets.
const hostPort = (address, port) => (/^[^[].*:/.test(address ?? '') ? `[${address}]:${port}` : `${address}:${port}`);

function showCandidate(candidate, asked, after) {
  $('candidates-empty').hidden = true;
  const { type, protocol, address, port, relatedAddress, relatedPort, relayProtocol } = candidate;
  const url = type === 'host' ? '' : asked;
  const related = relatedAddress && relatedPort ? hostPort(relatedAddress, relatedPort) : '';
  const over = relayProtocol && relayProtocol !== protocol ? `${protocol}, to the relay over ${relayProtocol}` : protocol;
  const cell = (label, text, className = '') => el('td', { 'data-label': label, className }, text);
  $('candidates').tBodies[0].append(el('tr', { 'data-type': type ?? '' },
    el('td', { 'data-label': 'Type', className: 'key' }, el('span', { className: `tag ${type}` }, type ?? '?')),
    cell('Protocol', over ?? ''), cell('Address', hostPort(address, port), 'address wide'),
    cell('Related', related, 'address'), cell('From', url, 'address wide'), cell('After', milliseconds(after), 'number')));
}

function showError({ errorCode, errorText, url }) {
  $('ice-errors').hidden = false;
  const cell = (label, text, className = '') => el('td', { 'data-label': label, className }, text);
  $('candidate-errors').tBodies[0].append(el('tr', {},
    cell('Code', String(errorCode), 'number key'), cell('URL', url ?? '', 'address wide'),
    cell('Text', visible(errorText ?? ''), 'wide'), cell('Meaning', meaning(errorCode, url), 'wide')));
}

/** Two peer connections that may use nothing but the relay; every message is sent back. */
async function roundTrip(iceServers, messages) {
  $('trip').hidden = false;
  $('trip-progress').value = 0;
  $('trip-plot').replaceChildren();
  const tiles = new Tiles($('trip-tiles'), {
    loss: 'Loss', least: 'Shortest', median: 'Median', most: 'Longest', connected: 'Connected after',
  });
  verdict('trip-verdict', 'busy', 'Connecting through the relay…');
  const configuration = { iceServers, iceTransportPolicy: 'relay' };
  const [caller, callee] = [new RTCPeerConnection(configuration), new RTCPeerConnection(configuration)];
  try {
    const start = performance.now();
    // Lost is lost, as in a call.
    const channel = caller.createDataChannel('round-trip', { ordered: false, maxRetransmits: 0 });
    const opened = await Promise.race([connect(caller, callee, channel), pause(CONNECT_LIMIT).then(() => false)]);
    if (!opened) {
      verdict('trip-verdict', 'bad', `No connection through the relay (${caller.iceConnectionState}).`);
      return;
    }
    tiles.set('connected', milliseconds(performance.now() - start));
    verdict('trip-verdict', 'busy', 'Sending messages…');
    const dots = new Dots($('trip-plot'), 'Delay of each message', messages);
    const delays = await exchange(channel, messages, dots);
    const sorted = delays.filter((delay) => delay !== null).sort((a, b) => a - b);
    const lost = messages - sorted.length;
    const loss = `${((100 * lost) / messages).toFixed(lost > 0 && lost < messages ? 1 : 0)}\u00a0%`;
    tiles.set('loss', loss, `${lost} of ${messages}`);
    const at = (part) => (sorted.length > 0 ? milliseconds(sorted[Math.floor((sorted.length - 1) * part)]) : '–');
    tiles.set('least', at(0));
    tiles.set('median', at(0.5));
    tiles.set('most', at(1));
    const text = sorted.length > 0
      ? `Round trip through the relay: ${loss} lost, ${at(0)} / ${at(0.5)} / ${at(1)} (shortest, median, longest).`
      : 'Connected, but no message came back.';
    verdict('trip-verdict', sorted.length > 0 ? 'good' : 'bad', text);
  } finally {
    caller.close();
    callee.close();
  }
}

async function connect(caller, callee, channel) {
  for (const [from, to] of [[caller, callee], [callee, caller]]) {
    // A candidate that comes after the end is nobody's.
    from.onicecandidate = ({ candidate }) => candidate && to.addIceCandidate(candidate).catch(() => {});
  }
  callee.ondatachannel = ({ channel: echo }) => {
    echo.onmessage = ({ data }) => echo.readyState === 'open' && echo.send(data);
  };
  const open = new Promise((resolve) => {
    channel.onopen = () => resolve(true);
    caller.addEventListener('connectionstatechange', () => caller.connectionState === 'failed' && resolve(false));
  });
  await caller.setLocalDescription();
  await callee.setRemoteDescription(caller.localDescription);
  await callee.setLocalDescription();
  await caller.setRemoteDescription(callee.localDescription);
  return open;
}

/** The delay of each message in milliseconds; null for one that did not come back. */
async function exchange(channel, messages, dots) {
  const sent = [];
  const delays = [];
  let answered = 0;
  channel.onmessage = ({ data }) => {
    const number = Number.parseInt(data, 10);
    if (sent[number] !== undefined && delays[number] === undefined) {
      delays[number] = performance.now() - sent[number];
      answered += 1;
    }
  };
  for (let number = 0; number < messages && channel.readyState === 'open'; number += 1) {
    sent[number] = performance.now();
    channel.send(`${number} ${PADDING}`);
    $('trip-progress').value = (number + 1) / messages;
    if (number % 10 === 0) {
      dots.set(delays);
    }
    await pause(PACE);
  }
  const deadline = performance.now() + TIMEOUT;
  while (answered < messages && performance.now() < deadline) {
    await pause(PACE);
  }
  channel.onmessage = null;
  const all = Array.from({ length: messages }, (_, number) => delays[number] ?? null);
  dots.set(all);
  return all;
}
