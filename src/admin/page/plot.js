// Lines over the last minutes or the last day, and a scatter of delays, as SVG.
import { el, scaled, time } from './dom.js';

const MINUTE = 60;
const HOUR = 3600;
const HEIGHT = 132;
const LEFT = 46;
const TOP = 8;
const BOTTOM = 18;

export function svg(tag, attributes = {}) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  return element;
}

/** The next larger one of 1, 2, 3, 4, 6, 8, 10, 20, 30, … */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** A frame with a title, a legend, and a drawing as wide as there is room. */
class Frame {
  constructor(parent, title, series, unit) {
    this.unit = unit;
    this.values = series.map(() => el('span', { className: 'value' }, '–'));
    const legend = series.map((one, index) =>
      el('li', { className: one.style }, el('span', { className: 'swatch' }), `${one.name} `, this.values[index]));
    this.svg = svg('svg', { height: HEIGHT, role: 'img', 'aria-label': title, tabindex: 0 });
    this.grid = svg('g', { class: 'grid' });
    this.svg.append(this.grid);
    this.head = el('figcaption', {}, el('span', { className: 'title' }, title), el('ul', { className: 'legend' }, ...legend));
    parent.append(el('figure', { className: 'card plot' }, this.head, this.svg));
    this.width = 0;
    new ResizeObserver(([entry]) => {
      this.width = Math.max(120, Math.floor(entry.contentRect.width));
      this.svg.setAttribute('viewBox', `0 0 ${this.width} ${HEIGHT}`);
      this.draw();
    }).observe(this.svg);
  }

  /** Lines at 0, half and `max`, and a text under both ends. */
  drawGrid(max, left, right) {
    const text = (x, y, anchor, content) => {
      const node = svg('text', { x, y, 'text-anchor': anchor });
      node.textContent = content;
      return node;
    };
    const nodes = [0, max / 2, max].flatMap((value) => {
      const y = this.y(value, max);
      return [
        svg('line', { x1: LEFT, x2: this.width, y1: y, y2: y, class: value === 0 ? 'axis' : '' }),
        text(LEFT - 6, y + 4, 'end', scaled(value, this.unit)),
      ];
    });
    nodes.push(text(LEFT, HEIGHT - 3, 'start', left), text(this.width - 1, HEIGHT - 3, 'end', right));
    this.grid.replaceChildren(...nodes);
  }

  y(value, max) {
    return Math.round((TOP + (1 - value / max) * (HEIGHT - TOP - BOTTOM)) * 10) / 10;
  }
}

/** `series` is a list of {name, style}; `unit` stands behind numbers; `least` is the smallest full scale. */
export class Plot extends Frame {
  #points = [];
  #cursor = null;

