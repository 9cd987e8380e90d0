// Deadlines of tests that wait for something.

/**
 * How long, in milliseconds, what is to come may take on a machine that has much else to do. It is less than the 90 s for which a poll
 * waits: what has to end a poll is seen to do it.
 */
export const patience = 60_000;

/** What promise resolves to, unless that takes too long. */
export function within(promise, what) {
  const late = new Error(`${what}: not within ${patience} ms`);
  let timer;
  const deadline = new Promise((_, reject) => { timer = setTimeout(reject, patience, late); });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}
