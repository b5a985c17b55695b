// The API, and the token that it may ask for.
import { $, el, visible } from './dom.js';

const LIMIT = 15_000;
const KEY = 'turnd-admin-token';

/** The server said no, or nothing (status 0). */
export class Refused extends Error {
  constructor(status, text, details = []) {
    super(text);
    this.status = status;
    this.details = details;
  }
}

/** Sends a request until the server takes its token; returns the answer's JSON. */
export async function call(method, path, body) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const answer = await once(method, path, body, token);
    if (answer.status !== 401) {
      return read(answer);
    }
    // Another request may have asked for the token meanwhile.
    if (token === sessionStorage.getItem(KEY)) {
      await askToken(token !== null, await lines(answer));
    }
  }
}

async function once(method, path, body, token) {
  const headers = {};
  if (token !== null) {
    headers.authorization = `Bearer ${token}`;
  }
  if (body !== undefined) {
    headers['content-type'] = 'application/json';
  }
  try {
    const signal = AbortSignal.timeout(LIMIT);
    return await fetch(path, { method, headers, body: body && JSON.stringify(body), signal, redirect: 'error' });
  } catch {
    throw new Refused(0, 'the server does not answer');
  }
}

async function read(answer) {
  let json;
  try {
    json = await answer.json();
  } catch {
    throw new Refused(answer.status, `the answer broke off (${answer.status})`);
  }
  if (!answer.ok) {
    throw new Refused(answer.status, json.error ?? `status ${answer.status}`, json.details);
  }
  return json;
}

/** What a server that has no token says to that, and how to come by one. */
async function lines(answer) {
  const { error, details = [] } = await answer.json().catch(() => ({}));
  return details.length > 0 ? [error, ...details] : [];
}

let asking = null;

/** Shows the dialog, once for all requests that wait for it. */
function askToken(wrong, why) {
  asking ??= new Promise((resolve) => {
    const dialog = $('token-dialog');
    $('token-why').replaceChildren(...why.map((line) => el('p', {}, visible(line))));
    $('token-why').hidden = why.length === 0;
    $('token-wrong').hidden = !wrong;
    $('token').value = '';
    $('token-form').onsubmit = (event) => {
      event.preventDefault();
      // A text that no header can hold is no token.
      if (/^[\x21-\x7e]+$/.test($('token').value.trim())) {
        sessionStorage.setItem(KEY, $('token').value.trim());
        asking = null;
        dialog.close();
        resolve();
      } else {
        $('token-wrong').hidden = false;
      }
    };
    // Nothing can be shown without it.
    dialog.oncancel = (event) => event.preventDefault();
    dialog.onclose = () => asking && dialog.showModal();
    dialog.showModal();
  });
  return asking;
}
