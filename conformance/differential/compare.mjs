// Brings what clients saw into a form in which two servers that both did right have seen the same. What is left open, and why:
import { MessageType } from '@microsoft/signalr';

const { Invocation, StreamItem, Completion, Close } = MessageType;

/** Texts of errors name types of exceptions, and ids are random. */
const said = text => text?.replace(/\b(?!HubException\b)[A-Z]\w*Exception: /g, 'Error: ');

export function view(scenario, game) {
  const ids = new Map(game.players.map(({ id }, i) => [id, `<id ${i}>`]));
  const leaving = new Map(scenario.steps.flatMap((step, i) => (step.kind === 'leave' ? [[step.who, { ...step, step: i }]] : [])));
  const calls = new Map(callsOf(scenario).map(one => [one.id, one]));
  return game.players.map((player, who) => viewOf(player, who, { scenario, calls, ids, leaving, fate: game.fates[who] }));
}

function callsOf({ steps }) {
  return steps.flatMap(step => (step.kind === 'leave' ? step.calls : step.kind === 'calls' ? step.parts.flatMap(({ writes }) => writes.flatMap(write => write.calls)) : []));
}

function viewOf({ events, ended, here }, who, { scenario, calls, ids, leaving, fate }) {
  const leave = leaving.get(who);
  const named = value => (ids.has(value) ? ids.get(value) : value);
  const seen = { messages: {}, last: {}, calls: {}, asked: [], closes: [] };
  // Where one call of a client runs at a time, all that comes of its calls has one order.
  const inOrder = scenario.hub === '/bench' ? (seen.own = []) : [];
  for (const event of events) {
    const { type, invocationId: id } = event;
    // Who ends its transport may or may not be reached by what is on its way to it. Behind an abort the server drops what it has for a
    // client's own calls, and those run at the same time as the abort. Only a Close, which is answered, leaves nothing open.
    const open = leave && event.step >= leave.step && leave.how !== 'goodbye';
    if (id?.startsWith('sync')) continue;
    if (type === Close) {
      if (!open || leave.how === 'abort' || leave.how === 'garbage') seen.closes.push([said(event.error), Boolean(event.allowReconnect)]);
      continue;
    }
    if (open) continue;
    if (type === Invocation && id) {
      // Several clients may ask the same one at the same time, and a client's own questions run at the same time.
      seen.asked.push(event.arguments[0]);
    } else if (type === Invocation) {
      const text = event.arguments.at(-1);
      // From one sender messages come in order. Messages of different senders come as they come.
      const sender = event.target === 'Number' ? `bursts of ${who}` : text.split('.')[1];
      const kind = mayLose(leaving.get(Number(sender)), event.step) ? 'last' : 'messages';
      (seen[kind][sender] ??= []).push(`${event.target} ${event.arguments}`);
      if (Number(sender) === who) inOrder.push(text);
    } else if (type === StreamItem) {
      (seen.calls[id] ??= { items: [] }).items.push(event.item);
    } else if (type === Completion) {
      const before = events.slice(0, events.indexOf(event)).filter(one => one.type === Invocation && !one.invocationId && one.arguments.at(-1) === id).length;
      // The results of calls that run at the same time come as they come; what a call sends to its caller comes before its result.
      const { items } = seen.calls[id] ?? {};
      seen.calls[id] = { ...(items && { items }), result: named(event.result), error: said(event.error), before };
      // A call of what does not exist is refused when it is read: it waits for no turn.
      if (calls.get(id)?.kind === 'invoke' && calls.get(id).method !== 'Missing') inOrder.push(`result of ${id}`);
    } else {
      seen.calls[`type ${type}`] = event;
    }
  }
  for (const [id, { method, args, cancelAfter, endless }] of calls) {
    const one = seen.calls[id];
    if (!one) continue;
    // How far a stream gets before its client ends it, is a matter of time. Items are numbered: none is missing.
    if (cancelAfter !== undefined || endless) seen.calls[id] = { ...one, items: one.items?.every((value, i) => value === i) ?? true };
    // Troupe answers a stream that its client's Close ends, while other answers are still due.
    if (endless && leave?.how === 'goodbye') seen.calls[id] = { items: seen.calls[id].items };
    // Where calls run at the same time, a Close does not wait for those that are slow.
    if (leave?.how === 'goodbye' && scenario.hub === '/testhub' && method === 'Slow' && args[0] > 0 && leave.calls.some(call => call.id === id)) delete seen.calls[id];
  }
  // Bursts that run at the same time mix, but each is numbered in order.
  for (const [sender, numbers] of Object.entries(seen.messages)) if (sender.startsWith('bursts')) numbers.sort();
  seen.asked.sort();
  // What closes a WebSocket is told by its code. The other transports end by themselves, and a client that has left them does not see how.
  if (here || leave?.how === 'goodbye' || leave?.how === 'abort' || leave?.how === 'garbage' || ended === undefined) seen.ended = ended ?? 'not at all';
  // Servers have different words for the error that OnDisconnected is told.
  if (leave) seen.fate = fate?.replace(/^error.*/, 'error');
  return seen;
}

/**
 * Whether the original may lose calls of a client that goes in this way: when the transport ends it stops reading, and calls that it has
 * not read by then it does not execute, as time has it. Those that came in one it has read together. Troupe loses none.
 */
const mayLose = (leave, step) => leave && step >= leave.step && !leave.atOnce && ['stop', 'leave', 'drop'].includes(leave.how);

/**
 * The clients that have seen something else on the original than on the other server: number, and both views. alike tells that the other
 * server is the original, too.
 */
export function differences(scenario, original, other, alike) {
  const views = [view(scenario, original), view(scenario, other)];
  return views[0].flatMap((seen, who) => {
    const lasts = [seen, views[1][who]].map(({ last }) => last);
    const texts = [seen, views[1][who]].map(lines);
    const begins = (some = [], more = []) => some.every((text, i) => text === more[i]);
    const lost = [...new Set(lasts.flatMap(Object.keys))].every(sender => {
      const [theirs, ours] = lasts.map(last => last[sender]);
      return begins(theirs, ours) || (alike && begins(ours, theirs));
    });
    if (!lost) [seen, views[1][who]].forEach(({ last }, i) => texts[i].push(...senders(last)));
    return texts[0].join('\n') === texts[1].join('\n') ? [] : [{ who, texts }];
  });
}

const sorted = object => Object.entries(object).sort(([one], [other]) => (one < other ? -1 : 1));
const senders = messages => sorted(messages).flatMap(([sender, all]) => all.map(text => `from ${sender}: ${text}`));

/** A view in lines, in an order that does not depend on when something came. */
function lines({ messages, last, calls, ...rest }) {
  return [
    ...senders(messages),
    ...sorted(calls).map(([id, seen]) => `call ${id}: ${JSON.stringify(Object.fromEntries(sorted(seen)))}`),
    ...sorted(rest).map(([name, value]) => `${name}: ${JSON.stringify(value)}`),
  ];
}
