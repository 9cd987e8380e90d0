// Results of clients: calls by the server that wait for an answer.
import { topic } from '../case.mjs';
import { fateOf } from './steps.mjs';

const test = topic('results');
const ask = (target, args, more = {}) => ({ type: 1, invocationId: '1', target, arguments: args, ...more });
const both = { server: 'both' };

/** Lets the server ask, answers with the text (ID stands for the id), and takes what comes of it. */
const answered = answer => async t => {
  const peer = await t.hub();
  peer.send(ask('AskCaller', ['?']));
  const id = await asked(t, peer);
  peer.send(answer.replaceAll('ID', id) + '\x1e');
  const line = await peer.next();
  t.log(line.replace(/(?<=Error trying to deserialize result to ).*(?=")/, '<type, and what is wrong>').replace(/(?<=HubException: )(Exception of type '.*' was thrown|Client didn't provide a result)\./, ''));
  if (line.startsWith('{"type":7')) await peer.end(); else await peer.sync();
};
/** The next call by the server, whose id is hidden in error texts too. */
async function asked(t, peer, name = 'n1') {
  const id = await peer.takeAsked(name);
  t.alias(name, `'${id}'`, /^'s\d+'$/);
  return id;
}
/** Two negotiated connections that know each other's id. */
const two = async t => [await t.hub({ negotiate: 'negotiateVersion=1', name: 'a' }), await t.hub({ negotiate: 'negotiateVersion=1', name: 'b' })];

for (const [name, answer, options] of [
  ['result', '{"type":3,"invocationId":"ID","result":"r"}'], ['result null', '{"type":3,"invocationId":"ID","result":null}', { tags: ['dotnet-types'] }], ['result before the id', '{"result":"r","invocationId":"ID","type":3}'], ['result to escape', '{"type":3,"invocationId":"ID","result":"\\"<é>\\u2028"}'], ['empty result', '{"type":3,"invocationId":"ID","result":""}'],
  ['error', '{"type":3,"invocationId":"ID","error":"e"}', both], ['error before the id', '{"error":"e","invocationId":"ID","type":3}'], ['empty error', '{"type":3,"invocationId":"ID","error":""}', both], ['error to escape', '{"type":3,"invocationId":"ID","error":"\\"<é>\\u2028"}'],
  ['neither', '{"type":3,"invocationId":"ID"}', both],
]) test(`answer: ${name}`, 'What the method makes of an answer', answered(answer), options);
for (const [name, result] of [['number', '5'], ['object', '{"a":[1]}'], ['array', '["r"]'], ['true', 'true']])
  test(`answer of a wrong type: ${name}`, 'The method fails with a text that shows without detailed errors too, and the connection goes on', answered(`{"type":3,"invocationId":"ID","result":${result}}`), both);
test('answer with result and error', 'They exclude each other', answered('{"type":3,"invocationId":"ID","result":"r","error":"e"}'), both);
test('answer twice', 'The second answer finds nobody', async t => {
  const peer = await t.hub();
  peer.send(ask('AskCaller', ['?']));
  const invocationId = await asked(t, peer);
  peer.send({ type: 3, invocationId, result: 'first' }, { type: 3, invocationId, result: 'second' }, { type: 3, invocationId, error: 'third' });
  await peer.take();
  await peer.sync();
});
for (const [name, message] of [['item', { type: 2, invocationId: '', item: 'r' }], ['cancel', { type: 5 }], ['call', { type: 1, target: 'Add', arguments: [1, 2] }]]) test(`${name} with the id`, 'Only a completion answers', async t => {
  const peer = await t.hub();
  peer.send(ask('AskCaller', ['?']));
  const invocationId = await asked(t, peer);
  peer.send({ ...message, invocationId });
  await peer.sync();
  peer.send({ type: 3, invocationId, result: 'r' });
  await peer.take();
});
test('answer to an unknown id', 'It is ignored', async t => {
  const peer = await t.hub();
  peer.send(ask('AskCaller', ['?']));
  const invocationId = await asked(t, peer);
  peer.send({ type: 3, invocationId: `${invocationId}0000000`, result: 'x' }, { type: 3, invocationId: invocationId.toUpperCase(), result: 'x' }, { type: 3, invocationId: invocationId.slice(1), error: 'x' });
  await peer.sync();
  peer.send({ type: 3, invocationId, result: 'r' });
  await peer.take();
});
test('argument', 'The question comes as it was given', async t => {
  const peer = await t.hub();
  peer.send(ask('AskCaller', ['"<é>\u2028']));
  const invocationId = await asked(t, peer);
  peer.send({ type: 3, invocationId, result: 'r' });
  await peer.take();
});
test('call without id', 'The server asks all the same, and the result goes nowhere', async t => {
  const peer = await t.hub();
  peer.send(ask('AskCaller', ['?'], { invocationId: undefined }));
  const invocationId = await asked(t, peer);
  peer.send({ type: 3, invocationId, result: 'r' });
  await peer.sync();
});
for (const transport of ['ServerSentEvents', 'LongPolling']) test(`over ${transport}`, 'The same over each transport', async t => {
  const peer = await t.over(transport);
  await peer.send(ask('AskCaller', ['?']));
  const invocationId = await asked(t, peer);
  await peer.send({ type: 3, invocationId, result: 'r' });
  await peer.take();
  await peer.sync();
});

test('two at once', 'Each has an id of its own, and answers may come in any order', async t => {
  const peer = await t.hub();
  peer.send(ask('AskCaller', ['first']));
  const first = await asked(t, peer, 'n1');
  peer.send(ask('AskCaller', ['second'], { invocationId: '2' }));
  const second = await asked(t, peer, 'n2');
  peer.send({ type: 3, invocationId: second, result: 'to the second' });
  await peer.take();
  peer.send({ type: 3, invocationId: first, result: 'to the first' });
  await peer.take();
});
test('more than calls may run', 'Who waits for a client gives its slot back', async t => {
  const peer = await t.hub();
  const ids = [];
  for (let i = 0; i < 12; i++) {
    peer.send(ask('AskCaller', [`${i}`], { invocationId: `${i}` }));
    ids.push(await asked(t, peer, `n${i + 1}`));
  }
  await peer.sync();
  for (const [i, invocationId] of ids.entries()) {
    peer.send({ type: 3, invocationId, result: `to ${i}` });
    await peer.take();
  }
});
test('slots are given back once', 'As many calls as before run at once afterwards', async t => {
  const peer = await t.hub();
  for (let i = 0; i < 3; i++) {
    peer.send(ask('AskCaller', ['?']));
    const invocationId = await asked(t, peer);
    peer.send({ type: 3, invocationId, result: 'r' });
    await peer.take();
  }
  peer.send(...Array.from({ length: 10 }, (_, i) => ask('Slow', [400], { invocationId: `slow${i}` })), ask('Echo', ['x'], { invocationId: 'echo' }));
  const first = await peer.next();
  t.log(first.includes('slow') ? 'the eleventh call waited' : 'the eleventh call ran');
});

test('of another connection', 'One asks, another answers', async t => {
  const [a, b] = await two(t);
  a.send(ask('AskClient', [b.id, '?']));
  const invocationId = await asked(t, b);
  b.send({ type: 3, invocationId, result: 'r' });
  await a.take();
  await b.sync();
});
test('of another connection, error', 'The error of another shows without detailed errors too', async t => {
  const [a, b] = await two(t);
  a.send(ask('AskClient', [b.id, '?']));
  const invocationId = await asked(t, b);
  b.send({ type: 3, invocationId, error: 'e' });
  await a.take();
}, both);
test('of oneself by id', 'Who asks may be who answers', async t => {
  const peer = await t.hub({ negotiate: 'negotiateVersion=1' });
  peer.send(ask('AskClient', [peer.id, '?']));
  const invocationId = await asked(t, peer);
  peer.send({ type: 3, invocationId, result: 'r' });
  await peer.take();
});
for (const [name, id] of [['unknown', 'nobody'], ['empty', ''], ['to escape', '"<é>']]) test(`no such connection: ${name}`, 'The method fails at once', async t => {
  const peer = await t.hub();
  peer.send(ask('AskClient', [id, '?']));
  await peer.take();
  await peer.sync();
}, both);
test('no such connection: a token', 'A token is no id', async t => {
  const [a, b] = await two(t);
  a.send(ask('AskClient', [b.token, '?']));
  await a.take();
});
for (const [name, leave] of [['close frame', b => b.close()], ['Close', b => b.send({ type: 7 })], ['cut', b => b.cut()], ['fatal message', b => b.send('{"type":1}\x1e')]]) test(`target gone: ${name}`, 'The method fails when the target is gone', async t => {
  const [a, b] = await two(t);
  a.send(ask('AskClient', [b.id, '?']));
  await asked(t, b);
  leave(b);
  await a.take();
  await a.sync();
}, both);
test('target gone: DELETE', 'The method fails when the target is gone', async t => {
  const a = await t.hub({ name: 'a' });
  const b = await t.over('LongPolling', { name: 'b' });
  a.send(ask('AskClient', [b.id, '?']));
  await asked(t, b);
  await t.http('DELETE', b.url, { quiet: true });
  await a.take();
});
test('target gone: event stream cut', 'The method fails when the target is gone', async t => {
  const a = await t.hub({ name: 'a' });
  const b = await t.over('ServerSentEvents', { name: 'b' });
  a.send(ask('AskClient', [b.id, '?']));
  await asked(t, b);
  b.cut();
  await a.take();
});
test('target went before', 'A connection that is gone is no connection', async t => {
  const [a, b] = await two(t);
  b.send({ type: 7 });
  await b.end();
  await fateOf(a, b.id);
  a.send(ask('AskClient', [b.id, '?']));
  await a.take();
});
test('answer by another connection', 'The one that answers for another is closed, and the call waits on', async t => {
  const [a, b] = await two(t);
  a.send(ask('AskClient', [b.id, '?']));
  const invocationId = await asked(t, b);
  const c = await t.hub({ negotiate: 'negotiateVersion=1', name: 'c' });
  c.send({ type: 3, invocationId, result: 'stolen' });
  await c.end();
  b.send({ type: 3, invocationId, result: 'r' });
  await a.take();
  await b.sync();
}, both);
test('error by another connection', 'The same for an error', async t => {
  const [a, b] = await two(t);
  a.send(ask('AskClient', [b.id, '?']));
  const invocationId = await asked(t, b);
  a.send({ type: 3, invocationId, error: 'stolen' });
  await a.end();
  b.send({ type: 3, invocationId, result: 'r' });
  await b.sync();
});
