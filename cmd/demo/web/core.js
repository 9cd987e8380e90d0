// Connections of the client of ASP.NET Core SignalR.
const patiently = { nextRetryDelayInMilliseconds: () => 1000 };

export function connect(hub, query, handlers) {
  const path = `hubs/${hub}?${new URLSearchParams(query)}`;
  const connection = new signalR.HubConnectionBuilder().withUrl(path).withAutomaticReconnect(patiently).configureLogging(signalR.LogLevel.Error).build();
  for (const [name, handler] of Object.entries(handlers)) connection.on(name, handler);
  return connection;
}
