import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import io.reactivex.rxjava3.core.Single;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Messages from the hub to some of its clients, to groups and to users; and to nobody else. */
class AudiencesTest extends AgainstServer {
  private Client connectAs(String token) {
    return connect("/testhub", options -> options.withAccessTokenProvider(Single.just(token)));
  }

  @Test
  void callerOthersAndAll() {
    List<Client> clients = connectAll(3);
    clients.get(0).invoke("ToCaller", "caller");
    clients.get(0).invoke("ToOthers", "others");
    clients.get(0).invoke("ToAll", "all");
    assertEquals(List.of(List.of("caller", "all"), List.of("others", "all"), List.of("others", "all")), delivered(clients));
  }

  @Test
  void byId() {
    List<Client> clients = connectAll(3);
    List<String> ids = clients.stream().map(Client::id).toList();
    clients.get(0).invoke("ToClient", ids.get(1), "one");
    clients.get(0).invoke("ToClient", "nobody", "hello");
    clients.get(0).invoke("ToClients", List.of(ids.get(1), ids.get(2), "nobody", ids.get(1)), "some");
    clients.get(0).invoke("ToAllExcept", List.of(ids.get(1)), "except");
    assertEquals(List.of(List.of("except"), List.of("one", "some"), List.of("some", "except")), delivered(clients));
  }

  @Test
  void groups() {
    List<Client> clients = connectAll(4);
    String second = clients.get(1).id();
    clients.get(0).invoke("Join", "red");
    clients.get(1).invoke("Join", "red");
    clients.get(1).invoke("Join", "blue");
    clients.get(2).invoke("Join", "Red");
    clients.get(0).invoke("ToGroup", "red", "red");
    clients.get(0).invoke("ToGroup", "empty", "nobody");
    clients.get(0).invoke("ToGroups", List.of("red", "blue"), "each");
    clients.get(0).invoke("ToOthersInGroup", "red", "others");
    clients.get(2).invoke("ToGroupExcept", "red", List.of(second), "except");
    clients.get(1).invoke("Leave", "red");
    clients.get(0).invoke("ToGroup", "red", "after leaving");
    assertEquals(List.of(List.of("red", "each", "except", "after leaving"), List.of("red", "each", "each", "others"), List.of(), List.of()),
        delivered(clients));
  }

  @Test
  void aGroupForgetsWhoHasGone() {
    List<Client> clients = connectAll(2);
    clients.get(1).invoke("Join", "gone");
    String gone = clients.get(1).id();
    clients.get(1).stop();
    fateOf(gone, clients.get(0));
    clients.get(0).invoke("ToGroup", "gone", "hello");
    assertEquals(List.of(List.of(), List.of()), delivered(List.of(clients.get(0), connect())));
  }

  @Test
  void theTokenSaysWhoItIs() {
    assertEquals("alice", connectAs("alice").invoke(String.class, "UserId"));
    assertEquals("bob", connectAs("bob:admin").invoke(String.class, "UserId"));
    assertNull(connect().invokeOrNull(String.class, "UserId"));
  }

  @Test
  void aTokenThatIsRenewed() {
    AtomicInteger n = new AtomicInteger();
    Client client = connect("/testhub", options -> options.withAccessTokenProvider(Single.fromCallable(() -> "alice:" + n.incrementAndGet())));
    for (int i = 0; i < 5; i++) assertEquals("alice", client.invoke(String.class, "UserId"));
  }

  @Test
  void users() {
    List<Client> clients = Stream.of("alice", "alice", "Alice", "bob").map(this::connectAs).toList();
    clients.get(3).invoke("ToUser", "alice", "hello");
    clients.get(3).invoke("ToUser", "nobody", "hello");
    clients.get(0).invoke("ToUsers", List.of("bob", "alice"), "both");
    assertEquals(List.of(List.of("hello", "both"), List.of("hello", "both"), List.of(), List.of("both")), delivered(clients));
  }
}
