// The original server as hubbench measures it: a hub, and a control port with the orders of conformance/testserver.
using System.Diagnostics;
using Microsoft.AspNetCore.SignalR;
using Microsoft.Extensions.Logging;

string Flag(string name) => args[Array.IndexOf(args, name) + 1];
var builder = WebApplication.CreateSlimBuilder();
builder.WebHost.UseUrls("http://" + Flag("-addr"), "http://" + Flag("-ctrl"));
builder.Logging.ClearProviders();
builder.WebHost.ConfigureKestrel(o => o.Limits.MaxConcurrentConnections = null);
builder.Services.AddSignalR();
var app = builder.Build();

// A slow client holds as many bytes as with the test server.
app.MapHub<BenchHub>("/bench", o => { o.ApplicationMaxBufferSize = 1 << 20; o.TransportMaxBufferSize = 1 << 20; });

app.MapGet("/pid", () => Environment.ProcessId.ToString());
app.MapGet("/gc", () =>
{
    for (var i = 0; i < 3; i++)
    {
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, true, true);
        GC.WaitForPendingFinalizers();
    }
    return "ok";
});
app.MapGet("/start", (IHubContext<BenchHub> hub, double rate, double dur) => Orders.Start(hub, rate, dur, 0, 0));
app.MapGet("/bench/start", Orders.Start);
app.MapPost("/bench/each", Orders.Each);
app.Run();

public class BenchHub : Hub
{
    public string Echo(string s) => s;
    public string Id() => Context.ConnectionId;
    public Task Join(string group) => Groups.AddToGroupAsync(Context.ConnectionId, group);
    public Task Leave(string group) => Groups.RemoveFromGroupAsync(Context.ConnectionId, group);

#pragma warning disable CS1998 // nothing has to be waited for
    public async IAsyncEnumerable<string> Stream(int n)
    {
        for (var i = 0; i < n; i++) yield return "hello^";
    }
}

public static class Orders
{
    // Start sends rate messages a second for dur milliseconds, or as many as it can if rate is 0: to everyone, or to one of the groups g0, g1 and
    // so on after the other. Where there are groups or bytes, messages are stamped with the time at which they are due.
    public static async Task<string> Start(IHubContext<BenchHub> hub, double rate, double dur, int bytes, int groups)
    {
        var text = "hello^ this is a broadcast message" + new string('x', bytes);
        var names = Enumerable.Range(0, groups).Select(i => "g" + i).ToArray();
        var start = (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100;
        var clock = Stopwatch.StartNew();
        for (long i = 0; clock.Elapsed.TotalMilliseconds <= dur; i++)
        {
            if (rate > 0)
            {
                var early = i * 1000 / rate - clock.Elapsed.TotalMilliseconds;
                if (early > 0) await Task.Delay(Math.Max(1, (int)early));
            }
            var to = groups > 0 ? hub.Clients.Group(names[i % groups]) : hub.Clients.All;
            var t = rate > 0 && groups + bytes > 0 ? start + (long)(i * 1e9 / rate) : (DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100;
            await to.SendAsync("Receive", new { t, user = "alice", text });
        }
        return "ok";
    }

    // Each sends messages to the connections whose ids are in the body, to one after the other, as many as it can.
    public static async Task<string> Each(IHubContext<BenchHub> hub, HttpRequest request, double dur, int bytes)
    {
        var ids = (await new StreamReader(request.Body).ReadToEndAsync()).Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var text = "^" + new string('x', bytes);
        var clock = Stopwatch.StartNew();
        var n = 0;
        for (; n % 16 > 0 || clock.Elapsed.TotalMilliseconds < dur; n++)
            await hub.Clients.Client(ids[n % ids.Length]).SendAsync("Receive", n, text);
        return n.ToString();
    }
}
