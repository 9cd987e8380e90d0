// Steps that cases of several topics share. No cases are in here.

/** Asks again until the answer has another status than this, and returns that answer. */
export async function asksUntilNot(t, status, method, path, options) {
  for (;;) {
    const answer = await t.http(method, path, { ...options, quiet: true });
    if (answer.status !== status) return answer;
    if (Date.now() > t.until) throw new Error(`${method} is still answered with ${status}`);
    await t.pause(10);
  }
}
/** The same, and shows it. */
export async function showsUntilNot(t, status, method, path, options) {
  const answer = await asksUntilNot(t, status, method, path, options);
  t.showAnswer(method, path, answer, answer.body);
}

/** Waits, by another connection, until a connection has ended, and returns what its hub has been told. */
export async function fateOf(watcher, id) {
  for (;;) {
    const fate = await watcher.ask('Fate', id);
    if (fate !== null) return fate.split(':')[0];
    if (Date.now() > watcher.talk.until) throw new Error('the hub has not been told of the end');
    await watcher.talk.pause(10);
  }
}

/** Whether a case has taken about so many seconds since it began. */
export function showTime(t, start, expected) {
  const seconds = (Date.now() - start) / 1000;
  t.log(`after ${Math.abs(seconds - expected) < 2.5 ? `about ${expected}` : seconds.toFixed(1)} s`);
}
