// Shows what runs while it runs, and tells at the end what has run.

/** Seconds as people say them. */
export function duration(ms) {
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

const number = n => n.toLocaleString('en-US');
const plural = (n, what) => `${number(n)} ${what}${n === 1 ? '' : 's'}`;

/** The first lines of a text, indented. */
const beginning = text => text.trim().split('\n').slice(0, 12).map(line => `\n    ${line.slice(0, 200)}`).join('');

const redrawn = 200; // on a terminal, where the status is one line that changes
const printed = 5_000; // elsewhere, where it is printed anew if it has changed
const repeated = 30_000; // and if it has not

/** What a suite is doing, and what came of it. */
export class Suite {
  passed = 0;
  failed = 0;
  skipped = 0;
  /** How many tests there will be, if that is known. */
  total = 0;
  /** What the summary says besides the numbers. */
  notes = [];
  /** How many tests were skipped for each reason. */
  reasons = new Map();
  /** What has failed. */
  failures = [];
  elapsed = 0;

  #display;
  #running = new Set();
  #started = performance.now();

  constructor(display, title, position) {
    this.#display = display;
    this.title = title;
    this.position = position;
  }

  begins(what) { this.#running.add(what); }
  ends(what) { this.#running.delete(what); }

  pass() { this.passed++; }

  skip(reason, count = 1) {
    this.skipped += count;
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + count);
  }

  /** A test, or something else, has failed; everything that there is to read about it is shown at once, and its beginning again at the end. */
  fail(name, text) {
    this.failed++;
    this.failures.push(`${name}${beginning(text)}`);
    this.line(`FAILED: ${name}\n${text.trimEnd().replace(/^/gm, '    ')}`);
  }

  line(text) { this.#display.line(`${this.position} ${this.title}: ${text}`); }

  get status() {
    const total = this.total && Math.max(this.total, this.passed + this.failed + this.skipped);
    const running = [...this.#running];
    const shown = running.slice(0, 3).join(', ') + (running.length > 3 ? ` and ${running.length - 3} more` : '');
    const count = total ? `${number(this.passed)} of ${number(total)} passed` : this.passed ? `${number(this.passed)} passed` : '';
    return [`${this.position} ${this.title}: ${count}`, this.failed && `${number(this.failed)} failed`, duration(performance.now() - this.#started).replace(/\.\d/, ''), shown]
      .filter(Boolean).join(', ').replace(': , ', ': ');
  }

  finish() { this.elapsed = performance.now() - this.#started; }

  get row() {
    const counts = [plural(this.passed, 'test') + ' passed', this.failed && `${number(this.failed)} FAILED`, this.skipped && `${number(this.skipped)} left out`];
    return [this.title, counts.filter(Boolean).join(', '), duration(this.elapsed || performance.now() - this.#started), this.notes.join(', ')];
  }
}

export class Display {
  suites = [];
  #terminal = process.stdout.isTTY;
  #started = performance.now();
  #timer;
  #shown = { text: '', counts: '', at: 0 };

  begin(title, position) {
    const suite = new Suite(this, title, position);
    this.suites.push(suite);
    this.#shown = { text: '', counts: '', at: performance.now() };
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#show(suite), redrawn);
    return suite;
  }

  end(suite) {
    suite.finish();
    clearInterval(this.#timer);
    suite.line(suite.row.slice(1).filter(Boolean).join('; '));
  }

  #show(suite) {
    const text = suite.status;
    if (this.#terminal) {
      const width = process.stdout.columns || 80, cut = text.length < width ? text : `${text.slice(0, width - 2)}…`;
      if (cut !== this.#shown.text) process.stdout.write(`\r\x1b[K${cut}`);
      this.#shown.text = cut;
      return;
    }
    const counts = `${suite.passed} ${suite.failed}`, now = performance.now(), silent = now - this.#shown.at;
    if (silent < printed || (counts === this.#shown.counts && silent < repeated)) return;
    this.#shown = { text, counts, at: now };
    console.log(text);
  }

  /** Writes something that stays. */
  line(text) {
    if (this.#terminal) process.stdout.write('\r\x1b[K');
    console.log(text);
    this.#shown.text = '';
  }

  /** One screen: what ran, what has failed, what was left out. */
  summary({ leftOut, lacking, interrupted = false }) {
    clearInterval(this.#timer);
    const rows = this.suites.map(({ row }) => row);
    const widths = [0, 1, 2].map(column => Math.max(0, ...rows.map(row => row[column].length)));
    const lines = rows.map(([title, counts, time, notes]) => `  ${title.padEnd(widths[0])}  ${counts.padEnd(widths[1])}  ${time.padStart(widths[2])}  ${notes}`.trimEnd());
    const reasons = [...leftOut, ...this.suites.flatMap(({ title, reasons }) => [...reasons].map(([reason, count]) => `${plural(count, 'test')} of ${title}: ${reason}`))];
    const failures = [...this.suites.flatMap(({ title, failures }) => failures.map(name => `${title}: ${name}`)), ...lacking.map(name => `TROUPE_REQUIRE wants ${name}`)];
    const some = (all, most, say) => [...all.slice(0, all.length > most ? most - 1 : most).map(say), ...(all.length > most ? [`  and ${all.length - most + 1} more`] : [])];
    const sum = what => this.suites.reduce((all, suite) => all + suite[what], 0);
    const passed = `${plural(sum('passed'), 'test')} passed`;
    const outcome = [interrupted && 'INTERRUPTED', failures.length && `${number(failures.length)} FAILED`, passed].filter(Boolean).join(', ');
    this.line(['', ...lines, ...some(failures, 9, name => `FAILED: ${name}`), ...some(reasons, 7, reason => `LEFT OUT: ${reason}`),
      `${outcome}, in ${duration(performance.now() - this.#started)}`].join('\n'));
  }
}
