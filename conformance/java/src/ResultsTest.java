import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.signalr.HubException;
import io.reactivex.rxjava3.core.Single;
import io.reactivex.rxjava3.subjects.SingleSubject;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What clients answer to the hub. */
class ResultsTest extends AgainstServer {
  private static Client answering(Client client) {
    client.connection.onWithResult("Ask", question -> Single.just("answer to " + question), String.class);
    return client;
  }

  @Test
  void theCallerAnswers() {
    Client client = answering(connect());
    assertEquals("answer to one", client.invoke(String.class, "AskCaller", "one"));
    assertEquals("answer to two", client.invoke(String.class, "AskCaller", "two"));
  }

  @Test
  void anotherClientAnswers() {
    List<Client> clients = connectAll(2);
    String id = answering(clients.get(1)).id();
    assertEquals("answer to one", clients.get(0).invoke(String.class, "AskClient", id, "one"));
  }

  @Test
  void anAnswerThatTakesTime() {
    List<Client> clients = connectAll(2);
    Inbox<String> questions = new Inbox<>("question");
    SingleSubject<String> answer = SingleSubject.create();
    clients.get(1).connection.onWithResult("Ask", question -> {
      questions.add(question);
      return answer;
    }, String.class);
    Single<String> result = clients.get(0).connection.invoke(String.class, "AskClient", clients.get(1).id(), "one");
    assertEquals("one", questions.next());
    assertEquals("hello", clients.get(0).invoke(String.class, "Echo", "hello"));
    answer.onSuccess("at last");
    assertEquals("at last", Client.get(result));
  }

  @Test
  void anErrorAsAnAnswer() {
    Client client = connect();
    client.connection.onWithResult("Ask", question -> Single.error(new IllegalStateException("no " + question)), String.class);
    assertFails("An unexpected error occurred invoking 'AskCaller' on the server. HubException: no answer",
        () -> client.invoke(String.class, "AskCaller", "answer"));
  }

  @Test
  void anAnswerOfAnotherType() {
    Client client = connect();
    client.connection.onWithResult("Ask", question -> Single.just(List.of(1)), String.class);
    String text = assertThrows(HubException.class, () -> client.invoke(String.class, "AskCaller", "one")).getMessage();
    assertTrue(text.startsWith("An unexpected error occurred invoking 'AskCaller' on the server. HubException: Error trying to deserialize result to "), text);
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
  }

  @Test
  void nobodyAnswers() {
    Client client = connect();
    assertFails("An unexpected error occurred invoking 'AskCaller' on the server. HubException: Client failed to parse argument(s).",
        () -> client.invoke(String.class, "AskCaller", "one"));
  }

  @Test
  void aClientThatIsNotThere() {
    Client client = connect();
    assertFails("An unexpected error occurred invoking 'AskClient' on the server. Error: Connection 'nobody' does not exist.",
        () -> client.invoke(String.class, "AskClient", "nobody", "one"));
  }

  @Test
  void aClientThatGoes() {
    List<Client> clients = connectAll(2);
    Inbox<String> questions = new Inbox<>("question");
    clients.get(1).connection.onWithResult("Ask", question -> {
      questions.add(question);
      return Single.never();
    }, String.class);
    String id = clients.get(1).id();
    Single<String> result = clients.get(0).connection.invoke(String.class, "AskClient", id, "one");
    assertEquals("one", questions.next());
    clients.get(1).stop();
    assertFails("An unexpected error occurred invoking 'AskClient' on the server. Error: Connection '" + id + "' disconnected.",
        () -> Client.get(result));
  }
}
