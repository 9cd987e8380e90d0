// A page that comes from another origin than the hub, in a real browser: what it sends by itself, and who decides about it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { within } from '../node/client.mjs';
import { reference, startServer } from '../server.mjs';
import { client, launch, servePages } from './browser.mjs';

const transports = ['WebSockets', 'ServerSentEvents', 'LongPolling'];
let browser, pages;

before(async () => {
  pages = await servePages({ '/': ['text/html', '<!doctype html><link rel="icon" href="data:,">'] });
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
  await page.goto(pages.origin);
  await page.evaluate(client);
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
      before(async () => { server = await startServer(['-origins', listed ? pages.origin : 'https://other.example', ...(credentials ? ['-credentials'] : [])]); });
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
