// A page that comes from another origin than the hub, in a real browser: what it sends by itself, and who decides about it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { resolve } from 'node:path';
import { within } from '../node/client.mjs';
import { reference, startServer } from '../server.mjs';
import { launch } from './browser.mjs';

const script = readFileSync(resolve(import.meta.dirname, '../node_modules/@microsoft/signalr/dist/browser/signalr.min.js'), 'utf8');
const transports = ['WebSockets', 'ServerSentEvents', 'LongPolling'];
let browser, pages, origin;

before(async () => {
  pages = http.createServer((_, response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><link rel="icon" href="data:,">'));
  await new Promise(listening => pages.listen(0, '127.0.0.1', listening));
  origin = `http://127.0.0.1:${pages.address().port}`;
  browser = await launch();
});

after(async () => {
  await browser?.close();
  pages?.close();
});

/** Runs a function in a page of the other origin. */
async function inPage(t, run, ...args) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto(origin);
  await page.evaluate(script);
  return within(page.evaluate(run, args), 'the page');
}

/** Runs in the page: connects, and returns what the hub sees of it. */
async function whatIsSeen([url, transport, withCredentials]) {
  const connection = new signalR.HubConnectionBuilder()
    .withUrl(`${url}/testhub`, { transport: signalR.HttpTransportType[transport], withCredentials }).configureLogging(signalR.LogLevel.None).build();
  try {
    await connection.start();
  } catch (error) {
    return error.message;
  }
  const seen = [await connection.invoke('GetActiveTransportName')];
  for (const name of ['testCookie', 'testCookie2', 'expiredCookie']) seen.push(await connection.invoke('GetCookie', name));
  await connection.stop();
  return seen;
}

describe('a server that lets every origin do everything', () => {
  let server;
  before(async () => { server = await startServer(); });
  after(() => server?.stop());

  for (const transport of transports) {
    test(`${transport}: the cookies of the negotiation come with the connection`, async t => {
      assert.deepEqual(await inPage(t, whatIsSeen, server.url, transport, true), [transport, 'testValue', 'testValue2', null]);
    });
  }

  test('answers to requests with credentials can be read', async t => {
    const text = await inPage(t, async ([url]) => (await fetch(`${url}/generateJwtToken`, { credentials: 'include' })).text(), server.url);
    assert.equal(text, 'testuser');
  });
});

describe('a hub with a list of origins', { skip: reference && 'The original\'s program has no such list.' }, () => {
  for (const [what, listed, credentials] of [['with credentials', true, true], ['without credentials', true, false], ['of others', false, true]]) {
    describe(what, () => {
      let server;
      before(async () => { server = await startServer(['-origins', listed ? origin : 'https://other.example', ...(credentials ? ['-credentials'] : [])]); });
      after(() => server?.stop());

      for (const transport of transports) {
        test(transport, async t => {
          const [seen, quietly] = [await inPage(t, whatIsSeen, server.url, transport, true), await inPage(t, whatIsSeen, server.url, transport, false)];
          if (listed && credentials) {
            assert.deepEqual(seen, [transport, 'testValue', 'testValue2', null]);
          } else {
            assert.match(seen, /^Failed to complete negotiation with the server: TypeError: Failed to fetch/);
          }
          if (listed) assert.deepEqual(quietly, [transport, null, null, null]);
          else assert.match(quietly, /^Failed to complete negotiation with the server: TypeError: Failed to fetch/);
        });
      }
    });
  }
});
