// The configuration and the certificates in force.
import { call } from './api.js';
import { $, el, scaled, visible, whole } from './dom.js';

/** Milliseconds between two looks: certificates are replaced without a reload, and the process grows. */
const INTERVAL = 10_000;
/** Days before the end of a certificate at which it is marked. */
const SOON = 14;
/** Characters of a value that are shown at first. */
const LONG = 160;

let keys = [];
/** Configuration that was drawn; drawing it again would close what is open. */
let drawn = '';
/** Time and CPU time at the last look, in seconds. */
let before = null;
/** Values that wait for a restart, by key. */
let pending = new Map();
let resolveFirst;
/** Configuration as it was when the page was opened. */
export const firstConfig = new Promise((resolve) => { resolveFirst = resolve; });

export function startConfig() {
  $('keys-all').addEventListener('change', drawKeys);
  poll();
}

/** Shows which keys have other values from the next restart on: [{key, new}]. */
export function showPending(changes) {
  if (JSON.stringify(changes) !== JSON.stringify([...pending.values()])) {
    pending = new Map(changes.map((change) => [change.key, change]));
    $('keys-pending').hidden = pending.size === 0;
    $('keys-pending').textContent = pending.size === 1 ? '1 key waits for a restart' : `${pending.size} keys wait for a restart`;
    drawKeys();
  }
}

/** To be called when the server may have another configuration. */
export function configChanged() {
  load();
}

async function poll() {
  if (!document.hidden) {
    await load();
  }
  setTimeout(poll, INTERVAL);
}

async function load() {
  try {
    const config = await call('GET', '/api/v1/config');
    resolveFirst(config);
    draw(config);
  } catch {
    // The status tells that the server does not answer.
  }
}

/** Memory, CPU and descriptors of the process. */
function usage({ cpu_seconds: cpu, resident_bytes: memory, open_files: open, max_files: most }) {
  const now = performance.now() / 1000;
  const share = before === null ? '' : `, ${scaled(Math.max(0, (100 * (cpu - before.cpu)) / (now - before.now)))}\u00a0% CPU`;
  before = { now, cpu };
  const files = open === null ? '' : `, ${whole(open)}${most === null ? '' : ` of ${whole(most)}`} descriptors`;
  return `${memory === null ? '' : `${scaled(memory, 'B')} memory`}${share}${files}`.replace(/^, /, '');
}

function draw({ process, ...config }) {
  const used = usage(process);
  const now = JSON.stringify(config);
  if (now !== drawn) {
    drawn = now;
    drawConfig(config);
  }
  $('process').textContent = used;
}

function drawConfig({ version, file, summary, listening, transports, relay, certificates, keys: all }) {
  const relays = `${relay.addresses.join(', ') || 'the address that the client reached'}, ports ${relay.min_port} to ${relay.max_port}`;
  const lines = [
    ['Version', version], ['File', file ?? 'none: defaults and flags'], ['Listens on', listening.join(', ')],
    ['Transports', transports.map((name) => name.toUpperCase()).join(', ')], ['Relays from', summary.relays.startsWith('nothing') ? summary.relays : relays],
    ['Announces', relay.announced.join(', ') || 'the relay addresses themselves'], ['May allocate', summary.allows],
  ];
  $('config-summary').replaceChildren(
    ...lines.map(([what, text]) => el('div', {}, el('dt', {}, what), el('dd', {}, visible(text)))),
    el('div', {}, el('dt', {}, 'Process'), el('dd', { id: 'process' })),
  );
  $('certificates-empty').hidden = certificates.length > 0;
  $('certificate-table').hidden = certificates.length === 0;
  $('certificate-table').tBodies[0]?.remove();
  $('certificate-table').append(el('tbody', {}, ...certificates.map(certificate)));
  keys = all;
  drawKeys();
}

function certificate({ names, ends, days_left: days }) {
  const kind = days < 0 ? 'bad' : days < SOON ? 'warn' : 'good';
  const left = days < 0 ? 'has ended' : days === 1 ? '1 day' : `${days} days`;
  return el('tr', {},
    el('td', { 'data-label': 'Names', className: 'wide' }, visible(names || 'without a name')),
    el('td', { 'data-label': 'Ends' }, new Date(ends * 1000).toISOString().slice(0, 10)),
    el('td', { 'data-label': 'Left' }, el('span', { className: `tag ${kind}` }, left)));
}

function drawKeys() {
  const all = $('keys-all').checked;
  const shown = keys.filter((key) => all || key.changed || pending.has(key.key));
  $('keys-count').textContent = `${keys.filter((key) => key.changed).length} of ${keys.length} keys differ from their defaults`;
  $('keys-empty').hidden = shown.length > 0;
  $('key-table').hidden = shown.length === 0;
  $('key-table').tBodies[0]?.remove();
  $('key-table').append(el('tbody', {}, ...shown.map(row)));
}

function row({ key, value, default: usual, changed, needs_restart: restart }) {
  const next = pending.get(key);
  const note = restart ? [el('small', {}, 'changes with a restart')] : [];
  if (next !== undefined) {
    note.splice(0, 1, el('small', {}, el('span', { className: 'tag warn' }, 'after a restart'), ' ', el('code', {}, visible(next.new || 'absent'))));
  }
  return el('tr', { className: changed ? 'changed' : '' },
    el('td', { 'data-label': 'Key', className: 'wide' }, el('code', {}, key), ...note),
    el('td', { 'data-label': 'Value', className: 'value' }, code(value)),
    el('td', { 'data-label': 'Default', className: 'value muted' }, changed || usual !== value ? code(usual) : 'the same'));
}

/** A value as TOML; a long one is cut until it is asked for. */
function code(text) {
  if (text === null) {
    return el('span', { className: 'muted' }, 'absent');
  }
  if (text.length <= LONG) {
    return el('code', {}, visible(text));
  }
  const cut = el('details', {}, el('summary', {}, el('code', {}, `${visible(text.slice(0, LONG))}…`)), el('code', {}, visible(text)));
  return cut;
}
