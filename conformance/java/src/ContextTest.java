import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import com.microsoft.signalr.HubConnectionState;
import com.microsoft.signalr.TransportEnum;
import java.util.HashSet;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** What client and hub know of a connection. */
class ContextTest extends AgainstServer {
  @Test
  void theTransport() {
    String name = transport == TransportEnum.WEBSOCKETS ? "WebSockets" : "LongPolling";
    assertEquals(name, connect().invoke(String.class, "GetActiveTransportName"));
  }

  @Test
  void ids() {
    List<Client> clients = connectAll(3);
    List<String> ids = clients.stream().map(Client::id).toList();
    assertEquals(3, new HashSet<>(ids).size());
    assertEquals(ids, clients.stream().map(client -> client.connection.getConnectionId()).toList());
  }

  /** What is left of its old transport can make a client fail that starts again: of 800 one or two, with the original as well. */
  @Test
  void startAgain() {
    for (int left = 3; ; left--) {
      try {
        startAgain(connect());
        return;
      } catch (RuntimeException error) {
        if (left == 0) throw error;
      }
    }
  }

  private void startAgain(Client client) {
    assertEquals(HubConnectionState.CONNECTED, client.connection.getConnectionState());
    String before = client.id();
    client.stop();
    assertEquals(HubConnectionState.DISCONNECTED, client.connection.getConnectionState());
    assertEnded(client.closes.next());
    client.start();
    assertNotEquals(before, client.id());
    assertEquals("closed", fateOf(before, client));
  }

  @Test
  void withoutNegotiation() {
    Assumptions.assumeTrue(transport == TransportEnum.WEBSOCKETS, "long polling has to negotiate");
    Client client = connect("/testhub", options -> options.shouldSkipNegotiate(true));
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
  }

  @Test
  void theQuery() {
    Client client = connect("/testhub?Key=a%20value&two=1&two=2");
    assertEquals("a value", client.invoke(String.class, "Query", "key"));
    assertEquals("1,2", client.invoke(String.class, "Query", "two"));
    assertNull(client.invokeOrNull(String.class, "Query", "none"));
  }

  @Test
  void headers() {
    Client client = connect("/testhub", options -> options.withHeader("Content-Type", "text/x-test"));
    assertEquals("text/x-test", client.invoke(String.class, "GetContentTypeHeader"));
  }

  @Test
  void itemsLiveAsLongAsTheirConnection() {
    Client client = connect();
    for (int n = 1; n <= 3; n++) assertEquals(n, client.invoke(Integer.class, "Count"));
    assertEquals(1, connect().invoke(Integer.class, "Count"));
  }
}
