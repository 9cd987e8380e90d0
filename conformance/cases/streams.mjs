// Streams from the server. These files lie beside the oracle's own cases when they run; see ../oracle.mjs.
import { topic } from '../case.mjs';

const test = topic('streams');
const invoke = (target, args, more = {}) => ({ type: 1, invocationId: '1', target, arguments: args, ...more });
const stream = (target, args = [], more = {}) => ({ type: 4, invocationId: '1', target, arguments: args, ...more });
const cancel = (invocationId = '1') => ({ type: 5, invocationId });
const both = { server: 'both' };

/** Starts one stream, takes everything up to its completion, and sees whether the connection is still there. */
const streaming = (target, args, more) => async t => {
  const peer = await t.hub();
  peer.send(stream(target, args, more));
  await ended(peer, '1');
  await peer.sync();
};
const ended = (peer, id) => peer.takeUntil(line => line.startsWith(`{"type":3,"invocationId":${JSON.stringify(id)}`));
/** The items of one stream until n have come or it has ended, without their number; everything else as it came. */
async function items(peer, id, n = Infinity) {
  const start = `{"type":2,"invocationId":"${id}","item":`;
  let next;
  for (let i = 0; i < n;) {
    const line = await peer.next();
    if (line.startsWith(start)) {
      const item = Number(line.slice(start.length, -1));
      if (item !== (next ?? item)) peer.talk.log(`item ${item} where ${next} was due`);
      next = item + 1;
      i++;
      continue;
    }
    peer.talk.log(peer.prefix + line);
    if (line.startsWith(`{"type":3,"invocationId":"${id}"`) || line === 'tcp end') return;
  }
  peer.talk.log(`${peer.prefix}${n} items, one after the other`);
}
/** Calls Echo while a stream runs: its answer comes between items. */
async function echoBeside(peer, id) {
  peer.send(invoke('Echo', ['beside'], { invocationId: 'echo' }));
  for (;;) {
    const line = await peer.next();
    if (!line.startsWith(`{"type":2,"invocationId":"${id}",`)) return peer.talk.log(line);
  }
}

for (const [name, target, args] of [
  ['of a channel', 'Stream', []], ['of an iterator', 'Counter', [3, 0]], ['with pauses', 'Counter', [3, 20]], ['empty', 'EmptyStream', []], ['empty iterator', 'Counter', [0, 0]], ['in another case', 'cOUNTER', [2, 0]],
]) test(name, 'Items, then a completion without a result', streaming(target, args));
test('of 300 items', 'Items in their order', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [300, 0]));
  await items(peer, '1', 300);
  await peer.take();
});
for (const transport of ['ServerSentEvents', 'LongPolling']) test(`over ${transport}`, 'The same over each transport', async t => {
  const peer = await t.over(transport);
  await peer.send(stream('Stream'), stream('Counter', [0, 0], { invocationId: '2' }));
  await peer.takeSorted(5);
  await peer.send(stream('InfiniteStream'));
  await items(peer, '1', 3);
  await peer.send(cancel());
  await items(peer, '1');
  await peer.sync();
});
for (const [name, id] of [['to escape', 'a"\\<é>\u2028😀'], ['with spaces', ' 1 '], ['long', 'i'.repeat(1000)]]) test(`id ${name}`, 'The id comes back as it was', async t => {
  const peer = await t.hub();
  peer.send(stream('Stream', [], { invocationId: id }));
  await peer.take(4);
  await peer.sync();
});

for (const text of ['plain', '', 'with "quotes" & <tags> é']) test(`method throws ${JSON.stringify(text)}`, 'A method that fails before there is a stream', streaming('StreamThrowException', [text]), both);
test('method throws, named in another case', 'The error names a method as it is declared', streaming('streamTHROWexception', ['x']), both);

test('plain call of a stream method with an empty id', 'An empty id is like none, so the error is silent', async t => {
  const peer = await t.hub();
  peer.send(invoke('Stream', [], { invocationId: '' }), invoke('StreamEcho', [], { invocationId: '', streamIds: ['s'] }));
  await peer.sync();
});
test('plain call of a stream method in another case', 'The error names a method as it is declared', async t => {
  const peer = await t.hub();
  peer.send(invoke('infiniteSTREAM', []));
  await peer.take();
  await peer.sync();
}, both);
test('plain call of a stream method, wrong arguments', 'Binding fails first', async t => {
  const peer = await t.hub();
  peer.send(invoke('Counter', ['x']));
  await peer.take();
  await peer.sync();
}, both);
test('stream call of a plain method in another case', 'The error names a method as it is declared', async t => {
  const peer = await t.hub();
  peer.send(stream('ADD', [1, 2]), stream('RENAMED', [], { invocationId: '2' }));
  await peer.takeSorted(2);
  await peer.sync();
});
test('stream call of a method that is not allowed', 'Authorization comes before the kind of the call', async t => {
  const peer = await t.hub();
  peer.send(stream('AdminOnly'));
  await peer.take();
  await peer.sync();
}, { server: 'both' });

