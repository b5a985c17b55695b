// The host that clients know this server by.
import { firstConfig } from './config.js';
import { $, el } from './dom.js';

const LOOPBACK = /^(localhost|127\..*|\[?::1\]?)$/;

/** Puts the best host that is known into a field, unless something was typed: one of the configuration, or the page's own. */
export async function fillHost(field) {
  const { hosts } = await firstConfig;
  // A realm may be another machine's name; the page has come from this one, if not through a tunnel.
  const rank = ({ key }) => (key === 'realm' ? 2 : 0);
  const own = { host: location.hostname, key: 'this page', rank: LOOPBACK.test(location.hostname) ? 3 : 1 };
  const all = [...hosts.map((host) => ({ ...host, rank: rank(host) })), own].sort((one, two) => one.rank - two.rank);
  if (field.value === '') {
    field.value = all[0].host;
  }
  $('hosts').replaceChildren(...all.map(({ host, key }) => el('option', { value: host, label: `${host} (${key})` })));
}
