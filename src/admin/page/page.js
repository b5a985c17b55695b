// The overview: what the server does, second by second, and what can be done to it.
import { call } from './api.js';
import { $, Tiles, confirm, notify, scaled, time, visible, whole } from './dom.js';
import { startIceTest } from './ice.js';
import { Plot } from './plot.js';
import { startSessions } from './sessions.js';

const INTERVAL = 1000;

const tiles = new Tiles($('tiles'), {
  live: 'Live allocations',
  ports: 'Relay ports in use',
  packets: 'Packets relayed',
  dropped: 'Packets dropped',
  auth: 'Auth failures',
  quota: 'Quota refusals',
});

const plots = $('plots');
const both = [{ name: 'received', style: 'one' }, { name: 'sent', style: 'two' }];
const allocations = new Plot(plots, 'Allocations', [{ name: 'live', style: 'one' }]);
const packets = ['clients', 'peers'].map((side) => new Plot(plots, `Packets/s, ${side}`, both, { least: 10 }));
const errors = new Plot(plots, 'Errors/s', [
  { name: 'drops', style: 'two' }, { name: 'auth', style: 'bad' }, { name: 'quota', style: 'three' },
], { least: 2 });
const bits = ['clients', 'peers'].map((side) => new Plot(plots, `Bits/s, ${side}`, both, { least: 1000 }));

let previous = null;
let draining = false;

/** The rate of a counter between two answers; null when there is none. */
function rates(status, now) {
  const seconds = previous && now - previous.now;
  // A server that was started anew counts from zero.
  const usable = previous !== null && seconds < 10 && status.uptime_seconds >= previous.status.uptime_seconds;
  return (pick, factor = 1) =>
    (usable ? Math.max(0, ((pick(status) - pick(previous.status)) / seconds) * factor) : null);
}

function show(status, now) {
  const rate = rates(status, now);
  allocations.push(now, [status.allocations]);
  ['clients', 'peers'].forEach((side, index) => {
    packets[index].push(now, [rate((s) => s[side].received_packets), rate((s) => s[side].sent_packets)]);
    bits[index].push(now, [rate((s) => s[side].received_bytes, 8), rate((s) => s[side].sent_bytes, 8)]);
  });
  errors.push(now, [rate((s) => s.packets_dropped), rate((s) => s.auth_failures), rate((s) => s.quota_refusals)]);

  tiles.set('live', whole(status.allocations), `${whole(status.allocations_created)} made, ${whole(status.allocations_ended)} ended`);
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
  previous = { status, now };
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
      const status = await call('GET', '/api/v1/status');
      show(status, performance.now() / 1000);
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
  const { changes, pending, certificates_unusable: unusable } = await call('POST', '/api/v1/reload', {});
  const line = ({ key, old, new: now }) => `${key}: ${old || 'absent'} → ${now || 'absent'}`;
  const lines = [
    ...changes.map(line),
    ...pending.map((change) => `${line(change)} from the next restart on`),
    ...(unusable ? [`certificates: the old one is in use, because ${unusable}`] : []),
  ];
  notify('good', changes.length > 0 ? 'Reloaded.' : 'Reloaded, nothing has changed.', lines);
});

$('notice-close').addEventListener('click', () => {
  $('notice').hidden = true;
});

poll();
startSessions();
startIceTest();