test('cancelled', 'Items up to a completion without an error', async t => {
  const peer = await t.hub();
  peer.send(stream('InfiniteStream'));
  await items(peer, '1', 5);
  peer.send(cancel());
  await items(peer, '1');
  await peer.sync();
});
test('cancelled while it waits', 'An iterator that is waiting ends with its token, without an error', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [5, 60000]));
  await peer.take();
  peer.send(cancel());
  await peer.take();
  await peer.sync();
}, both);
test('cancelled in the frame that starts it', 'A cancel finds the stream that stands before it', async t => {
  const peer = await t.hub();
  peer.send(stream('InfiniteStream'), cancel());
  await items(peer, '1');
  await peer.sync();
});
test('cancelled twice', 'The second cancel finds nothing', async t => {
  const peer = await t.hub();
  peer.send(stream('InfiniteStream'));
  await items(peer, '1', 1);
  peer.send(cancel(), cancel());
  await items(peer, '1');
  peer.send(cancel());
  await peer.sync();
});
test('cancelled, then the id again', 'Ids may be used again', async t => {
  const peer = await t.hub();
  for (let i = 0; i < 2; i++) {
    peer.send(stream('InfiniteStream'));
    await items(peer, '1', 2);
    peer.send(cancel());
    await items(peer, '1');
  }
  peer.send(stream('Stream'));
  await peer.take(4);
  await peer.sync();
});
test('one of two cancelled', 'The other goes on', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [2, 60000], { invocationId: 'a' }), stream('Counter', [2, 60000], { invocationId: 'b' }));
  await peer.takeSorted(2);
  peer.send(cancel('a'));
  await peer.take();
  await peer.sync();
  peer.send(cancel('b'));
  await peer.take();
});
test('cancel of an unknown id', 'It is ignored, and so is the id in another case', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [2, 60000], { invocationId: 'a' }));
  await peer.take();
  peer.send(cancel('A'), cancel('x'), cancel(' a'));
  await peer.sync();
  peer.send(cancel('a'));
  await peer.take();
});
test('cancel before the call', 'It is forgotten', async t => {
  const peer = await t.hub();
  peer.send(cancel(), stream('Stream'));
  await peer.take(4);
  await peer.sync();
});
test('cancel of a plain call', 'A call of a method that takes no token goes on to its result', async t => {
  const peer = await t.hub();
  peer.send(invoke('Slow', [50]), cancel());
  await peer.take();
  await peer.sync();
});
test('cancel of a plain call that has ended', 'It finds nothing', async t => {
  const peer = await t.hub();
  peer.send(invoke('Echo', ['x']));
  await peer.take();
  peer.send(cancel());
  await peer.sync();
});
test('cancel with headers and more', 'What does not belong to it is passed over', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [2, 60000]));
  await peer.take();
  peer.send({ x: [1], headers: { a: 'b' }, invocationId: '1', target: 'x', type: 5 });
  await peer.take();
  await peer.sync();
});

