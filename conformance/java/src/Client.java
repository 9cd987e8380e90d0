import static java.util.concurrent.TimeUnit.MILLISECONDS;

import com.microsoft.signalr.CompletionMessage;
import com.microsoft.signalr.GsonHubProtocol;
import com.microsoft.signalr.HttpHubConnectionBuilder;
import com.microsoft.signalr.HubConnection;
import com.microsoft.signalr.HubConnectionBuilder;
import com.microsoft.signalr.HubException;
import com.microsoft.signalr.HubMessage;
import com.microsoft.signalr.HubMessageType;
import com.microsoft.signalr.HubProtocol;
import com.microsoft.signalr.InvocationBinder;
import com.microsoft.signalr.TransportEnum;
import io.reactivex.rxjava3.core.Completable;
import io.reactivex.rxjava3.core.Observable;
import io.reactivex.rxjava3.core.Single;
import io.reactivex.rxjava3.schedulers.Schedulers;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.function.Consumer;
import okhttp3.Call;
import okhttp3.EventListener;
import okhttp3.Interceptor;
import okhttp3.Response;

/** A connection of the official client that remembers what reaches it. Nothing is waited for longer than a deadline. */
class Client {
  /** In milliseconds. It is less than the 90 s for which a poll waits: what has to end a poll is seen to do it. */
  static final long DEADLINE = 60_000;

  final HubConnection connection;
  /** Messages of the hub protocol that are not calls of the hub, nor pings. */
  final Inbox<HubMessage> answers = new Inbox<>("answer");
  /** What onClosed got. */
  final Inbox<Exception> closes = new Inbox<>("onClosed");
  final Inbox<String> messages;
  /** Over long polling, what the server has answered to polls. */
  final Inbox<String> fetched = new Inbox<>("answer to a poll");
  private final Posts posts = new Posts();

  Client(TransportEnum transport, String url, Consumer<HttpHubConnectionBuilder> options) {
    HttpHubConnectionBuilder builder = HubConnectionBuilder.create(url)
        .withTransport(transport)
        .withHubProtocol(new Remembering())
        .setHttpClientBuilderCallback(http -> http.eventListener(posts).addInterceptor(this::look));
    options.accept(builder);
    connection = builder.build();
    connection.onClosed(closes::add);
    messages = callback("Message", String.class);
  }

  <T> Inbox<T> callback(String name, Class<T> type) {
    Inbox<T> inbox = new Inbox<>(name);
    connection.on(name, inbox::add, type);
    return inbox;
  }

  Client start() {
    await("start", connection.start());
    return this;
  }

  void stop() {
    await("stop", connection.stop());
  }

  <T> T invoke(Class<T> type, String method, Object... arguments) {
    return get(connection.invoke(type, method, arguments));
  }

  /** What a method returned, be it null: then the client's own Single has no end. No other call may be under way. */
  <T> T invokeOrNull(Class<T> type, String method, Object... arguments) {
    answers.clear();
    connection.invoke(type, method, arguments).subscribe(result -> {}, error -> {});
    CompletionMessage completion = (CompletionMessage) answers.next();
    if (completion.getError() != null) throw new HubException(completion.getError());
    return type.cast(completion.getResult());
  }

  /** Waits for the end of a method; what it returns is not looked at. */
  void invoke(String method, Object... arguments) {
    await(method, connection.invoke(method, arguments));
  }

  void send(String method, Object... arguments) {
    connection.send(method, arguments);
  }

  <T> List<T> stream(Class<T> type, String method, Object... arguments) {
    return all(connection.stream(type, method, arguments));
  }

  String id() {
    return invoke(String.class, "Id");
  }

  /**
   * A stream to the hub. Over long polling the client posts its messages side by side, so that one can overtake another:
   * what has an order goes when all before it has been taken.
   */
  <T> Observable<T> upload(Observable<T> items) {
    return items.doOnNext(item -> posts.answered()).doOnComplete(posts::answered).doOnError(error -> posts.answered()).subscribeOn(Schedulers.io());
  }

  private Response look(Interceptor.Chain chain) throws IOException {
    Response response = chain.proceed(chain.request());
    if (chain.request().method().equals("GET") && response.code() == 200) {
      String body = response.peekBody(Long.MAX_VALUE).string();
      if (!body.isEmpty()) fetched.add(body);
    }
    return response;
  }

  static <T> T get(Single<T> result) {
    return result.timeout(DEADLINE, MILLISECONDS).blockingGet();
  }

  static <T> List<T> all(Observable<T> stream) {
    return get(stream.toList());
  }

  static void await(String what, Completable done) {
    if (!done.blockingAwait(DEADLINE, MILLISECONDS)) throw new AssertionError(what + ": not within " + DEADLINE + " ms");
  }

  /** JSON, with a look at what comes. */
  private class Remembering implements HubProtocol {
    private final HubProtocol json = new GsonHubProtocol();

    @Override
    public String getName() {
      return json.getName();
    }

    @Override
    public int getVersion() {
      return json.getVersion();
    }

    @Override
    public List<HubMessage> parseMessages(ByteBuffer payload, InvocationBinder binder) {
      List<HubMessage> parsed = json.parseMessages(payload, binder);
      for (HubMessage message : parsed) {
        HubMessageType type = message.getMessageType();
        if (type != HubMessageType.INVOCATION && type != HubMessageType.PING) answers.add(message);
      }
      return parsed;
    }

    @Override
    public ByteBuffer writeMessage(HubMessage message) {
      return json.writeMessage(message);
    }
  }

  /** Requests with a body that are under way. */
  private static class Posts extends EventListener {
    private int running;

    @Override
    public synchronized void callStart(Call call) {
      if (call.request().method().equals("POST")) running++;
    }

    @Override
    public synchronized void callEnd(Call call) {
      if (call.request().method().equals("POST")) running--;
      notifyAll();
    }

    @Override
    public void callFailed(Call call, IOException error) {
      callEnd(call);
    }

    synchronized void answered() {
      long until = System.currentTimeMillis() + DEADLINE;
      while (running > 0) {
        long left = until - System.currentTimeMillis();
        if (left <= 0) throw new AssertionError("a request is not answered");
        try {
          wait(left);
        } catch (InterruptedException error) {
          throw new AssertionError(error);
        }
      }
    }
  }
}
