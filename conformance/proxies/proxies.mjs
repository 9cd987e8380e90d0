// Starts proxies with the very configurations of docs/proxies.md and docs/cluster.md. What differs on a machine that tests are run on (ports,
// certificates) is replaced in them; it is an error if it cannot be found there.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { freePort, start } from '../server.mjs';

/** The configuration that a page of the documentation has for a proxy. */
function configuration(language, page) {
  const text = readFileSync(resolve(import.meta.dirname, `../../docs/${page}.md`), 'utf8');
  const blocks = [...text.matchAll(new RegExp('^```' + language + '\n(.*?)^```$', 'gms'))];
  if (blocks.length !== 1) throw new Error(`docs/${page}.md has ${blocks.length} configurations of ${language}`);
  return blocks[0][1];
}

/** The configuration for a server, or for several nodes, for which docs/cluster.md has what begins with start. changes are made to it first. */
function configurationFor(language, start, { port, nodes }, changes) {
  const text = replaced(configuration(language, 'proxies'), changes);
  if (!nodes) return replaced(text, [['127.0.0.1:8080', `127.0.0.1:${port}`]]);
  const several = nodes.map((node, i) => [`10.0.0.${i + 1}:8080`, `127.0.0.1:${node.port}`]);
  return replaced(text, [[start, replaced(configuration(language, 'cluster'), several)]]);
}

/** Replaces what occurs once. */
export function replaced(text, changes) {
  for (const [what, by] of changes) {
    const parts = text.split(what);
    if (parts.length !== 2) throw new Error(`${what} occurs ${parts.length - 1} times in the configuration`);
    text = parts.join(by);
  }
  return text;
}

/** Why a proxy cannot be started here, if it cannot. Debian has it where only root looks for programs. */
export function whyNot(program) {
  process.env.PATH += `:/usr/sbin`;
  const { error, status, stderr } = spawnSync(program, ['-v'], { encoding: 'utf8' });
  if (error || status !== 0) return `${program} cannot be started (${error?.code ?? stderr.trim()})`;
}

const directories = [];
process.on('exit', () => directories.forEach(directory => rmSync(directory, { recursive: true, force: true })));

function temporary() {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-proxy-'));
  directories.push(directory);
  return directory;
}

let made;

/** A certificate for 127.0.0.1 and app.example, made once by the program that comes with Go. */
export function certificate() {
  if (made) return made;
  const directory = temporary();
  const root = spawnSync('go', ['env', 'GOROOT'], { encoding: 'utf8' }).stdout.trim();
  const { status, stderr } = spawnSync('go', ['run', join(root, 'src/crypto/tls/generate_cert.go'), '-host', '127.0.0.1,app.example', '-ecdsa-curve', 'P256', '-ca'],
    { cwd: directory, encoding: 'utf8' });
  if (status !== 0) throw new Error(`no certificate: ${stderr}`);
  const [cert, key] = ['cert.pem', 'key.pem'].map(name => join(directory, name));
  const both = join(directory, 'both.pem');
  writeFileSync(both, readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'));
  return (made = { cert, key, both, text: readFileSync(cert, 'utf8') });
}

async function serve(binary, args, port, tls) {
  const { stop, exit } = await start(binary, args, port);
  return { port, stop, exit, url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}` };
}

/** nginx before a server, or before several nodes, on 127.0.0.1, over TLS unless told otherwise. changes are made to the page's configuration first. */
export async function startNginx(server, { tls = true, changes = [], port } = {}) {
  port ??= await freePort();
  const directory = temporary();
  let site = configurationFor('nginx', /^upstream troupe \{.*?^\}\n/ms, server, changes);
  if (tls) {
    const { cert, key } = certificate();
    site = replaced(site, [['listen 443 ssl http2;', `listen 127.0.0.1:${port} ssl http2;`], ['/etc/ssl/certs/app.example.pem', cert], ['/etc/ssl/private/app.example.key', key]]);
  } else {
    site = replaced(site, [['listen 443 ssl http2;', `listen 127.0.0.1:${port};`], [/^ *ssl_certificate .*\n/m, ''], [/^ *ssl_certificate_key .*\n/m, '']]);
  }
  writeFileSync(join(directory, 'site.conf'), site);
  const frame = readFileSync(join(import.meta.dirname, 'nginx.conf'), 'utf8');
  writeFileSync(join(directory, 'nginx.conf'), frame.replaceAll('DIRECTORY', directory));
  return serve('nginx', ['-p', directory, '-e', 'stderr', '-c', join(directory, 'nginx.conf')], port, tls);
}

/** HAProxy before a server, or before several nodes, on 127.0.0.1, over TLS unless told otherwise. */
export async function startHAProxy(server, { tls = true, changes = [] } = {}) {
  const port = await freePort();
  const file = join(temporary(), 'haproxy.cfg');
  writeFileSync(file, replaced(configurationFor('haproxy', /^backend troupe\n.*/ms, server, changes), [tls
    ? ['bind :443 ssl crt /etc/haproxy/certs/app.example.pem ', `bind 127.0.0.1:${port} ssl crt ${certificate().both} `]
    : ['bind :443 ssl crt /etc/haproxy/certs/app.example.pem alpn h2,http/1.1', `bind 127.0.0.1:${port}`]]));
  return serve('haproxy', ['-db', '-f', file], port, tls); // in the foreground, as one process
}
