// The same for the client of SignalR 2, which needs jQuery. Its connection keeps its groups when it reconnects.
for (const src of ['jquery.min.js', 'jquery.signalR.min.js']) {
  await new Promise((done, fail) => {
    const script = Object.assign(document.createElement('script'), { src, onload: done, onerror: () => fail(new Error(`${src} is not there: make demo fetches it`)) });
    document.head.append(script);
  });
}

const settled = deferred => new Promise((done, fail) => { deferred.then(done, fail); });

export function connect(hub, query, handlers) {
  const connection = jQuery.hubConnection('signalr', { useDefaultPath: false, qs: query });
  const proxy = connection.createHubProxy(hub);
  for (const [name, handler] of Object.entries(handlers)) proxy.on(name, handler);
  return {
    start: () => settled(connection.start()),
    invoke: (method, ...args) => settled(proxy.invoke(method, ...args)),
    onreconnecting: handler => { connection.reconnecting(handler); },
    onreconnected: handler => { connection.reconnected(handler); },
    onclose: handler => { connection.disconnected(handler); },
  };
}
