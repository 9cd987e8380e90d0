// The site that the suites run on: their pages from a checkout of SignalR/SignalR, answers that are always the same, and the test server for
// everything else. Pages and hubs have one origin, which the suites ask for.
import { readFileSync, readdirSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream';

const { resolve } = createRequire(import.meta.url);

const suites = 'test/Microsoft.AspNet.SignalR.Client.JS.Tests';
const parts = {
  client: ['src/Microsoft.AspNet.SignalR.JS/jquery.signalR', 'core', 'transports.common', 'transports.webSockets', 'transports.serverSentEvents', 'transports.foreverFrame',
    'transports.longPolling', 'hubs', 'version'],
  mock: [`${suites}/NetworkMock/jquery.network.mock`, 'core', 'ajax', 'websocket', 'mask', 'eventsource'],
};

const types = { html: 'text/html', js: 'application/javascript', css: 'text/css' };

/** Where redirections of negotiations lead, and of which version of the protocol they are. */
const redirections = {
  '/redirect': ['/redirect2'],
  '/redirect2': ['/redirect3/'],
  '/redirect3': ['/redirect4'],
  '/redirect4': ['/signalr/'],
  '/redirect-query-string': ['/redirect-query-string2?name1=value1&name2=value2'],
  '/redirect-query-string2': ['/signalr?name1=newValue&name3=value3'],
  '/redirect-query-string-clear': ['/redirect-query-string-clear2?clearedName=clearedValue'],
  '/redirect-query-string-clear2': ['/signalr'],
  '/redirect-query-string-invalid': ['/signalr?redirect=invalid&/?=/&'],
  '/redirect-loop': ['/redirect-loop2'],
  '/redirect-loop2': ['/redirect-loop'],
  '/redirect-old-proto': ['/signalr', '1.5'],
  '/redirect-new-proto': ['/signalr', '2.1'],
  '/redirect-future-proto': ['/signalr', '2.2'],
};

const json = object => ({ status: 200, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(object) });

/** The answer to a request that does not get to the test server, if it is one. */
function fixedAnswer(request) {
  const { host } = request.headers;
  const { pathname, searchParams: query } = new URL(request.url, `http://${host}`);
  const first = `/${pathname.split('/')[1]}`;
  const asked = name => query.get(name) && pathname.includes(`/${query.get(name)}`);
  if (first === '/aspnetcore-signalr') return json({ connectionId: 'fakeConnectionId', availableTransports: [] });
  if (first === '/negotiate-error') return json({ ProtocolVersion: '2.0', Error: 'Server-provided negotiate error message!' });
  if (first === '/redirectionConnection' && asked('redirectWhen')) return { status: 302, headers: { Location: `http://${host}` }, body: '' };
  if (first === '/statusCodeConnection' && asked('alterWhen')) return { status: Number(query.get('statusCode')), headers: {}, body: 'Hello world' };
  if (!redirections[first]) return undefined;
  if (first === '/redirect-query-string-clear2' && query.get('clearedName') !== 'clearedValue') return { status: 500, headers: {}, body: '' };
  const [target, version = '2.0'] = redirections[first];
  const before = first === '/redirect-query-string2' && query.has('name1') ? `&origName1=${query.get('name1')}` : '';
  return json({ ProtocolVersion: version, RedirectUrl: `http://${host}${target}${before}`, AccessToken: 'TestToken' });
}

/** Serves the suites of a checkout, with the test server at port behind them. report is a script that runs before any test is defined. */
export async function serveSite(checkout, port, report) {
  const read = path => readFileSync(join(checkout, path), 'utf8').replace(/^\uFEFF/, '');
  const joined = ([prefix, ...names]) => names.map(name => read(`${prefix}.${name}.js`)).join('\n');
  const scripts = readdirSync(join(checkout, suites, 'wwwroot'), { recursive: true }).map(path => path.replaceAll('\\', '/')).filter(path => path.endsWith('.js')).sort();
  const tests = ['js/report.js', ...scripts.filter(path => path.startsWith('Tests/'))].map(path => `<script src="${path}"></script>`).join('\n');
  const files = {
    ...Object.fromEntries(scripts.map(path => [`/${path}`, ['js', read(`${suites}/wwwroot/${path}`)]])),
    '/': ['html', read(`${suites}/default.template.html`).replace('<!-- #TESTLIST# -->', tests)],
    '/lib/jquery/jquery.js': ['js', readFileSync(resolve('jquery/dist/jquery.js'))],
    '/lib/qunit/qunit.js': ['js', readFileSync(resolve('qunit/qunit/qunit.js'))],
    '/lib/qunit/qunit.css': ['css', readFileSync(resolve('qunit/qunit/qunit.css'))],
    '/lib/networkmock/jquery.network.mock.js': ['js', joined(parts.mock)],
    '/lib/signalr/jquery.signalR.js': ['js', joined(parts.client)],
    '/js/server-info.js': ['js', 'window._server = { azureSignalR: false };'],
    '/js/report.js': ['js', report],
  };

  const server = http.createServer((request, response) => {
    const fixed = fixedAnswer(request);
    if (fixed) return response.writeHead(fixed.status, fixed.headers).end(fixed.body);
    const found = files[request.url.split('?')[0]];
    if (found) return response.writeHead(200, { 'Content-Type': `${types[found[0]]}; charset=utf-8` }).end(found[1]);
    return forward(request, response, port);
  });
  server.on('upgrade', (request, socket, head) => {
    const fixed = fixedAnswer(request);
    if (fixed) socket.end(`HTTP/1.1 ${fixed.status} ${http.STATUS_CODES[fixed.status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    else upgrade(request, socket, head, port);
  });
  await new Promise(listening => server.listen(0, '127.0.0.1', listening));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => { server.close(); server.closeAllConnections(); } };
}

/** Lets the test server answer. A client that goes away ends the request there as well. */
function forward(request, response, port) {
  const { method, url: path, headers } = request;
  const behind = http.request({ host: '127.0.0.1', port, method, path, headers }, answer => {
    response.writeHead(answer.statusCode, answer.headers).flushHeaders();
    pipeline(answer, response, () => {});
  });
  behind.on('error', () => response.destroy());
  response.on('close', () => behind.destroy());
  request.pipe(behind);
}

/** Lets the test server speak to a WebSocket. */
function upgrade({ method, url, rawHeaders }, socket, head, port) {
  const behind = net.connect(port, '127.0.0.1');
  const lines = rawHeaders.reduce((text, part, i) => text + part + (i % 2 ? '\r\n' : ': '), '');
  behind.write(`${method} ${url} HTTP/1.1\r\n${lines}\r\n`);
  behind.write(head);
  pipeline(socket, behind, () => {});
  pipeline(behind, socket, () => {});
}
