// The overview: what the server does, second by second and over the day, and what can be done to it.
import { call } from './api.js';
import { configChanged, showPending, startConfig } from './config.js';
import { startCredentials } from './credentials.js';
import { $, Tiles, confirm, notify, scaled, time, visible, whole } from './dom.js';
import { startIceTest } from './ice.js';
import { Plot } from './plot.js';
import { startRefusals } from './refusals.js';
import { startSessions } from './sessions.js';
import { Timeline } from './timeline.js';

const INTERVAL = 1000;

const tiles = new Tiles($('tiles'), {
  live: 'Live allocations',
  ports: 'Relay ports in use',
  packets: 'Packets relayed',
  dropped: 'Packets dropped',
  auth: 'Auth failures',
  quota: 'Quota refusals',
});

const both = [{ name: 'received', style: 'one' }, { name: 'sent', style: 'two' }];
const sides = ['clients', 'peers'];
const bits = (value) => (value === null ? null : value * 8);
/** Plots, each with the values that it shows of a sample. */
const plots = [
  [new Plot($('plots'), 'Allocations', [{ name: 'live', style: 'one' }]), (sample) => [sample.allocations]],
  ...sides.map((side) => [
    new Plot($('plots'), `Packets/s, ${side}`, both, { least: 10 }),
    (sample) => [sample[`${side}_received_packets`], sample[`${side}_sent_packets`]],
  ]),
  [
    new Plot($('plots'), 'Errors/s', [
      { name: 'drops', style: 'two' }, { name: 'auth', style: 'bad' }, { name: 'quota', style: 'three' },
    ], { least: 2 }),
    (sample) => [sample.packets_dropped, sample.auth_failures, sample.quota_refusals],
  ],
  ...sides.map((side) => [
    new Plot($('plots'), `Bits/s, ${side}`, both, { least: 1000 }),
    (sample) => [bits(sample[`${side}_received_bytes`]), bits(sample[`${side}_sent_bytes`])],
  ]),
];

const timeline = new Timeline(() => draw());
let range = 'minutes';
let draining = false;
let reloads = null;

function draw() {
  const samples = timeline.samples(range);
  const enough = samples.length > 0;
  $('plots').hidden = !enough;
  $('plots-empty').hidden = enough;
  $('plots-empty').textContent = range === 'day' ? 'The first minute of the history is not over yet.' : 'The first seconds are not over yet.';
  if (enough) {
    for (const [plot, values] of plots) {
      plot.show(samples.map((sample) => ({ now: sample.now, values: values(sample) })));
    }
  }
}

function choose(chosen) {
  range = chosen;
  for (const name of ['minutes', 'day']) {
    $(`range-${name}`).setAttribute('aria-pressed', String(name === chosen));
  }
  draw();
  if (chosen === 'day') {
    timeline.loadDay();
  }
}

function show(status) {
  timeline.add(status);
  if (range === 'minutes') {
    draw();
  }
  tiles.set('live', whole(status.allocations), `${scaled(status.allocations_created)} since the start`);
  const used = status.relay_ports_total > 0 ? (100 * status.relay_ports_used) / status.relay_ports_total : 0;
  tiles.set('ports', whole(status.relay_ports_used), `of ${whole(status.relay_ports_total)}, ${used.toFixed(used < 10 ? 1 : 0)}\u00a0%`);
  const relayed = status.clients.sent_packets + status.peers.sent_packets;
  tiles.set('packets', scaled(relayed), `${scaled(status.clients.sent_bytes + status.peers.sent_bytes, 'B')} sent`);
  tiles.set('dropped', scaled(status.packets_dropped), 'since the start');
  tiles.set('auth', scaled(status.auth_failures), 'since the start');
  tiles.set('quota', scaled(status.quota_refusals), 'since the start');

  draining = status.draining;
  $('version').textContent = visible(status.version);
  $('uptime').textContent = `up ${time(status.uptime_seconds)}`;
  setState(draining ? 'draining' : 'serving');
  $('drain').textContent = draining ? 'Stop draining' : 'Drain…';
  $('drain').disabled = $('reload').disabled = false;
  document.title = `turnd: ${whole(status.allocations)} live${draining ? ', draining' : ''}`;
  showPending(status.pending ?? []);
  const now = `${status.uptime_seconds < 5} ${status.reloads}`;
  if (reloads !== null && reloads !== now) {
    configChanged();
  }
  reloads = now;
}

function setState(state) {
  // A status that is set again would be read out again.
  if ($('state').textContent !== state) {
    $('state').textContent = state;
    $('state').className = `pill ${state.replace(' ', '-')}`;
  }
}

async function poll() {
  if (!document.hidden) {
    try {
      show(await call('GET', '/api/v1/status'));
    } catch (problem) {
      setState(problem.status === 0 ? 'no answer' : 'error');
      $('state').title = problem.message;
      $('drain').disabled = $('reload').disabled = true;
    }
  }
  setTimeout(poll, INTERVAL);
}

/** Does what a button is for; its outcome is shown. */
function action(button, run) {
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      await run();
    } catch (problem) {
      notify('bad', problem.message, problem.details);
    }
    button.disabled = false;
  });
}

action($('drain'), async () => {
  const drain = !draining;
  const text = 'New sessions are refused, and readiness turns off. Sessions that there are go on.';
  if (drain && !(await confirm('Drain this server?', [text], 'Drain'))) {
    return;
  }
  await call('POST', '/api/v1/drain', { drain });
  notify('good', drain ? 'Draining: new sessions are refused.' : 'New sessions are accepted again.');
});

action($('reload'), async () => {
  const { changes, pending = [], certificates_unusable: unusable } = await call('POST', '/api/v1/reload', {});
  const line = ({ key, old, new: now }) => `${key}: ${old || 'absent'} → ${now || 'absent'}`;
  const lines = [
    ...changes.map(line),
    ...pending.map((change) => `${line(change)}, from the next restart on`),
    ...(unusable ? [`certificates: the old one is in use, because ${unusable}`] : []),
  ];
  notify('good', lines.length > 0 ? 'Reloaded.' : 'Reloaded, nothing has changed.', lines);
});

$('notice-close').addEventListener('click', () => {
  $('notice').hidden = true;
});
for (const name of ['minutes', 'day']) {
  $(`range-${name}`).addEventListener('click', () => choose(name));
}

poll();
timeline.followDay(() => range === 'day');
startSessions();
startRefusals();
startCredentials();
startIceTest();
startConfig();
