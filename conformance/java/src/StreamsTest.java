import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.signalr.CompletionMessage;
import com.microsoft.signalr.HubException;
import com.microsoft.signalr.HubMessage;
import com.microsoft.signalr.HubMessageType;
import io.reactivex.rxjava3.core.Observable;
import io.reactivex.rxjava3.core.Single;
import io.reactivex.rxjava3.disposables.Disposable;
import io.reactivex.rxjava3.subjects.UnicastSubject;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Streams to the client, to the hub, and both at once. */
class StreamsTest extends AgainstServer {
  private static List<Integer> upTo(int count) {
    return IntStream.range(0, count).boxed().toList();
  }

  @Test
  void fromTheServer() {
    assertEquals(List.of("a", "b", "c"), connect().stream(String.class, "Stream"));
  }

  @Test
  void anEmptyStream() {
    assertEquals(List.of(), connect().stream(Integer.class, "EmptyStream"));
  }

  @Test
  void inOrder() {
    assertEquals(upTo(1000), connect().stream(Integer.class, "Counter", 1000, 0));
  }

  @Test
  void severalAtOnce() {
    Client client = connect();
    List<Observable<Integer>> streams = upTo(5).stream().map(n -> client.connection.stream(Integer.class, "Counter", 20 * n, 1)).toList();
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
    for (int n : upTo(5)) assertEquals(upTo(20 * n), Client.all(streams.get(n)));
  }

  @Test
  void aStreamThatFails() {
    Client client = connect();
    assertFails("An unexpected error occurred invoking 'StreamThrowException' on the server. Error: boom",
        () -> client.stream(String.class, "StreamThrowException", "boom"));
  }

  @Test
  void whoDisposesOfAStreamEndsIt() {
    Client client = connect();
    Inbox<Integer> items = new Inbox<>("item");
    Disposable stream = client.connection.stream(Integer.class, "InfiniteStream").subscribe(items::add);
    assertEquals(upTo(3), items.take(3));
    stream.dispose();
    HubMessage end;
    do end = client.answers.next(); while (end.getMessageType() == HubMessageType.STREAM_ITEM);
    assertNull(((CompletionMessage) end).getError());
    assertEquals("cancelled", fateOf("infinite", client));
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
  }

  @Test
  void aStreamEndsWithItsConnection() {
    Client client = connect();
    Inbox<Throwable> errors = new Inbox<>("error");
    Inbox<Integer> items = new Inbox<>("item");
    // The server may end the stream before the client does.
    client.connection.stream(Integer.class, "InfiniteStream").subscribe(items::add, errors::add, () -> errors.add(null));
    assertEquals(0, items.next());
    client.stop();
    assertEnded(errors.next());
  }

  @Test
  void toTheServer() {
    Client client = connect();
    Observable<String> items = client.upload(Observable.just("a", "b", "c"));
    assertEquals("abc", client.invoke(String.class, "UploadStream", items));
  }

  @Test
  void anEmptyStreamToTheServer() {
    Client client = connect();
    assertEquals("", client.invoke(String.class, "UploadStream", client.upload(Observable.<String>empty())));
    assertEquals(42, client.invoke(Integer.class, "UploadSum", 42, client.upload(Observable.<Integer>empty())));
  }

  @Test
  void aStreamToTheServerBesideAnArgument() {
    Client client = connect();
    assertEquals(1000 + 4950, client.invoke(Integer.class, "UploadSum", 1000, client.upload(Observable.range(0, 100))));
  }

  @Test
  void severalToTheServerAtOnce() {
    Client client = connect();
    List<Single<Integer>> sums = upTo(5).stream()
        .map(n -> client.connection.invoke(Integer.class, "UploadSum", n, client.upload(Observable.range(0, 10 * n)))).toList();
    for (int n : upTo(5)) assertEquals(n + 10 * n * (10 * n - 1) / 2, Client.get(sums.get(n)));
  }

  @Test
  void aStreamToTheServerThatFails() {
    Client client = connect();
    Observable<String> items = Observable.just("a").concatWith(Observable.error(new IllegalStateException("boom")));
    assertFails("An unexpected error occurred invoking 'UploadStream' on the server. HubException: java.lang.IllegalStateException: boom",
        () -> client.invoke(String.class, "UploadStream", client.upload(items)));
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
  }

  @Test
  void anItemOfAnotherType() {
    Client client = connect();
    String text = assertThrows(HubException.class, () -> client.invoke(Integer.class, "UploadSum", 1, client.upload(Observable.just("a")))).getMessage();
    assertTrue(text.startsWith("An unexpected error occurred invoking 'UploadSum' on the server. HubException: Failed to bind Stream message. "), text);
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
  }

  @Test
  void thereAndBack() {
    Client client = connect();
    UnicastSubject<String> items = UnicastSubject.create();
    Inbox<String> echoes = new Inbox<>("echo");
    Inbox<String> ends = new Inbox<>("end of the stream");
    client.connection.stream(String.class, "StreamEcho", client.upload(items)).subscribe(echoes::add, error -> ends.add(error.getMessage()), () -> ends.add(null));
    for (int n : upTo(20)) {
      items.onNext("item " + n);
      assertEquals("echo:item " + n, echoes.next());
    }
    items.onComplete();
    assertNull(ends.next());
  }

  @Test
  void manyThereAndBack() {
    Client client = connect();
    Observable<String> items = client.upload(Observable.range(0, 200).map(n -> "item " + n));
    assertEquals(upTo(200).stream().map(n -> "echo:item " + n).toList(), client.stream(String.class, "StreamEcho", items));
  }
}
