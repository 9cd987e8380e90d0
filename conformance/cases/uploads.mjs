// Streams from the client, alone and together with streams from the server.
import { topic } from '../case.mjs';

const test = topic('uploads');
const upload = (target = 'UploadStream', args = [], more = {}) => ({ type: 1, invocationId: '1', target, arguments: args, streamIds: ['s'], ...more });
const item = (value, invocationId = 's') => ({ type: 2, invocationId, item: value });
const end = (more = {}) => ({ type: 3, invocationId: 's', ...more });
const invoke = (target, args, invocationId) => ({ type: 1, invocationId, target, arguments: args });
const both = { server: 'both' };
/** Takes a record, without what a reader of JSON says about a value. */
async function takeBindingError(peer) {
  peer.talk.log((await peer.next()).replace(/(?<=Failed to bind Stream message\. ).*(?=")/, '<what is wrong>'));
}

/** Sends messages in one frame, takes n records and sees whether the connection is still there. */
const exchange = (n, ...messages) => async t => {
  const peer = await t.hub();
  peer.send(...messages);
  await peer.take(n);
  await peer.sync();
};

test('items and an end in one frame', 'Items right behind a call belong to it', exchange(1, upload(), item('a'), item('b'), item('c'), end()));
test('items in frames of their own', 'Items come when they come', async t => {
  const peer = await t.hub();
  peer.send(upload());
  for (const text of ['a', 'b', 'c']) { peer.send(item(text)); await peer.sync(); }
  peer.send(end());
  await peer.take();
});
test('with an argument before', 'Streams are no arguments', exchange(1, upload('UploadSum', [5]), item(1), item(-2), item(30), end()));
test('in another case', 'Names of methods in any case', exchange(1, upload('uploadSUM', [5]), item(1), end()));
test('empty', 'A stream may end before its first item', exchange(1, upload(), end()));
test('of 300 items in one frame', 'More items than wait for the method', exchange(1, upload('UploadSum', [0]), ...Array.from({ length: 300 }, (_, i) => item(i)), end()));
test('items with more properties', 'What does not belong to an item is passed over', exchange(1, upload(), { x: 1, headers: { a: 'b' }, invocationId: 's', item: 'a', type: 2 }, end()));
test('text to escape', 'Items are read as arguments are', exchange(1, upload(), item('"\\<é>\u2028😀'), item('\n'), end()));
for (const transport of ['ServerSentEvents', 'LongPolling']) test(`over ${transport}`, 'The same over each transport', async t => {
  const peer = await t.over(transport);
  await peer.send(upload());
  await peer.send(item('a'));
  await peer.send(item('b'), item('c'));
  await peer.send(end());
  await peer.take();
  await peer.send(upload('StreamEcho', [], { type: 4 }));
  for (const text of ['a', 'b']) { await peer.send(item(text)); await peer.take(); }
  await peer.send(end());
  await peer.take();
});

test('end with an error', 'The method fails with the error of the client, which shows without detailed errors too', exchange(1, upload(), item('a'), end({ error: 'boom' })), both);
test('end with an error at once', 'The same before the first item', exchange(1, upload('UploadSum', [1]), end({ error: 'with "quotes" & <tags> é' })), both);
test('end with an empty error', 'Whether an empty error is one', exchange(1, upload(), item('a'), end({ error: '' })), both);
test('end with a result', 'A result of an upload means nothing', exchange(1, upload(), item('a'), end({ result: 5 })));
test('end with error before the id', 'The official client writes the error first', exchange(1, upload(), item('a'), '{"error":"boom","invocationId":"s","type":3}\x1e'));

const tooMany = ['too many', upload('UploadStream', [], { streamIds: ['s', 'z'] })];
for (const [name, message] of [
  tooMany, ['too many for a plain method', upload('Echo', ['x'])], ['too many for a stream method', upload('Counter', [1, 0], { type: 4 })], ['too many for both', upload('StreamEcho', [], { type: 4, streamIds: ['s', 'z', 'y'] })],
  ['none at all', upload('UploadStream', [], { streamIds: undefined })], ['none', upload('UploadStream', [], { streamIds: [] })], ['none beside an argument', upload('UploadSum', [1], { streamIds: [] })], ['none for both', upload('StreamEcho', [], { type: 4, streamIds: [] })],
  ['none in another case', upload('uploadSTREAM', [], { streamIds: [] })],
]) test(`streams: ${name}`, 'A method wants as many streams as it has', async t => {
  const peer = await t.hub();
  peer.send(message);
  await peer.take();
  peer.send(item('x'), end(), end({ invocationId: 'z' }));
  await peer.sync();
}, both);
test('streams: too many without id', 'The error is silent without an id', exchange(0, { ...tooMany[1], invocationId: undefined }, item('x'), end()));
test('streams: too many, ids free again', 'The ids of a call that failed may be used again', async t => {
  const peer = await t.hub();
  peer.send(tooMany[1]);
  await peer.take();
  peer.send(upload(), item('a'), end());
  await peer.take();
  peer.send(upload('UploadStream', [], { streamIds: ['z'] }), item('a', 'z'), end({ invocationId: 'z' }));
  await peer.take();
});
test('stream id empty', 'An empty id cannot be an id of items', exchange(0, upload('UploadStream', [], { streamIds: [''] })));
test('stream id is the id of the call', 'Ids of calls and of streams do not meet', async t => {
  const peer = await t.hub();
  peer.send(upload('UploadStream', [], { streamIds: ['1'] }), item('a', '1'), { type: 3, invocationId: '1' });
  await peer.take();
  peer.send(upload('StreamEcho', [], { type: 4, streamIds: ['1'] }), item('a', '1'));
  await peer.take();
  peer.send({ type: 3, invocationId: '1' });
  await peer.take();
  await peer.sync();
});
test('stream id in another case', 'Ids are compared as they are', exchange(1, upload(), item('a', 'S'), end({ invocationId: 'S', error: 'e' }), item('b'), end()));

for (const [name, target, args, value] of [
  ['number for a string', 'UploadStream', [], 5], ['object for a string', 'UploadStream', [], { a: [1] }], ['string for an int', 'UploadSum', [1], '5'], ['null for an int', 'UploadSum', [1], null], ['float for an int', 'UploadSum', [1], 1.5], ['array for an int', 'UploadSum', [1], [1]],
]) test(`item of a wrong type: ${name}`, 'The method fails, and the connection goes on', async t => {
  const peer = await t.hub();
  peer.send(upload(target, args), item(value));
  await takeBindingError(peer);
  await peer.sync();
}, both);
test('item of a wrong type behind right ones', 'What comes behind it is ignored', async t => {
  const peer = await t.hub();
  peer.send(upload('UploadSum', [1]), item(1), item(2), item('x'), item(3), end());
  await takeBindingError(peer);
  peer.send(item(4), end());
  await peer.sync();
}, both);
test('null among strings', 'A string may be null', exchange(1, upload(), item('a'), item(null), item('b'), end()), { tags: ['dotnet-types'] });

test('item of another stream', 'An item of an unknown stream is ignored', exchange(1, upload(), item('a'), item('b', 'x'), item({}, 'x'), item('c'), end()));
test('item before the call', 'It is forgotten', exchange(1, item('a'), upload(), item('b'), end()));
test('end before the call', 'It is forgotten', exchange(1, end(), upload(), item('b'), end()));
test('item behind the end', 'It is ignored', async t => {
  const peer = await t.hub();
  peer.send(upload(), item('a'), end(), item('b'), end(), end({ error: 'e' }));
  await peer.take();
  peer.send(item('c'), item(5), end({ error: 'e' }));
  await peer.sync();
});
test('id again after the end', 'Ids may be used again', async t => {
  const peer = await t.hub();
  for (const text of ['a', 'b', 'c']) {
    peer.send(upload(), item(text), end());
    await peer.take();
  }
  peer.send(upload(), item(5));
  await takeBindingError(peer);
  peer.send(upload(), item('d'), end());
  await peer.take();
});
test('id of a running upload', 'Whose the items are', async t => {
  const peer = await t.hub();
  peer.send(upload(), item('a'), upload('UploadStream', [], { invocationId: '2' }), item('b'), end(), end());
  await peer.take();
  await peer.sync();
}, { tags: ['defect'] });

test('two at once', 'Each has its items', async t => {
  const peer = await t.hub();
  peer.send(upload(), upload('UploadSum', [0], { invocationId: '2', streamIds: ['z'] }), item('a'), item(1, 'z'), item('b'), item(2, 'z'), end());
  await peer.take();
  peer.send(item(3, 'z'), { type: 3, invocationId: 'z' });
  await peer.take();
  await peer.sync();
});
test('one of two fails', 'The other goes on', async t => {
  const peer = await t.hub();
  peer.send(upload('UploadSum', [0]), upload('UploadSum', [0], { invocationId: '2', streamIds: ['z'] }), item('x'), item(1, 'z'));
  await takeBindingError(peer);
  peer.send(item(2, 'z'), { type: 3, invocationId: 'z' });
  await peer.take();
});
test('more than calls may run', 'Uploads take no slot', async t => {
  const peer = await t.hub();
  const ids = Array.from({ length: 12 }, (_, i) => `u${i}`);
  peer.send(...ids.map(id => upload('UploadStream', [], { invocationId: id, streamIds: [`s${id}`] })));
  await peer.sync();
  for (const id of ids) {
    peer.send(item(id, `s${id}`), { type: 3, invocationId: `s${id}` });
    await peer.take();
  }
});
test('while all calls run', 'An upload starts and ends beside as many calls as may run', async t => {
  const peer = await t.hub();
  peer.send(...Array.from({ length: 10 }, (_, i) => invoke('Slow', [600], `slow${i}`)), upload(), item('a'), end());
  await peer.take();
  await peer.takeSorted(10);
});
test('without id', 'An upload without an id has no answer, and its items are taken', exchange(0, upload('UploadStream', [], { invocationId: undefined }), item('a'), end(), upload('UploadSum', [1], { invocationId: '' }), item(1), item('x'), end()));
test('call that does not bind', 'The items of a call that failed are ignored', async t => {
  const peer = await t.hub();
  peer.send(upload('UploadSum', []), item(1), item('x'), end());
  await peer.take();
  peer.send(upload('UploadSum', ['x']), item(1), end(), upload('NoSuch'), item(1), end());
  await peer.takeSorted(2);
  await peer.sync();
}, both);
test('as a stream call', 'A method with an upload that gives no stream cannot be called as a stream', async t => {
  const peer = await t.hub();
  peer.send(upload('UploadStream', [], { type: 4 }), item('a'), end());
  await peer.take();
  await peer.sync();
});
test('cancel of the stream', 'The id of an upload is no id of a call', async t => {
  const peer = await t.hub();
  peer.send(upload(), item('a'), { type: 5, invocationId: 's' }, item('b'));
  await peer.sync();
  peer.send(end());
  await peer.take();
});
/** Cancels call 1, sees that this has been read, sends the rest of the upload, and shows what comes of the call. */
async function cancelled(peer) {
  peer.send({ type: 5, invocationId: '1' }, invoke('Echo', ['x'], 'read'));
  let read = false, ended = false;
  while (!read || !ended) {
    const line = await peer.next();
    if (line.startsWith('{"type":3,"invocationId":"read"')) {
      read = true;
      peer.send(item('b'), end());
      continue;
    }
    ended ||= line.startsWith('{"type":3,"invocationId":"1"') || line === 'tcp end';
    peer.talk.log(line);
  }
  await peer.sync();
}
test('cancel of the call', 'A call of a method that takes no token goes on until the upload ends', async t => {
  const peer = await t.hub();
  peer.send(upload(), item('a'));
  await cancelled(peer);
});
test('client result beside', 'Ids of streams and of calls by the server do not meet', async t => {
  const peer = await t.hub();
  peer.send(upload(), invoke('AskCaller', ['?'], '2'));
  const id = await peer.takeAsked();
  peer.send(item('a'), { type: 3, invocationId: id, result: 'r' });
  await peer.take();
  peer.send(end());
  await peer.take();
});

const echo = (more = {}) => upload('StreamEcho', [], { type: 4, ...more });
test('both ways', 'Each item comes back when it was sent', async t => {
  const peer = await t.hub();
  peer.send(echo());
  for (const text of ['a', '', 'c "<é>"']) { peer.send(item(text)); await peer.take(); }
  peer.send(end());
  await peer.take();
  await peer.sync();
});
test('both ways in one frame', 'All items, then the end', exchange(41, echo(), ...Array.from({ length: 40 }, (_, i) => item(`${i}`)), end()));
test('both ways, empty', 'An end at once', exchange(1, echo(), end()));
test('both ways, end with an error', 'The error ends the stream of the server', async t => {
  const peer = await t.hub();
  peer.send(echo(), item('a'));
  await peer.take();
  peer.send(end({ error: 'boom' }));
  await peer.take();
  await peer.sync();
}, both);
test('both ways, item of a wrong type', 'The error ends the stream of the server', async t => {
  const peer = await t.hub();
  peer.send(echo(), item('a'));
  await peer.take();
  peer.send(item(5), item('b'), end());
  await takeBindingError(peer);
  await peer.sync();
}, both);
test('both ways as a plain call', 'A stream has to be called as one', exchange(1, echo({ type: 1 }), item('a'), end()));
test('both ways, id again', 'Ids may be used again', async t => {
  const peer = await t.hub();
  for (let i = 0; i < 3; i++) {
    peer.send(echo(), item(`${i}`), end());
    await peer.take(2);
  }
});
test('both ways, id of a running stream', 'The second call fails, the first goes on with its own items', async t => {
  const peer = await t.hub();
  peer.send(echo(), item('a'));
  await peer.take();
  peer.send(echo({ streamIds: ['z'] }), item('b', 'z'), item('c'));
  await peer.takeSorted(2);
  peer.send(end());
  await peer.take();
  await peer.sync();
}, both);
test('both ways, two at once', 'Each has its items', async t => {
  const peer = await t.hub();
  peer.send(echo(), echo({ invocationId: '2', streamIds: ['z'] }), item('a'));
  await peer.take();
  peer.send(item('b', 'z'));
  await peer.take();
  peer.send(end());
  await peer.take();
  peer.send(item('c', 'z'));
  await peer.take();
  peer.send({ type: 3, invocationId: 'z' });
  await peer.take();
});
test('both ways, cancelled', 'A method that takes no token goes on until the upload ends', async t => {
  const peer = await t.hub();
  peer.send(echo(), item('a'));
  await peer.take();
  await cancelled(peer);
}, { tags: ['defect'] });
