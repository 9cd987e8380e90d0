const $ = id => document.getElementById(id);
const rooms = new Set(['lobby', 'random']);
let me, room, to, chat, node, people = [];

// What the connection is doing, for everybody to see.
function show(state) {
  $('state').hidden = false;
  $('state').textContent = $('state').dataset.state = state;
  for (const control of $('chat').querySelectorAll('input, button')) control.disabled = state !== 'connected';
}

// The same page for clients of both dialects: "?classic" takes that of SignalR 2.
const { connect } = await import(new URLSearchParams(location.search).has('classic') ? './classic.js' : './core.js').catch(error => {
  $('login').hidden = true; // it could not be answered
  show(error.message);
  throw error;
});

// The ticker needs no name. Until somebody enters, its connection is the one to see.
let ticker;
const stocks = connect('stocks', {}, { prices: showPrices });
function showStocks(state) {
  ticker = state;
  if (!chat) show(ticker);
}
stocks.onreconnecting(() => showStocks('reconnecting'));
stocks.onreconnected(() => showStocks('connected'));
stocks.onclose(() => showStocks('disconnected'));
stocks.start().then(() => showStocks('connected'), () => showStocks('disconnected'));

function showPrices(list) {
  $('stocks').replaceChildren(...list.map(({ symbol, price, change }) => {
    const item = document.createElement('li');
    const amount = document.createElement('b');
    amount.textContent = price.toFixed(2);
    const moved = document.createElement('span');
    moved.className = change < 0 ? 'down' : 'up';
    moved.textContent = `${change < 0 ? '▼' : '▲'} ${Math.abs(change).toFixed(2)} %`;
    item.append(`${symbol} `, amount, ' ', moved);
    return item;
  }));
}

$('login').addEventListener('submit', async event => {
  event.preventDefault();
  if (chat) return; // it connects already
  me = $('name').value.trim();
  room = $('first-room').value.trim();
  if (!me || !room) return;
  chat = connect('chat', { name: me }, {
    said: (where, line) => where === room && showLine(line),
    whispered: (other, line) => showLine(line, other),
    present: (where, list) => where === room && showPeople(list),
  });
  chat.onreconnecting(() => { show('reconnecting'); note('Connection lost, trying again …'); });
  chat.onreconnected(async () => { show('connected'); note('Connected again.'); await enter(room); }); // a new connection is in no group
  chat.onclose(() => show('disconnected'));
  show('connecting');
  try {
    await chat.start();
  } catch (error) {
    chat = undefined;
    show(ticker);
    return alert(error.message);
  }
  show('connected');
  $('login').hidden = true;
  $('chat').hidden = false;
  await enter(room);
});
$('login').querySelector('button').disabled = false; // before, the browser itself would send the form, and load the page anew

async function enter(name) {
  const before = room, lines = [...$('lines').children];
  room = name; // messages of the room can come before the answer
  if (name !== before) $('lines').replaceChildren();
  try {
    showNode(await chat.invoke('Enter', name));
  } catch (error) {
    if (room === name) {
      room = before;
      $('lines').replaceChildren(...lines);
    }
    return note(error.message);
  }
  rooms.add(name);
  $('title').textContent = `# ${room}`;
  showRooms();
  $('text').focus();
}

function showNode(name) {
  node = name;
  $('node').textContent = node && `on ${node}`;
  showPeople(people);
}

function showRooms() {
  fill($('rooms'), [...rooms].map(name => entry(name, name === room, () => enter(name))));
}

function showPeople(list) {
  people = list;
  fill($('people'), people.map(({ name, nodes }) => {
    const mine = name === me, elsewhere = nodes.filter(other => other !== node);
    return entry(mine ? `${name} (you)` : name, name === to, () => address(mine ? undefined : name), elsewhere.join(', '));
  }));
}

// A list is filled anew when somebody comes or goes. Who has got to an entry by keyboard stays there.
function fill(list, entries) {
  const focused = list.contains(document.activeElement) && document.activeElement.value;
  list.replaceChildren(...entries);
  [...list.querySelectorAll('button')].find(button => button.value === focused)?.focus();
}

function entry(text, current, click, more) {
  const item = document.createElement('li'), button = document.createElement('button');
  button.textContent = button.value = text;
  if (more) button.append(Object.assign(document.createElement('small'), { textContent: more }));
  button.setAttribute('aria-current', current);
  button.addEventListener('click', click);
  item.append(button);
  return item;
}

// Who the next message goes to: one person, or the room.
function address(name) {
  to = name;
  $('to').hidden = !to;
  $('to-name').textContent = to ?? '';
  $('text').focus();
}
$('to-all').addEventListener('click', () => address());

$('say').addEventListener('submit', async event => {
  event.preventDefault();
  const text = $('text').value.trim();
  if (!text) return;
  $('text').value = '';
  try {
    await (to ? chat.invoke('Whisper', to, text) : chat.invoke('Say', text));
  } catch (error) {
    $('text').value ||= text; // to send it once more
    note(error.message);
  }
});

$('new-room').addEventListener('submit', event => {
  event.preventDefault();
  const name = $('room-name').value.trim();
  $('room-name').value = '';
  if (name) enter(name);
});

function showLine({ from, text, at }, privatelyWith) {
  const head = document.createElement('small');
  head.textContent = `${privatelyWith ? (from === me ? `to ${privatelyWith}` : `${from}, privately`) : from} ${new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })}`;
  append([head, text], [from === me && 'mine', privatelyWith && 'private']);
}

function note(text) { append([text], ['note']); }

function append(content, classes) {
  const item = document.createElement('li');
  item.classList.add(...classes.filter(Boolean));
  item.append(...content);
  $('lines').append(item);
  while ($('lines').children.length > 500) $('lines').firstChild.remove();
  item.scrollIntoView({ block: 'end' });
}
