// What the test servers answer to requests that no client makes: pages of other origins, load generators, and the suites themselves.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startServer } from '../server.mjs';
import { within } from './client.mjs';

let server;
before(async () => { server = await startServer(); });
after(() => server?.stop());

const ask = (method, path, headers = {}, at = server.url) => within(fetch(at + path, { method, headers }), `${method} ${path}`);
const page = { Origin: 'https://page.example' };
const allowed = answer => ['Origin', 'Credentials', 'Methods', 'Headers'].map(what => answer.headers.get(`Access-Control-Allow-${what}`));

test('pages of every origin may see every answer', async () => {
  for (const [method, path, status] of [
    ['POST', '/testhub/negotiate?negotiateVersion=1', 200], ['POST', '/authorizedhub/negotiate', 401], ['GET', '/testhub', 400], ['DELETE', '/testhub', 400],
    ['GET', '/pid', 200], ['GET', '/nothing', 404],
  ]) {
    const answer = await ask(method, path, page);
    assert.equal(answer.status, status, path);
    assert.deepEqual(allowed(answer), ['https://page.example', 'true', 'GET,POST,DELETE,OPTIONS', null], path);
    assert.deepEqual(allowed(await ask(method, path)), [null, null, null, null], path);
  }
});

test('preflights', async () => {
  const asked = { 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'authorization,x-test' };
  for (const path of ['/testhub/negotiate', '/testhub', '/nothing']) {
    const answer = await ask('OPTIONS', path, { ...page, ...asked });
    assert.equal(answer.status, 204, path);
    assert.deepEqual(allowed(answer), ['https://page.example', 'true', 'GET,POST,DELETE,OPTIONS', 'authorization,x-test'], path);
    assert.deepEqual(answer.headers.getSetCookie(), [], path);
    assert.equal((await ask('OPTIONS', path)).status, 204, path);
  }
});

test('cookies are set where clients negotiate', async () => {
  for (const path of ['/testhub/negotiate?negotiateVersion=1', '/authorizedhub/negotiate', '/nothing/negotiate']) {
    const cookies = (await ask('POST', path)).headers.getSetCookie().map(cookie => cookie.toLowerCase().split('; '));
    assert.deepEqual(cookies.map(([first]) => first), ['testcookie=testvalue', 'testcookie2=testvalue2', 'expiredcookie=doesntmatter'], path);
    for (const cookie of cookies) assert.ok(cookie.includes('path=/'), path);
    const expires = cookies[2].find(part => part.startsWith('expires='));
    assert.ok(new Date(expires.slice('expires='.length)) < new Date(), expires);
  }
  for (const path of ['/testhub', '/pid']) assert.deepEqual((await ask('GET', path)).headers.getSetCookie(), [], path);
});

test('orders', async () => {
  for (const [method, path, answer] of [
    ['GET', '/generateJwtToken', 'testuser'], ['GET', '/pid', /^\d+$/], ['GET', '/gc', 'ok'], ['GET', '/mem', /^\d+$/],
    ['GET', '/start?rate=100&dur=20', 'ok'], ['POST', '/bench/broadcast?n=2&bytes=1', '2'], ['POST', '/bench/group?name=none&n=3&bytes=0', '3'],
  ]) {
    for (const at of [server.url, server.control]) {
      const response = await ask(method, path, {}, at), text = await response.text();
      assert.equal(response.status, 200, path);
      if (typeof answer === 'string') assert.equal(text, answer, path);
      else assert.match(text, answer, path);
      assert.match(response.headers.get('Content-Type'), /^text\/plain/, path);
      const other = method === 'GET' ? 'POST' : 'GET';
      assert.equal((await ask(other, path, {}, at)).status, 405, `${other} ${path}`);
    }
  }
});

test('orders that lack something', async () => {
  for (const [method, path, status] of [
    ['GET', '/start', 400], ['GET', '/start?rate=1', 400], ['GET', '/start?rate=1&dur=x', 400],
    ['POST', '/bench/broadcast', 400], ['POST', '/bench/broadcast?n=1', 400], ['POST', '/bench/broadcast?n=1.5&bytes=1', 400], ['POST', '/bench/group?n=1&bytes=1', 500],
  ]) assert.equal((await ask(method, path)).status, status, path);
});
