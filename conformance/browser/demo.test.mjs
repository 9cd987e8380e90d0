// The demo's page in a real browser, as a person would use it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { join } from 'node:path';
import { build, freePort, start } from '../server.mjs';
import { clientFile, launch } from './browser.mjs';
import { enter as enterRoom, line, say, visit as open } from './demo-page.mjs';

let browser, port, demo;

async function startDemo() {
  const modules = join(import.meta.dirname, '../node_modules');
  demo = await start(build('cmd/demo'), ['-addr', `127.0.0.1:${port}`, '-client', clientFile, '-modules', modules], port, { stdio: 'ignore' });
}

before(async () => {
  port = await freePort();
  await startDemo();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

const visit = (viewport, query = '') => open(browser, `http://127.0.0.1:${port}/${query}`, viewport);

/** A tab with somebody in a room. */
async function enter(name, room = 'lobby', viewport = undefined, query = '') {
  const page = await visit(viewport, query);
  await enterRoom(page, name, room);
  return page;
}

test('before anybody has entered', async () => {
  const page = await visit();
  await page.locator('#state[data-state=connected]', { hasText: /^connected$/ }).waitFor();
  await page.locator('#stocks li').nth(3).waitFor();
  assert.ok(await page.isVisible('#login'));
  await demo.stop('SIGKILL');
  await page.locator('#state[data-state=reconnecting]', { hasText: 'reconnecting' }).waitFor();
  await startDemo();
  await page.locator('#state[data-state=connected]').waitFor();
  await page.context().close();
});

test('nobody enters before the client is there', async () => {
  const context = await browser.newContext(), page = await context.newPage();
  let answer;
  const answered = new Promise(done => { answer = done; });
  await page.route('**/jquery.min.js', async route => { await answered; await route.continue(); });
  await page.goto(`http://127.0.0.1:${port}/?classic`, { waitUntil: 'commit' });
  await page.fill('#name', 'Ada');
  await page.press('#name', 'Enter');
  answer();
  await page.click('#login button');
  await page.locator('#people', { hasText: 'Ada (you)' }).waitFor();
  await context.close();
});

test('clients of both dialects talk, and come back', async () => {
  const ada = await enter('Ada', 'both', undefined, '?classic'), bob = await enter('Bob', 'both');
  await say(ada, 'from SignalR 2');
  await say(bob, 'from ASP.NET Core SignalR');
  for (const page of [ada, bob]) {
    await line(page, 'from SignalR 2').waitFor();
    await line(page, 'from ASP.NET Core SignalR').waitFor();
  }
  await ada.locator('#stocks li').nth(3).waitFor();
  await ada.locator('#people button', { hasText: 'Bob' }).click();
  await say(ada, 'for Bob alone');
  await line(bob, 'for Bob alone').waitFor();
  await ada.context().close();
  await bob.context().close();
});

test('nobody whispers to somebody who has left', async () => {
  const ada = await enter('Ada', 'alone'), bob = await enter('Bob', 'alone');
  await ada.locator('#people button', { hasText: 'Bob' }).click();
  await bob.context().close();
  await ada.locator('#people button', { hasText: 'Bob' }).waitFor({ state: 'detached' });
  await say(ada, 'are you there?');
  await line(ada, 'Bob is not here.').waitFor();
  assert.equal(await ada.inputValue('#text'), 'are you there?', 'it can be said to others');
  await ada.context().close();
});

test('nobody enters while the server is away', async () => {
  const page = await visit();
  const said = new Promise(dialog => page.once('dialog', async one => { await one.accept(); dialog(one.message()); }));
  await page.locator('#state[data-state=connected]').waitFor();
  await demo.stop('SIGKILL');
  await page.fill('#name', 'Lee');
  await page.click('#login button');
  await said;
  await page.locator('#state[data-state=reconnecting]').waitFor();
  assert.ok(await page.isVisible('#login'));
  await startDemo();
  await page.locator('#state[data-state=connected]').waitFor();
  await page.click('#login button');
  await page.locator('#people', { hasText: 'Lee (you)' }).waitFor();
  await page.context().close();
});

test('two tabs chat, and see each other', async () => {
  const alice = await enter('Alice'), bob = await enter('Bob');
  await alice.locator('#people', { hasText: 'Bob' }).waitFor();
  await say(alice, 'Hello, Bob <b>!</b>');
  await line(bob, 'Hello, Bob <b>!</b>').waitFor();
  await say(bob, 'Hello, Alice.');
  await line(alice, 'Hello, Alice.').waitFor();
  assert.equal(await line(alice, 'Hello, Bob').getAttribute('class'), 'mine');
  await bob.context().close();
  await alice.locator('#people', { hasText: 'Bob' }).waitFor({ state: 'detached' });
  await alice.context().close();
});

test('who chooses somebody by keyboard is not disturbed by others who come', async () => {
  const ada = await enter('Ada', 'keys'), bob = await enter('Bob', 'keys');
  await ada.locator('#people button', { hasText: 'Bob' }).focus();
  const abe = await enter('Abe', 'keys');
  await ada.locator('#people button', { hasText: 'Abe' }).waitFor();
  await ada.keyboard.press('Enter');
  await ada.locator('#to-name', { hasText: 'Bob' }).waitFor();
  await Promise.all([ada, bob, abe].map(page => page.context().close()));
});

test('a room separates', async () => {
  const carol = await enter('Carol', 'red'), dave = await enter('Dave', 'blue');
  await say(carol, 'only for red');
  await line(carol, 'only for red').waitFor();
  await dave.fill('#room-name', 'red');
  await dave.click('#new-room button');
  await dave.locator('#title', { hasText: '# red' }).waitFor();
  await say(carol, 'welcome to red');
  await line(dave, 'welcome to red').waitFor();
  assert.equal(await line(dave, 'only for red').count(), 0);
  await Promise.all([carol.context().close(), dave.context().close()]);
});

test('a private message reaches one person', async () => {
  const erin = await enter('Erin'), frank = await enter('Frank'), grace = await enter('Grace');
  await erin.locator('#people button', { hasText: 'Frank' }).click();
  await say(erin, 'between us');
  await line(frank, 'between us').waitFor();
  await line(erin, 'between us').waitFor();
  await erin.click('#to-all');
  await say(erin, 'for everybody');
  await line(grace, 'for everybody').waitFor();
  assert.equal(await line(grace, 'between us').count(), 0);
  await Promise.all([erin, frank, grace].map(page => page.context().close()));
});

test('the ticker moves', async () => {
  const page = await enter('Heidi');
  await page.locator('#stocks li').nth(3).waitFor();
  const before = await page.textContent('#stocks');
  await page.waitForFunction(text => document.getElementById('stocks').textContent !== text, before);
  await page.context().close();
});

test('the server is restarted, and the page recovers', async () => {
  const ivan = await enter('Ivan'), judy = await enter('Judy');
  await demo.stop('SIGKILL');
  await ivan.locator('#state', { hasText: 'reconnecting' }).waitFor();
  assert.ok(await ivan.isDisabled('#text'));
  await startDemo();
  for (const page of [ivan, judy]) await page.locator('#state[data-state=connected]').waitFor();
  await ivan.locator('#people', { hasText: 'Judy' }).waitFor();
  await say(ivan, 'still here');
  await line(judy, 'still here').waitFor();
  await Promise.all([ivan.context().close(), judy.context().close()]);
});

test('it is usable on a phone', async () => {
  const page = await enter('Kim', 'lobby', { width: 390, height: 760 });
  await say(page, 'from my phone');
  await line(page, 'from my phone').waitFor();
  const wider = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  assert.equal(wider, false);
  await page.context().close();
});

// SCREENSHOT=directory writes the picture that the README shows.
if (process.env.SCREENSHOT) {
  test('a picture', async () => {
    const ada = await enter('Ada', 'lobby', { width: 900, height: 440 }), grace = await enter('Grace');
    await say(ada, 'Does every connection get an actor of its own?');
    await line(grace, 'actor of its own').waitFor();
    await say(grace, 'Yes. And so does every group, and every call that runs.');
    await line(ada, 'every call that runs').waitFor();
    await grace.locator('#people button', { hasText: 'Ada' }).click();
    await say(grace, 'This one only you can see.');
    await line(ada, 'only you').waitFor();
    await ada.screenshot({ path: join(process.env.SCREENSHOT, 'demo.png') });
  });
}