test('id of a running stream', 'The second call fails, the first stream goes on', async t => {
  const peer = await t.hub();
  peer.send(stream('InfiniteStream'));
  await items(peer, '1', 2);
  peer.send(stream('Stream'));
  await items(peer, '1');
  await items(peer, '1', 2);
  await echoBeside(peer, '1');
}, both);
test('id of a running stream, then cancel', 'The first stream can still be cancelled', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [2, 60000]));
  await peer.take();
  peer.send(stream('Stream'));
  await peer.take();
  peer.send(cancel());
  // The end of the stream may come before or behind the answer to a call.
  const came = [];
  for (const id of ['first', 'second']) {
    peer.send(invoke('Echo', ['x'], { invocationId: id }));
    do came.push(await peer.next()); while (!came.at(-1).includes(id));
  }
  for (const line of came.sort()) t.log(line);
}, { tags: ['defect'] });
test('id of a running stream, the second call does not bind', 'Binding fails first, the first stream goes on', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [2, 60000]));
  await peer.take();
  peer.send(stream('Counter', ['x']), stream('NoSuch'), stream('Echo', ['x']));
  await peer.takeSorted(3);
  peer.send(cancel());
  await peer.take();
  await peer.sync();
}, both);
test('id of a running stream for a plain call', 'Plain calls do not look at the ids of streams', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [2, 60000]));
  await peer.take();
  peer.send(invoke('Echo', ['x']));
  await peer.take();
  peer.send(cancel());
  await peer.take();
  await peer.sync();
});
test('id of a running plain call', 'Streams do not look at the ids of plain calls', async t => {
  const peer = await t.hub();
  peer.send(invoke('Slow', [300]), stream('Stream'));
  await peer.take(5);
  await peer.sync();
});
test('id again after a completion', 'Ids may be used again', async t => {
  const peer = await t.hub();
  for (let i = 0; i < 3; i++) {
    peer.send(stream('Stream'));
    await peer.take(4);
  }
  peer.send(stream('StreamThrowException', ['x']));
  await peer.take();
  peer.send(stream('Counter', [1, 0]));
  await peer.take(2);
});

test('three at once', 'Each keeps its order', async t => {
  const peer = await t.hub();
  peer.send(...['a', 'b', 'c'].map(invocationId => stream('Counter', [4, 5], { invocationId })));
  const lines = [];
  for (let i = 0; i < 15; i++) lines.push(await peer.next());
  for (const id of ['a', 'b', 'c']) for (const line of lines.filter(line => line.includes(`"invocationId":"${id}"`))) t.log(line);
});
test('calls beside items', 'A stream holds up no call', async t => {
  const peer = await t.hub();
  peer.send(stream('InfiniteStream'));
  await items(peer, '1', 2);
  for (let i = 0; i < 3; i++) await echoBeside(peer, '1');
  peer.send(cancel());
  await items(peer, '1');
});
test('messages beside items', 'What a call sends comes between items', async t => {
  const peer = await t.hub();
  peer.send(stream('Counter', [2, 60000]));
  await peer.take();
  await peer.call('Burst', 3);
  peer.send(cancel());
  await peer.take();
});
test('more streams than calls may run', 'Streams take no slot', async t => {
  const peer = await t.hub();
  for (let i = 0; i < 12; i++) {
    peer.send(stream('Counter', [2, 60000], { invocationId: `s${i}` }));
    await peer.take();
  }
  await peer.sync();
  for (let i = 0; i < 12; i++) {
    peer.send(cancel(`s${i}`));
    await peer.take();
  }
});
test('while all calls run', 'A stream starts beside as many calls as may run', async t => {
  const peer = await t.hub();
  peer.send(...Array.from({ length: 10 }, (_, i) => invoke('Slow', [600], { invocationId: `slow${i}` })), stream('Stream'));
  await peer.take(4);
  await peer.takeSorted(10);
});
test('behind calls that wait', 'Behind a call that waits for its turn nothing is read', async t => {
  const peer = await t.hub();
  peer.send(...Array.from({ length: 11 }, (_, i) => invoke('Slow', [150], { invocationId: `slow${i}` })), stream('EmptyStream'));
  let before = 0;
  for (let i = 0; i < 12; i++) {
    const line = await peer.next();
    if (line.includes('slow')) before++;
    else t.log(`${before ? 'a call ended before' : 'no call ended before'}: ${line}`);
  }
});

for (const [name, message] of [['item', { type: 2, invocationId: '1', item: 7 }], ['completion', { type: 3, invocationId: '1' }], ['completion with an error', { type: 3, invocationId: '1', error: 'e' }], ['completion with a result', { type: 3, invocationId: '1', result: 1 }]])
  test(`${name} from the client`, 'What a client sends with the id of a stream of the server is no part of it', async t => {
    const peer = await t.hub();
    peer.send(stream('Counter', [2, 60000]));
    await peer.take();
    peer.send(message);
    await peer.sync();
    peer.send(cancel());
    await peer.take();
  });
test('streamIds for a method without uploads', 'The number of uploads is checked for stream calls too', async t => {
  const peer = await t.hub();
  peer.send(stream('Stream', [], { streamIds: ['s'] }));
  await peer.take();
  peer.send({ type: 2, invocationId: 's', item: 'x' }, { type: 3, invocationId: 's' });
  await peer.sync();
  peer.send(stream('Stream', [], { streamIds: [] }));
  await peer.take(4);
}, both);
