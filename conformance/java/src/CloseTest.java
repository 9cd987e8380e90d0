import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.Gson;
import com.google.gson.JsonObject;
import com.microsoft.signalr.HubConnectionState;
import com.microsoft.signalr.TransportEnum;
import io.reactivex.rxjava3.core.Completable;
import org.junit.jupiter.api.Test;

/** How connections end. */
class CloseTest extends AgainstServer {
  @Test
  void theServerAborts() {
    Client witness = connect();
    Client client = connect();
    String id = client.id();
    assertEnded(assertThrows(RuntimeException.class, () -> client.invoke("Abort")));
    assertEnded(client.closes.next());
    assertEquals(HubConnectionState.DISCONNECTED, client.connection.getConnectionState());
    assertEquals("closed", fateOf(id, witness));
  }

  @Test
  void theClientStops() {
    Client witness = connect();
    Client client = connect();
    String id = client.id();
    Completable pending = client.connection.invoke("Slow", 600_000);
    client.stop();
    assertEnded(client.closes.next());
    assertEnded(assertThrows(RuntimeException.class, () -> Client.await("Slow", pending)));
    assertEquals("closed", fateOf(id, witness));
  }

  @Test
  void theClientStopsWhileAPollWaits() {
    for (int i = 0; i < 10; i++) connect().stop(); // polls wait for longer than that may take
  }

  @Test
  void onConnectedFails() {
    Client client = client("/testhub?fail=1", options -> {});
    assertEquals("Connection closed with an error. Error: refused", turnedAway(client));
  }

  @Test
  void theHubCannotBeCreated() {
    Client client = client("/uncreatable", options -> {});
    String text = turnedAway(client);
    assertTrue(text.startsWith("Connection closed with an error. Error: "), text);
  }

  @Test
  void aMessageThatIsTooLarge() {
    Client witness = connect();
    Client client = connect();
    String id = client.id();
    client.send("Echo", "x".repeat(32_768));
    assertEquals("Connection closed with an error. Error: The maximum message size of 32768B was exceeded. "
        + "The message size can be configured in AddHubOptions.", errorOfClose(client));
    assertTrue(fateOf(id, witness).startsWith("error: "));
  }

  /**
   * The error with which the server turns a client away after the handshake. Where the client notices the end before it has done what
   * belongs to its start ("trying to connect", "sending handshake", "waiting for handshake"), that fails as well.
   */
  private String turnedAway(Client client) {
    try {
      client.start();
    } catch (RuntimeException error) {
      if (!String.valueOf(error.getMessage()).startsWith("Connection closed while ")) throw error;
    }
    return errorOfClose(client);
  }

  /** The error that the server gives in its Close. Over long polling the client can notice the end before it has read the Close. */
  private String errorOfClose(Client client) {
    Exception error = client.closes.next();
    assertEquals(HubConnectionState.DISCONNECTED, client.connection.getConnectionState());
    return transport == TransportEnum.WEBSOCKETS ? ours(error.getMessage()) : fetchedClose(client);
  }

  private String fetchedClose(Client client) {
    for (;;) {
      for (String message : client.fetched.next().split("\u001e")) {
        if (message.contains("\"type\":7")) return ours(new Gson().fromJson(message, JsonObject.class).get("error").getAsString());
      }
    }
  }
}
