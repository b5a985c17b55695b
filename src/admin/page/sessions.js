// The table of sessions, sorted and searched by the server.
import { call } from './api.js';
import { $, confirm, el, notify, scaled, time, visible, whole } from './dom.js';

const INTERVAL = 2000;
/** Sessions on one page; a telephone shows each as a card. */
const LIMIT = matchMedia('(max-width: 760px)').matches ? 10 : 25;
/** Milliseconds of silence after which a search begins while somebody types. */
const PAUSE = 300;

/** Shown sessions; `user` is an exact name. */
const view = { search: '', user: null, sort: 'rate', page: 0 };
/** Rows by id, kept so that a focused button stays focused. */
const rows = new Map();
let total = 0;

export function startSessions() {
  let typing = null;
  $('filter').addEventListener('submit', (event) => {
    event.preventDefault();
    clearTimeout(typing);
    change({ search: $('search').value.trim() });
  });
  $('search').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ search: $('search').value.trim() }), PAUSE);
  });
  $('sort').addEventListener('change', () => change({ sort: $('sort').value }));
  $('filter-clear').addEventListener('click', () => {
    $('search').value = '';
    change({ search: '', user: null });
    $('search').focus();
  });
  $('page-back').addEventListener('click', () => turn(view.page - 1));
  $('page-next').addEventListener('click', () => turn(view.page + 1));
  view.sort = $('sort').value;
  poll();
}

function change(what) {
  Object.assign(view, { page: 0 }, what);
  // Another order is wanted than the one that is held.
  forget();
  load();
}

function turn(page) {
  view.page = page;
  forget();
  load();
}

function forget() {
  rows.forEach((row) => row.body.remove());
  rows.clear();
}

async function poll() {
  if (!document.hidden) {
    await load();
  }
  setTimeout(poll, INTERVAL);
}

let latest = 0;

async function load() {
  const query = new URLSearchParams({ limit: LIMIT, offset: view.page * LIMIT, sort: view.sort });
  if (view.search !== '') {
    query.set('search', view.search);
  }
  if (view.user !== null) {
    query.set('user', view.user);
  }
  latest += 1;
  const mine = latest;
  let answer = null;
  let problem = '';
  try {
    answer = await call('GET', `/api/v1/sessions?${query}`);
  } catch (refused) {
    problem = refused.message;
  }
  // A later question has been asked meanwhile.
  if (mine !== latest) {
    return;
  }
  $('sessions-problem').hidden = problem === '';
  $('sessions-problem').textContent = visible(problem);
  if (answer !== null) {
    show(answer);
  }
}

function show(answer) {
  ({ total } = answer);
  const { sessions } = answer;
  const pages = Math.max(1, Math.ceil(total / LIMIT));
  // The last session of a page may have ended.
  if (view.page >= pages) {
    turn(pages - 1);
    return;
  }
  const filtered = view.search !== '' || view.user !== null;
  $('sessions-count').textContent = `${whole(total)} ${filtered ? 'match' : 'live'}`;
  $('filter-user').hidden = view.user === null;
  $('filter-user').textContent = view.user === null ? '' : `User ${short(visible(view.user))}`;
  $('filter-clear').hidden = !filtered;
  $('sessions-empty').hidden = sessions.length > 0;
  $('sessions-empty').textContent = filtered ? 'No session matches.' : 'No sessions.';
  $('session-table').hidden = sessions.length === 0;
  $('page-back').disabled = view.page === 0;
  $('page-next').disabled = view.page >= pages - 1;
  $('page-number').textContent = `Page ${whole(view.page + 1)} of ${whole(pages)}`;
  $('pager').hidden = pages === 1;
  fill(inOrder(sessions));
}

/** Sessions in their order; rows keep their places while somebody is at them, so that no button moves away under a finger. */
function inOrder(sessions) {
  const table = $('session-table');
  if (!table.matches(':hover') && !table.contains(document.activeElement)) {
    return sessions;
  }
  const places = [...table.tBodies].map((body) => body.dataset.session);
  const place = ({ id }) => {
    const at = places.indexOf(String(id));
    return at === -1 ? places.length : at;
  };
  return [...sessions].sort((one, two) => place(one) - place(two));
}

