// Choices that a seed decides, the same on every machine.

export class Random {
  #state;

  constructor(seed) { this.#state = seed >>> 0; }

  /** A number from 0 up to, but not including, 1: mulberry32. */
  #next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer from low to high, both included. */
  int(low, high) { return low + Math.floor(this.#next() * (high - low + 1)); }
  chance(probability) { return this.#next() < probability; }
  one(choices) { return choices[this.int(0, choices.length - 1)]; }

  /** Some of the choices, at least one, in their order. */
  some(choices) {
    const chosen = choices.filter(() => this.chance(0.5));
    return chosen.length ? chosen : [this.one(choices)];
  }
}
