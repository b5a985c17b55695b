// Shared by the parts of the page. Texts of the server go through textContent.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; texts become text nodes. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith('data-') || name.startsWith('aria-') || name === 'scope' || name === 'role') {
      element.setAttribute(name, value);
    } else {
      element[name] = value;
    }
  }
  element.append(...children);
  return element;
}

const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** A text in which characters that cannot be seen, break lines or turn the direction can be seen. */
export function visible(text) {
  return text.replace(HIDDEN, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? '\u2421' : '\ufffd';
  });
}

const compact = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

/** 1234567 as "1.235 M" of a unit. */
export function scaled(value, unit = '') {
  if (value === null || !Number.isFinite(value)) {
    return '–';
  }
  let step = 0;
  while (Math.abs(value) >= 999.95 && step < 5) {
    value /= 1000;
    step += 1;
  }
  const prefix = ['', 'k', 'M', 'G', 'T', 'P'][step];
  return `${compact.format(step === 0 && value < 100 ? Math.round(value * 10) / 10 : value)}${prefix || unit ? '\u00a0' : ''}${prefix}${unit}`;
}

export const whole = (value) => new Intl.NumberFormat('en').format(value);

/** Seconds in the two largest units. */
export function time(seconds) {
  const two = (number) => String(number).padStart(2, '0');
  if (seconds < 60) {
    return `${seconds}\u00a0s`;
  }
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)}:${two(seconds % 60)}\u00a0min`;
  }
  if (seconds < 86_400) {
    return `${Math.floor(seconds / 3600)}:${two(Math.floor((seconds % 3600) / 60))}\u00a0h`;
  }
  return `${Math.floor(seconds / 86_400)}\u00a0d ${Math.floor((seconds % 86_400) / 3600)}\u00a0h`;
}

export const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)}\u00a0ms`;

/** Names and values in a <dl>, made once and then kept. */
export class Tiles {
  #values = new Map();

  constructor(list, names) {
    list.replaceChildren();
    for (const [key, name] of Object.entries(names)) {
      const value = el('dd', {}, '–');
      const note = el('dd', { className: 'note' });
      this.#values.set(key, [value, note]);
      list.append(el('div', { className: 'tile' }, el('dt', {}, name), value, note));
    }
  }

  set(key, text, noteText = '') {
    const [value, note] = this.#values.get(key);
    value.textContent = text;
    note.textContent = noteText;
  }
}

/** Shows the message that stands on top of the page. */
export function notify(kind, title, lines = []) {
  $('notice').className = `notice ${kind}`;
  $('notice-title').textContent = title;
  $('notice-lines').replaceChildren(...lines.map((line) => el('li', {}, visible(line))));
  $('notice').hidden = false;
  $('notice').scrollIntoView({ block: 'nearest' });
}

/** Asks before something is done; resolves to whether it shall be. */
export function confirm(title, lines, yes) {
  const dialog = $('confirm-dialog');
  $('confirm-title').textContent = title;
  $('confirm-text').replaceChildren(...lines.map((line) => el('p', {}, line)));
  $('confirm-yes').textContent = yes;
  return new Promise((resolve) => {
    dialog.returnValue = '';
    $('confirm-yes').onclick = () => dialog.close('yes');
    $('confirm-no').onclick = () => dialog.close();
    dialog.onclose = () => resolve(dialog.returnValue === 'yes');
    dialog.showModal();
    $('confirm-no').focus();
  });
}