  constructor(parent, title, series, { unit = '', least = 4 } = {}) {
    super(parent, title, series, unit);
    this.least = least;
    this.lines = series.map((one) => svg('path', { class: `line ${one.style}` }));
    this.area = svg('path', { class: `area ${series[0].style}` });
    this.mark = svg('line', { class: 'cursor', y1: TOP, y2: HEIGHT - BOTTOM, visibility: 'hidden' });
    this.svg.append(this.area, ...this.lines, this.mark);
    this.when = el('span', { className: 'when' });
    this.head.firstChild.after(this.when);
    this.svg.addEventListener('pointermove', (event) => this.#point(event.offsetX));
    this.svg.addEventListener('pointerleave', () => this.#select(null));
    this.svg.addEventListener('blur', () => this.#select(null));
    this.svg.addEventListener('keydown', (event) => this.#key(event));
  }

  /** Shows points {now, values}: seconds, in their order, and numbers, null where there is none. */
  show(points) {
    this.#points = points;
    if (this.#cursor !== null) {
      this.#cursor = Math.min(this.#cursor, points.length - 1);
    }
    this.draw();
  }

  draw() {
    if (this.width === 0 || this.#points.length === 0) {
      return;
    }
    const largest = this.#points.reduce((most, point) => Math.max(most, ...point.values), this.least);
    const max = round(largest);
    const span = this.#span();
    this.drawGrid(max, span > HOUR ? `${span / HOUR} h ago` : `${span / MINUTE} min ago`, 'now');
    this.lines.forEach((line, index) => {
      line.setAttribute('d', this.#path(index, max, false));
      line.classList.toggle('dense', this.#points.length > this.width);
    });
    this.area.setAttribute('d', this.#path(0, max, true));
    this.#legend();
  }

  /** Whole minutes or hours, at least as many as there are points for. */
  #span() {
    const seconds = this.#points.at(-1).now - this.#points[0].now;
    const step = seconds > HOUR ? HOUR : MINUTE;
    return Math.max(1, Math.ceil((seconds - 5) / step)) * step;
  }

  #x(now) {
    const { now: last } = this.#points.at(-1);
    const room = this.width - 1 - LEFT;
    return Math.round((this.width - 1 - Math.min(1, (last - now) / this.#span()) * room) * 10) / 10;
  }

  /** A line, or the area under it; it breaks where there is no value. */
  #path(index, max, closed) {
    const ground = this.y(0, max);
    let path = '';
    let first = null;
    let last = null;
    const end = () => {
      if (closed && first !== null) {
        path += `L${last} ${ground}L${first} ${ground}Z`;
      }
      first = null;
    };
    for (const { now, values } of this.#points) {
      if (values[index] === null) {
        end();
        continue;
      }
      last = this.#x(now);
      path += `${first === null ? 'M' : 'L'}${last} ${this.y(values[index], max)}`;
      first ??= last;
    }
    end();
    return path;
  }

  #point(x) {
    const distance = ({ now }) => Math.abs(this.#x(now) - x);
    let best = null;
    this.#points.forEach((point, index) => {
      if (best === null || distance(point) < distance(this.#points[best])) {
        best = index;
      }
    });
    this.#select(best);
  }

  #key(event) {
    const last = this.#points.length - 1;
    const at = this.#cursor ?? last;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
    if (event.key === 'Escape') {
      this.#select(null);
    } else if (to !== undefined && last >= 0) {
      event.preventDefault();
      this.#select(Math.min(last, Math.max(0, to)));
    }
  }

  #select(index) {
    this.#cursor = index;
    this.#legend();
  }

  #legend() {
    const point = this.#points[this.#cursor] ?? this.#points.at(-1);
    if (point === undefined) {
      return;
    }
    point.values.forEach((value, index) => {
      this.values[index].textContent = scaled(value, this.unit);
    });
    const chosen = this.#cursor !== null;
    this.mark.setAttribute('visibility', chosen ? 'visible' : 'hidden');
    this.mark.setAttribute('x1', this.#x(point.now));
    this.mark.setAttribute('x2', this.#x(point.now));
    this.when.textContent = chosen ? `${time(Math.round(this.#points.at(-1).now - point.now))} ago` : '';
  }
}

/** One dot for each message that came back, a cross for each that did not. */
export class Dots extends Frame {
  #delays = [];

  constructor(parent, title, count) {
    super(parent, title, [{ name: 'answered', style: 'one' }, { name: 'lost', style: 'bad' }], '');
    this.count = count;
    this.dots = svg('path', { class: 'dots one' });
    this.lost = svg('path', { class: 'dots bad' });
    this.svg.append(this.dots, this.lost);
  }

  /** `delays` has milliseconds, or null for a message that is lost; missing: still on its way. */
  set(delays) {
    this.#delays = delays;
    const answered = delays.filter((delay) => typeof delay === 'number').length;
    this.values[0].textContent = String(answered);
    this.values[1].textContent = String(delays.filter((delay) => delay === null).length);
    this.draw();
  }

  draw() {
    if (this.width === 0) {
      return;
    }
    const known = this.#delays.filter((delay) => typeof delay === 'number');
    const max = round(Math.max(1, ...known));
    this.unit = 'ms';
    this.drawGrid(max, 'first message', 'last');
    let dots = '';
    let lost = '';
    this.#delays.forEach((delay, index) => {
      const room = this.width - LEFT - 12;
      const x = Math.round(LEFT + 6 + (index / Math.max(1, this.count - 1)) * room);
      if (delay === null) {
        lost += `M${x} ${TOP}v8`;
      } else if (delay !== undefined) {
        dots += `M${x} ${this.y(delay, max)}h0`;
      }
    });
    this.dots.setAttribute('d', dots);
    this.lost.setAttribute('d', lost);
  }
}
