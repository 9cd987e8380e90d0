// The demo on three nodes, behind a proxy that gives each request for a hub to the next one.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { build, freePort, start } from '../server.mjs';
import { clientFile, launch } from './browser.mjs';
import { enter, line, say, visit } from './demo-page.mjs';

const directory = mkdtempSync(join(tmpdir(), 'troupe-demo-'));
let browser, url, demo;

before(async () => {
  const port = await freePort(4), modules = join(import.meta.dirname, '../node_modules');
  const output = openSync(join(directory, 'output'), 'w');
  demo = await start(build('cmd/demo'), ['-nodes', '3', '-addr', `127.0.0.1:${port}`, '-cluster', `127.0.0.1:${await freePort(9)}`, '-client', clientFile, '-modules', modules],
    port, { stdio: ['ignore', output, 'ignore'] });
  closeSync(output);
  url = `http://127.0.0.1:${port}/`;
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await demo?.stop('SIGTERM');
  rmSync(directory, { recursive: true });
});

/** The node that a page is connected to. */
async function nodeOf(page) {
  await page.locator('#node', { hasText: 'on node' }).waitFor();
  return (await page.textContent('#node')).replace('on ', '');
}

const processOf = node => Number(readFileSync(join(directory, 'output'), 'utf8').match(new RegExp(`^${node}: .*, process (\\d+)$`, 'm'))[1]);

/** One page on each node, by the name of who is there. */
async function onEachNode(names) {
  const pages = {}, taken = new Set();
  for (let attempts = 0; names.length; attempts++) {
    assert.ok(attempts < 30, `there are pages on ${[...taken]} only`);
    const page = await visit(browser, url);
    await enter(page, names[0], 'lobby');
    const node = await nodeOf(page);
    if (taken.has(node)) {
      await page.context().close();
    } else {
      taken.add(node);
      pages[names.shift()] = page;
    }
  }
  return pages;
}

test('pages on three nodes chat, and one comes back on another node when its own is killed', async () => {
  const { Ada: ada, Bob: bob, Cleo: cleo } = await onEachNode(['Ada', 'Bob', 'Cleo']);
  const all = [ada, bob, cleo];
  for (const page of all) {
    await say(page, `hello from ${await nodeOf(page)}`);
    for (const other of all) await line(other, `hello from ${await nodeOf(page)}`).waitFor();
  }
  for (const [page, name] of [[ada, 'Ada'], [bob, 'Bob'], [cleo, 'Cleo']]) {
    for (const other of all) {
      if (other !== page) await other.locator('#people button', { hasText: name }).locator('small', { hasText: await nodeOf(page) }).waitFor();
    }
  }
  await ada.locator('#people button', { hasText: 'Bob' }).click();
  await say(ada, 'for Bob alone');
  await line(bob, 'for Bob alone').waitFor();
  await ada.click('#to-all');

  const killed = await nodeOf(ada);
  process.kill(processOf(killed), 'SIGKILL');
  await line(ada, 'Connected again.').waitFor();
  await ada.locator('#node', { hasNotText: killed }).waitFor();
  await ada.locator('#state[data-state=connected]').waitFor();
  for (const other of [bob, cleo]) await other.locator('#people small', { hasText: killed }).waitFor({ state: 'detached' });
  await ada.locator('#people', { hasText: 'Ada (you)' }).waitFor();
  for (const page of all) {
    await say(page, `without ${killed}, on ${await nodeOf(page)}, number ${all.indexOf(page)}`);
    for (const other of all) await line(other, `number ${all.indexOf(page)}`).waitFor();
  }
  for (const other of [bob, cleo]) assert.equal(await line(other, 'Connection lost').count(), 0);
  assert.equal(await line(cleo, 'for Bob alone').count(), 0);
  await Promise.all(all.map(page => page.context().close()));
});

test('clients of both dialects talk on the nodes that are left', async () => {
  const ada = await visit(browser, `${url}?classic`), bob = await visit(browser, url);
  await enter(ada, 'Ada', 'both');
  await enter(bob, 'Bob', 'both');
  for (const page of [ada, bob]) await page.locator('#stocks li').nth(3).waitFor();
  await say(ada, 'from SignalR 2');
  await say(bob, 'from ASP.NET Core SignalR');
  for (const page of [ada, bob]) {
    await line(page, 'from SignalR 2').waitFor();
    await line(page, 'from ASP.NET Core SignalR').waitFor();
  }
  await Promise.all([ada, bob].map(page => page.context().close()));
});

test('pages of SignalR 2 go on with the prices when a node is killed', async () => {
  const pages = [];
  for (const name of ['Dan', 'Eve', 'Finn', 'Gil']) {
    const page = await visit(browser, `${url}?classic`);
    await enter(page, name, 'old');
    await page.locator('#stocks li').nth(3).waitFor();
    pages.push(page);
  }
  const killed = await nodeOf(pages[0]);
  process.kill(processOf(killed), 'SIGKILL');
  await line(pages[0], 'Connected again.').waitFor();
  for (const page of pages) {
    const before = await page.textContent('#stocks');
    await page.waitForFunction(text => document.getElementById('stocks').textContent !== text, before);
  }
  await Promise.all(pages.map(page => page.context().close()));
});

test('all end when they are told to', async () => {
  assert.equal(await demo.stop('SIGTERM'), 0);
  for (const node of ['node 1', 'node 2', 'node 3']) assert.throws(() => process.kill(processOf(node), 0), { code: 'ESRCH' });
});
