import static org.junit.jupiter.api.Assertions.assertEquals;

import com.microsoft.signalr.TransportEnum;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** What comes first. */
class OrderTest extends AgainstServer {
  private static final List<Integer> THOUSAND = IntStream.range(0, 1000).boxed().toList();

  @Test
  void aBurst() {
    Client client = connect();
    Inbox<Integer> numbers = client.callback("Number", Integer.class);
    client.invoke("Burst", 1000);
    assertEquals(THOUSAND, numbers.take(1000));
  }

  @Test
  void aBurstToEachOfSeveral() {
    List<Client> clients = connectAll(4);
    List<Inbox<Integer>> inboxes = clients.stream().map(client -> client.callback("Number", Integer.class)).toList();
    clients.forEach(client -> client.send("Burst", 1000));
    for (Inbox<Integer> numbers : inboxes) assertEquals(THOUSAND, numbers.take(1000));
  }

  @Test
  void sends() {
    Assumptions.assumeTrue(transport == TransportEnum.WEBSOCKETS, "over long polling the client posts its messages side by side");
    Client sender = connect("/bench");
    Client receiver = connect("/bench");
    Inbox<Integer> numbers = new Inbox<>("Receive");
    receiver.connection.on("Receive", (number, text) -> numbers.add(number), Integer.class, String.class);
    String id = receiver.id();
    for (int i : THOUSAND) sender.send("SendTo", id, i, "hello");
    assertEquals(THOUSAND, numbers.take(1000));
  }
}
