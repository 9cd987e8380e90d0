// What the clients of the suites remember things in.
import { within } from './patience.mjs';

/** What has arrived, in order. */
export class Inbox {
  #what;
  #items = [];
  #arrived = () => {};

  constructor(what) { this.#what = what; }

  push(item) {
    this.#items.push(item);
    this.#arrived();
  }

  get size() { return this.#items.length; }

  /** What is there and has not been taken. */
  get items() { return [...this.#items]; }

  async #filled(count) {
    while (this.#items.length < count) await new Promise(arrived => { this.#arrived = arrived; });
  }

  async take(count) {
    await within(this.#filled(count), `${count} × ${this.#what}`)
      .catch(error => { throw new Error(`${error.message}; there came ${this.#items.length}: ${JSON.stringify(this.#items).slice(0, 500)}`); });
    return this.#items.splice(0, count);
  }

  async next() { return (await this.take(1))[0]; }

  /** Everything that came before mark. */
  async upTo(mark) {
    const items = [];
    for (let item; (item = await this.next()) !== mark;) items.push(item);
    return items;
  }
}
