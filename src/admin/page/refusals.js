// Refusals and failures: how many for each reason, and the last of them.
import { call } from './api.js';
import { $, el, scaled, visible, whole } from './dom.js';

const INTERVAL = 4000;
/** Rows before "Show all"; a telephone shows each as a card. */
const FEW = matchMedia('(max-width: 760px)').matches ? 5 : 10;

let answer = { counts: [], refusals: [] };
/** What was drawn; drawing it again would take the focus away. */
let drawn = '';
let all = false;
/** Code and reason that are shown alone, or null. */
let only = null;

/** Refusals of one reason; each failure of the system tells its own. */
const key = ({ kind, code, reason }) => (kind === 'system' ? kind : `${kind} ${code} ${reason}`);
const words = ({ kind, reason }) => `${{ peer: 'peer refused: ', handshake: 'TLS handshake: ' }[kind] ?? ''}${reason}`;
const host = (address) => address?.replace(/:\d+$/, '');

/** Refusals with those that follow upon their like, but for the port, as {refusal, times}. */
function grouped(refusals) {
  const like = (one) => JSON.stringify({ ...one, time: 0, client: host(one.client) });
  const groups = [];
  for (const refusal of refusals) {
    const last = groups.at(-1);
    if (last !== undefined && like(last.refusal) === like(refusal)) {
      last.times += 1;
    } else {
      groups.push({ refusal, times: 1 });
    }
  }
  return groups;
}

export function startRefusals() {
  $('refusals-all').addEventListener('click', () => {
    all = !all;
    draw();
  });
  poll();
}

async function poll() {
  if (!document.hidden) {
    try {
      answer = await call('GET', '/api/v1/refusals');
      draw();
    } catch {
      // The status tells that the server does not answer.
    }
  }
  setTimeout(poll, INTERVAL);
}

function draw() {
  const now = JSON.stringify([answer, all, only]);
  if (now === drawn) {
    return;
  }
  drawn = now;
  const { counts, refusals } = answer;
  if (only !== null && !counts.some((count) => key(count) === only)) {
    only = null;
  }
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  $('refusals-count').textContent = total > 0 ? `${whole(total)} since the start` : '';
  $('refusals-empty').hidden = counts.length > 0;
  $('refusals-shown').hidden = counts.length === 0;
  const focused = document.activeElement?.dataset?.reason;
  const most = Math.max(1, ...counts.map(({ count }) => count));
  $('reasons').replaceChildren(...counts.map((count) => reason(count, most)));
  if (focused !== undefined) {
    [...$('reasons').querySelectorAll('button')].find((button) => button.dataset.reason === focused)?.focus();
  }
  const wanted = grouped(refusals.filter((refusal) => only === null || key(refusal) === only));
  const shown = all ? wanted : wanted.slice(0, FEW);
  $('refusals-all').hidden = wanted.length <= FEW;
  $('refusals-all').textContent = all ? `Show the last ${FEW}` : `Show all ${wanted.length}`;
  const body = el('tbody', {}, ...shown.map(row));
  $('refusal-table').tBodies[0]?.remove();
  $('refusal-table').append(body);
}

/** A button with a bar, which shows the refusals for one reason. */
function reason(count, most) {
  const pressed = only === key(count);
  const bar = el('span', { className: 'bar-of' }, el('span', {}));
  bar.firstChild.style.inlineSize = `${Math.max(1, (100 * count.count) / most)}%`;
  const button = el('button', {
    type: 'button', className: 'plain reason', 'aria-pressed': String(pressed), 'data-reason': key(count),
    title: pressed ? 'Show all reasons' : 'Show those for this reason',
  }, el('span', { className: 'what' }, el('span', { className: 'tag' }, String(count.code ?? '–')), ` ${words(count)}`),
  el('span', { className: 'value' }, scaled(count.count)), bar);
  button.addEventListener('click', () => {
    only = pressed ? null : key(count);
    draw();
  });
  return el('li', {}, button);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const date = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });

function remedy(key) {
  if (key === 'nothing') {
    return 'No key allows it.';
  }
  return key === 'denied-peer-ip' ? 'It is in denied-peer-ip.' : `${key} would allow it.`;
}

/** Words for refusals without a method. */
const REQUESTS = { peer: 'to a peer', handshake: 'handshake' };

function row({ refusal, times }) {
  const at = new Date(refusal.time * 1000);
  const today = at.toDateString() === new Date().toDateString();
  const cell = (label, className, ...content) => el('td', { 'data-label': label, className }, ...content);
  const why = [words(refusal), ...(times > 1 ? [' ', el('span', { className: 'tag' }, `${times} times`)] : [])];
  if (refusal.peer !== null) {
    why.push(el('small', {}, `Peer ${refusal.peer}. ${remedy(refusal.allowed_by)}`));
  }
  if (refusal.why !== null) {
    why.push(el('small', {}, refusal.why));
  }
  const from = refusal.client === null ? ['this server'] : [refusal.client, el('small', {}, refusal.proven ? refusal.transport : `${refusal.transport}, address not proven`)];
  return el('tr', {},
    cell('Time', 'number when', clock.format(at), ...(today ? [] : [el('small', {}, date.format(at))])),
    cell('Client', 'address', ...from),
    cell('User', 'name', ...(refusal.user === null ? [] : [el('bdi', {}, visible(refusal.user))])),
    cell('Request', '', refusal.method ?? REQUESTS[refusal.kind] ?? ''),
    cell('Code', 'number code', String(refusal.code ?? '')),
    cell('Reason', 'wide', ...why));
}
