import com.microsoft.signalr.TransportEnum;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/**
 * A member of the group TROUPE_GROUP, for a test in Node: it prints what it gets, and sends to the group as often as a call of "send" says. It is
 * a test for Maven because that knows the class path, and none of the suite, as its name tells: mvn -q -Dtest=GroupMember test.
 */
class GroupMember {
  @Test
  void member() {
    String group = System.getenv("TROUPE_GROUP");
    Client client = new Client(TransportEnum.WEBSOCKETS, System.getenv("TROUPE_URL") + "/classichub", options -> {});
    Inbox<String> got = client.callback("got", String.class);
    AtomicInteger sent = new AtomicInteger();
    client.connection.on("send", count -> {
      for (int i = 0; i < Integer.parseInt(count); i++) client.send("ToGroup", group, "java " + sent.getAndIncrement());
    }, String.class);
    client.start();
    client.invoke("Join", group);
    System.out.println("joined " + client.connection.getConnectionId());
    for (String text; !(text = got.next()).equals("the end");) System.out.println("got " + text);
    client.stop();
  }
}
