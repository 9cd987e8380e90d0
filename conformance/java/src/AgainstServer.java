import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.microsoft.signalr.HubException;
import com.microsoft.signalr.HttpHubConnectionBuilder;
import com.microsoft.signalr.TransportEnum;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.Parameter;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Tests against the server at TROUPE_URL, which is a property of Java or a variable of the environment, over each transport that the client
 * has: [1] in reports is WebSockets, [2] long polling.
 */
@ParameterizedClass(name = "{0}")
@EnumSource(names = {"WEBSOCKETS", "LONG_POLLING"})
abstract class AgainstServer {
  private static final String URL = System.getProperty("TROUPE_URL", System.getenv("TROUPE_URL"));

  @Parameter TransportEnum transport;

  private final List<Client> clients = new ArrayList<>();

  @AfterEach
  void stopClients() {
    clients.forEach(Client::stop);
  }

  /** A client that is not started yet. */
  Client client(String path, Consumer<HttpHubConnectionBuilder> options) {
    if (URL == null) throw new IllegalStateException("TROUPE_URL names no server");
    Client client = new Client(transport, URL + path, options);
    clients.add(client);
    return client;
  }

  /** A client that is connected until the end of the test. */
  Client connect(String path, Consumer<HttpHubConnectionBuilder> options) {
    return client(path, options).start();
  }

  Client connect(String path) {
    return connect(path, options -> {});
  }

  Client connect() {
    return connect("/testhub");
  }

  List<Client> connectAll(int count) {
    return Stream.generate(this::connect).limit(count).toList();
  }

  /** The messages that each client was sent by what the first one has called. A last one to everybody shows that no more will come. */
  static List<List<String>> delivered(List<Client> clients) {
    clients.get(0).invoke("ToAll", "the end");
    return clients.stream().map(client -> client.messages.upTo("the end")).toList();
  }

  /**
   * Without an error, that is for the client how a connection, or a call on it, has ended. But over long polling the client can send a poll
   * behind its own DELETE, and takes the 404 for an error.
   */
  void assertEnded(Throwable error) {
    if (error == null || error instanceof CancellationException) return;
    assertEquals(TransportEnum.LONG_POLLING, transport, error::toString);
    assertEquals("Unexpected response code 404.", error.getMessage());
  }

  /** How a connection has ended for the hub. */
  static String fateOf(String id, Client witness) {
    long until = System.currentTimeMillis() + Client.DEADLINE;
    while (System.currentTimeMillis() < until) {
      String fate = witness.invokeOrNull(String.class, "Fate", id);
      if (fate != null) return fate;
    }
    throw new AssertionError(id + " does not end");
  }

  /** The text of an error. Where the original names a type of exception, Troupe says "Error". */
  static String ours(String error) {
    return error.replaceAll("(?<![.\\w])(?!HubException\\b)[A-Z]\\w*Exception: ", "Error: ");
  }

  static void assertFails(String text, Executable call) {
    assertEquals(text, ours(assertThrows(HubException.class, call).getMessage()));
  }
}
