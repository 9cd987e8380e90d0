import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.signalr.HubConnectionState;
import io.reactivex.rxjava3.core.Single;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

/** Who may connect, and who may call what. */
class AuthorizationTest extends AgainstServer {
  private static final String UNAUTHORIZED = "Failed to invoke 'AdminOnly' because user is unauthorized";

  private Client as(String path, String token) {
    return client(path, options -> options.withAccessTokenProvider(Single.just(token)));
  }

  @Test
  void aMethodForAdminsIsRefusedToOthers() {
    for (String token : new String[] {"", "alice", "alice:user", "alice:Admin", "alice:user:admin"}) {
      Client client = as("/testhub", token).start();
      assertFails(UNAUTHORIZED, () -> client.invoke(String.class, "AdminOnly"));
      assertFails(UNAUTHORIZED, () -> client.stream(String.class, "AdminOnly"));
      assertEquals("goes on", client.invoke(String.class, "Echo", "goes on"));
    }
  }

  @Test
  void aMethodForAdminsIsForAdmins() {
    assertEquals("ok", as("/testhub", "alice:admin").start().invoke(String.class, "AdminOnly"));
    assertEquals("ok", connect("/testhub?access_token=alice:admin").invoke(String.class, "AdminOnly"));
  }

  @Test
  void eachClientIsAllowedWhatItsTokenSays() {
    List<Client> clients = List.of(as("/testhub", "alice:admin").start(), as("/testhub", "alice:user").start());
    assertFails(UNAUTHORIZED, () -> clients.get(1).invoke(String.class, "AdminOnly"));
    assertEquals("ok", clients.get(0).invoke(String.class, "AdminOnly"));
  }

  @Test
  void aHubForUsersAloneHasNoClientWithoutAToken() {
    for (Client client : List.of(client("/authorizedhub", options -> {}), as("/authorizedhub", ""))) {
      RuntimeException error = assertThrows(RuntimeException.class, client::start);
      assertTrue(error.getMessage().contains("401"), error::toString);
      assertEquals(HubConnectionState.DISCONNECTED, client.connection.getConnectionState());
    }
  }

  @Test
  void aHubForUsersAloneIsForUsers() {
    Client client = as("/authorizedhub", "alice").start();
    assertEquals("alice", client.invoke(String.class, "UserId"));
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
  }

  @Test
  void aClientThatWasRefusedComesWithAToken() {
    AtomicReference<String> token = new AtomicReference<>("");
    Client client = client("/authorizedhub", options -> options.withAccessTokenProvider(Single.fromCallable(token::get)));
    assertThrows(RuntimeException.class, client::start);
    token.set("alice");
    assertEquals("alice", client.start().invoke(String.class, "UserId"));
  }

  @Test
  void aServiceIsNoParameterForClients() {
    Client client = connect();
    assertEquals("clock", client.invoke(String.class, "Service"));
    assertFails("Failed to invoke 'Service' due to an error on the server. Error: Invocation provides 1 argument(s) but target expects 0.",
        () -> client.invoke(String.class, "Service", "mine"));
  }
}
