// The numbers of the last minutes and the last day: second by second while the page is seen, and else as the server has kept them.
import { call } from './api.js';

/** Seconds of the shorter range. */
const MINUTES = 300;
/** Two answers this far apart, in seconds, have a hole between them. */
const HOLE = 4;
/** Milliseconds between two looks at the day, which has a new step every minute. */
const DAY_INTERVAL = 30_000;

const COUNTS = [
  'packets_dropped', 'auth_failures', 'quota_refusals',
  ...['clients', 'peers'].flatMap((side) => ['received', 'sent'].flatMap((way) => [`${side}_${way}_packets`, `${side}_${way}_bytes`])),
];

/** A count of a status by its name in the history. */
const count = (status, name) => {
  const [side, way, what] = name.split('_');
  return typeof status[side] === 'object' ? status[side][`${way}_${what}`] : status[name];
};

const clock = () => Date.now() / 1000;

export class Timeline {
  /** Samples {now, allocations, and a rate for each of the counts}. */
  #minutes = [];
  #day = [];
  #previous = null;
  #asking = false;
  #changed;

  /** `changed` is called when the server's history has brought more. */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Takes a status of this moment; a hole before it is filled from the server's history. */
  add(status) {
    const now = clock();
    const { now: before, status: old } = this.#previous ?? { now: -Infinity };
    this.#previous = { now, status };
    // A server that was started anew counts from zero.
    const seconds = old !== undefined && status.uptime_seconds >= old.uptime_seconds ? now - before : Infinity;
    if (seconds > HOLE) {
      this.#fill();
      // The step in which the hole ends is not told before it has ended itself.
      setTimeout(() => this.#fill(), 7000);
      return;
    }
    const sample = { now, allocations: status.allocations };
    for (const name of COUNTS) {
      sample[name] = Math.max(0, (count(status, name) - count(old, name)) / seconds);
    }
    this.#minutes.push(sample);
    this.#trim(now);
  }

  /** Samples of a range, `minutes` or `day`. */
  samples(range) {
    return range === 'day' ? this.#day : this.#minutes;
  }

  /** Keeps the day up to date while `wanted` says so. */
  async followDay(wanted) {
    for (;;) {
      if (wanted() && !document.hidden) {
        await this.loadDay();
      }
      await new Promise((resolve) => { setTimeout(resolve, DAY_INTERVAL); });
    }
  }

  async loadDay() {
    try {
      this.#day = await history('day');
      this.#changed();
    } catch {
      // The status tells that the server does not answer.
    }
  }

  async #fill() {
    if (this.#asking) {
      return;
    }
    this.#asking = true;
    try {
      const kept = await history('minutes');
      const own = this.#minutes;
      // A step that covers a moment with a sample of its own says less than that.
      const isMissing = ({ now, step }) => !own.some((sample) => sample.step === undefined && sample.now > now - step && sample.now <= now);
      this.#minutes = [...own.filter(({ step }) => step === undefined), ...kept.filter(isMissing)].sort((one, two) => one.now - two.now);
      this.#trim(clock());
      this.#changed();
    } catch {
      // The status tells that the server does not answer.
    }
    this.#asking = false;
  }

  #trim(now) {
    const first = this.#minutes.findIndex((sample) => sample.now >= now - MINUTES);
    this.#minutes.splice(0, first === -1 ? this.#minutes.length : first);
  }
}

/** Samples of the server's history, by this browser's clock. */
async function history(range) {
  const { now, step_seconds: step, times, columns } = await call('GET', `/api/v1/history?range=${range}`);
  const shift = clock() - now;
  return times.map((time, index) => {
    const sample = { now: time + shift, step, allocations: columns.allocations[index] };
    for (const name of COUNTS) {
      sample[name] = columns[name][index] / step;
    }
    return sample;
  });
}
