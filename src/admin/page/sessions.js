// The table of sessions.
import { call } from './api.js';
import { $, confirm, el, notify, scaled, time, visible, whole } from './dom.js';

const INTERVAL = 2000;
const LIMIT = 50;

/** What is shown: exact names, and where each page up to this one began. */
const view = { user: '', client: '', pages: [0], next: null };
/** Rows by id, kept so that a focused button stays focused. */
const rows = new Map();

export function startSessions() {
  $('filter').addEventListener('submit', (event) => {
    event.preventDefault();
    // A name that the field cannot hold as it is came from a click on it.
    const user = $('filter-user').value;
    filter(user === visible(view.user) ? view.user : user, $('filter-client').value.trim());
  });
  $('filter-clear').addEventListener('click', () => filter('', ''));
  $('page-back').addEventListener('click', () => {
    view.pages.pop();
    load();
  });
  $('page-next').addEventListener('click', () => {
    view.pages.push(view.next);
    load();
  });
  poll();
}

function filter(user, client) {
  Object.assign(view, { user, client, pages: [0] });
  $('filter-user').value = visible(user);
  $('filter-client').value = client;
  $('filter-clear').hidden = user === '' && client === '';
  load();
}

async function poll() {
  if (!document.hidden) {
    await load();
  }
  setTimeout(poll, INTERVAL);
}

let latest = 0;

async function load() {
  const query = new URLSearchParams({ limit: LIMIT, after: view.pages.at(-1) });
  for (const key of ['user', 'client']) {
    if (view[key] !== '') {
      query.set(key, view[key]);
    }
  }
  latest += 1;
  const mine = latest;
  let answer = null;
  let problem = '';
  try {
    answer = await call('GET', `/api/v1/sessions?${query}`);
  } catch (refused) {
    problem = refused.status === 400 ? `Client is no address: ${refused.message}` : refused.message;
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

function show({ total, next, sessions }) {
  view.next = next;
  // The last session of a page may have ended.
  if (sessions.length === 0 && view.pages.length > 1) {
    view.pages.pop();
    load();
    return;
  }
  const filtered = view.user !== '' || view.client !== '';
  $('sessions-count').textContent = `${whole(total)} ${filtered ? 'match' : 'live'}`;
  $('sessions-empty').hidden = sessions.length > 0;
  $('sessions-empty').textContent = filtered ? 'No session matches.' : 'No sessions.';
  $('session-table').hidden = sessions.length === 0;
  $('page-back').disabled = view.pages.length === 1;
  $('page-next').disabled = next === null;
  $('page-number').textContent = view.pages.length > 1 || next !== null ? `Page ${view.pages.length}` : '';
  document.querySelector('.pager').hidden = view.pages.length === 1 && next === null;

  const table = $('session-table');
  const here = new Set(sessions.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (!here.has(id)) {
      row.body.remove();
      rows.delete(id);
    }
  }
  let before = table.tHead;
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

const traffic = (packets, bytes) => [scaled(bytes, 'B'), el('small', {}, `${scaled(packets)} packets`)];

class Row {
  constructor(session) {
    const { id, user } = session;
    const name = user === null ? 'nobody' : visible(user);
    const cell = (label, className = '') => el('td', { 'data-label': label, className });
    this.age = cell('Age', 'number');
    this.left = cell('Left', 'number');
    this.toPeers = cell('To peers', 'number');
    this.toClient = cell('To client', 'number');
    this.details = el('td', { colSpan: 9 });
    this.detailRow = el('tr', { className: 'details', hidden: true }, this.details);
    const more = el('button', { type: 'button', className: 'plain id', 'aria-expanded': 'false', title: 'Peers and channels' }, String(id));
    more.addEventListener('click', () => {
      this.detailRow.hidden = !this.detailRow.hidden;
      more.setAttribute('aria-expanded', String(!this.detailRow.hidden));
    });
    const by = user === null
      ? el('span', { className: 'muted' }, name)
      : el('button', { type: 'button', className: 'plain user', title: 'Show the sessions of this user' }, el('bdi', {}, name));
    by.addEventListener('click', () => user !== null && filter(user, ''));
    const kill = el('button', { type: 'button', className: 'danger small', 'aria-label': `End session ${id}` }, 'End');
    kill.addEventListener('click', () => end(session));
    this.body = el('tbody', { 'data-session': String(id) },
      el('tr', {},
        el('td', { 'data-label': 'ID', className: 'key' }, more),
        el('td', { 'data-label': 'User', className: 'name' }, by),
        el('td', { 'data-label': 'Client', className: 'address' }, session.client, el('small', {}, session.transport)),
        el('td', { 'data-label': 'Relayed', className: 'address' }, session.relayed),
        this.age, this.left, this.toPeers, this.toClient,
        el('td', { className: 'action' }, kill)),
      this.detailRow);
  }

  update(session) {
    this.age.textContent = time(session.age_seconds);
    this.left.textContent = time(session.remaining_seconds);
    this.toPeers.replaceChildren(...traffic(session.packets_to_peers, session.bytes_to_peers));
    this.toClient.replaceChildren(...traffic(session.packets_to_client, session.bytes_to_client));
    const list = (texts) => (texts.length > 0 ? texts.join(', ') : 'none');
    const channels = session.channels.map(({ number, peer }) => `0x${number.toString(16)} ${peer}`);
    const lines = [
      ['Server address', session.server], ['Permissions', list(session.permissions)], ['Channels', list(channels)],
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
