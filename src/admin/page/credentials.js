// Credentials for a client: as values, as JSON, and as a QR code for a telephone.
import { call } from './api.js';
import { $, el, notify, visible } from './dom.js';
import { fillHost } from './host.js';
import { svg } from './plot.js';

/** Modules of light around a QR code (ISO/IEC 18004 §6.3.8). */
const QUIET = 4;

export function startCredentials() {
  fillHost($('credentials-host'));
  $('credentials-form').addEventListener('submit', async (event) => {
    event.preventDefault();
    $('credentials-problem').hidden = true;
    try {
      await make();
    } catch (problem) {
      $('credentials-result').hidden = true;
      $('credentials-problem').hidden = false;
      $('credentials-problem').textContent = visible([problem.message, ...(problem.details ?? [])].join(' '));
    }
  });
}

async function make() {
  const request = { ttl_seconds: Number($('credentials-ttl').value) };
  for (const name of ['name', 'host']) {
    const value = $(`credentials-${name}`).value.trim();
    if (value !== '') {
      request[name] = value;
    }
  }
  const answer = await call('POST', '/api/v1/credentials', request);
  const [{ urls, username, credential }] = answer.iceServers;
  const lines = [
    ['Username', username], ['Password', credential], ...urls.map((url, index) => [index === 0 ? 'URLs' : '', url]),
  ].filter(([, text]) => text !== undefined);
  $('credentials-values').replaceChildren(...lines.flatMap(([what, text]) => [
    el('dt', {}, what), el('dd', {}, el('code', {}, visible(text))), el('dd', { className: 'action' }, copyButton(text, what || 'URL')),
  ]));
  const pretty = JSON.stringify({ iceServers: answer.iceServers }, null, 2);
  $('credentials-json').textContent = visible(pretty.replaceAll('\n', '\u0000')).replaceAll('\u2400', '\n');
  $('credentials-copy').replaceChildren(copyButton(pretty, 'JSON'));
  const code = await call('POST', '/api/v1/qr', { text: JSON.stringify({ iceServers: answer.iceServers }) });
  $('credentials-qr').replaceChildren(qr(code), el('figcaption', { className: 'muted' }, 'The same JSON'));
  $('credentials-result').hidden = false;
}

function qr({ size, path }) {
  const side = size + 2 * QUIET;
  const image = svg('svg', {
    viewBox: `${-QUIET} ${-QUIET} ${side} ${side}`, role: 'img', 'aria-label': 'QR code of the JSON', class: 'qr', 'shape-rendering': 'crispEdges',
  });
  image.append(svg('rect', { x: -QUIET, y: -QUIET, width: side, height: side, class: 'light' }), svg('path', { d: path, class: 'dark' }));
  return image;
}

function copyButton(text, what) {
  const button = el('button', { type: 'button', className: 'small', 'aria-label': `Copy ${what}` }, 'Copy');
  button.addEventListener('click', async () => {
    if (await copy(text)) {
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    } else {
      notify('bad', 'The browser does not let this page copy. Select the text and copy it yourself.');
    }
  });
  return button;
}

/** Copies a text; browsers offer the clipboard to pages over HTTPS and on loopback only, and to others the old way. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = el('textarea', { value: text, className: 'hidden', readOnly: true });
    document.body.append(field);
    field.select();
    const copied = document.execCommand('copy');
    field.remove();
    return copied;
  }
}