function fill(sessions) {
  const here = new Set(sessions.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (!here.has(id)) {
      row.body.remove();
      rows.delete(id);
    }
  }
  let before = $('session-table').tHead;
  for (const session of sessions) {
    if (!rows.has(session.id)) {
      rows.set(session.id, new Row(session));
    }
    const row = rows.get(session.id);
    row.update(session);
    if (before.nextElementSibling !== row.body) {
      before.after(row.body);
    }
    before = row.body;
  }
}

/** Bits a second above what there was in all. */
const traffic = (rate, packets, bytes) => [
  el('span', { className: rate > 0 ? 'rate' : 'rate muted' }, rate === null ? '–' : scaled(rate * 8, 'bit/s')),
  el('small', {}, scaled(bytes, 'B'), el('span', { className: 'packets' }, `, ${scaled(packets)} packets`)),
];

class Row {
  constructor(session) {
    const { id, user } = session;
    const name = user === null ? 'nobody' : visible(user);
    const cell = (label, className = '') => el('td', { 'data-label': label, className });
    this.age = cell('Age', 'number more');
    this.left = cell('Left', 'number more');
    this.toPeers = cell('To peers', 'number');
    this.toClient = cell('To client', 'number');
    this.details = el('td', { colSpan: 9 });
    this.detailRow = el('tr', { className: 'details', hidden: true }, this.details);
    const more = el('button', { type: 'button', className: 'plain id', 'aria-expanded': 'false', title: 'Peers and channels' }, String(id));
    more.addEventListener('click', () => {
      this.detailRow.hidden = !this.detailRow.hidden;
      this.body.classList.toggle('open', !this.detailRow.hidden);
      more.setAttribute('aria-expanded', String(!this.detailRow.hidden));
    });
    const by = user === null
      ? el('span', { className: 'muted' }, name)
      : el('button', { type: 'button', className: 'plain user', title: 'Show the sessions of this user' }, el('bdi', {}, name));
    by.addEventListener('click', () => user !== null && change({ user }));
    const kill = el('button', { type: 'button', className: 'danger small', 'aria-label': `End session ${id}` }, 'End');
    kill.addEventListener('click', () => end(session));
    this.body = el('tbody', { 'data-session': String(id) },
      el('tr', {},
        el('td', { 'data-label': 'ID', className: 'key' }, more),
        el('td', { 'data-label': 'User', className: 'name' }, by),
        el('td', { 'data-label': 'Client', className: 'address' }, session.client, el('small', {}, session.transport)),
        el('td', { 'data-label': 'Relayed', className: 'address more' }, session.relayed),
        this.age, this.left, this.toPeers, this.toClient,
        el('td', { className: 'action' }, kill)),
      this.detailRow);
  }

  update(session) {
    this.age.textContent = time(session.age_seconds);
    this.left.textContent = time(session.remaining_seconds);
    const rate = session.per_second;
    this.toPeers.replaceChildren(...traffic(rate?.bytes_to_peers ?? null, session.packets_to_peers, session.bytes_to_peers));
    this.toClient.replaceChildren(...traffic(rate?.bytes_to_client ?? null, session.packets_to_client, session.bytes_to_client));
    const list = (texts) => (texts.length > 0 ? texts.join(', ') : 'none');
    const channels = session.channels.map(({ number, peer }) => `0x${number.toString(16)} ${peer}`);
    const packets = rate === null ? 'not known yet' : `${whole(rate.packets_to_peers)} to peers, ${whole(rate.packets_to_client)} to the client`;
    const lines = [
      ['Server address', session.server], ['Packets/s', packets], ['Permissions', list(session.permissions)], ['Channels', list(channels)],
    ];
    this.details.replaceChildren(el('dl', {}, ...lines.flatMap(([what, text]) => [el('dt', {}, what), el('dd', {}, text)])));
  }
}

async function end({ id, user, client }) {
  const who = user === null ? client : `${short(visible(user))}, from ${client}`;
  if (!(await confirm(`End session ${id}?`, [who, 'The call breaks off; the client may allocate again.'], 'End the session'))) {
    return;
  }
  try {
    await call('DELETE', `/api/v1/sessions/${id}`);
    notify('good', `Session ${id} has ended.`);
  } catch (problem) {
    notify('bad', problem.status === 404 ? `Session ${id} had ended before.` : problem.message, problem.details);
  }
  load();
}

const short = (text) => (text.length > 120 ? `${text.slice(0, 120)}…` : text);
