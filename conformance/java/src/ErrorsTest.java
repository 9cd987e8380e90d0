import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** What a client is told when a call fails. */
class ErrorsTest extends AgainstServer {
  @Test
  void anErrorOfTheMethod() {
    Client client = connect();
    String text = "An unexpected error occurred invoking 'ThrowException' on the server. Error: boom";
    assertFails(text, () -> client.invoke(String.class, "ThrowException", "boom"));
    assertFails(text, () -> client.invoke("tHROWeXCEPTION", "boom"));
  }

  @Test
  void hubException() {
    Client client = connect();
    assertFails("An unexpected error occurred invoking 'ThrowHubException' on the server. HubException: é \"quoted\"",
        () -> client.invoke("ThrowHubException", "é \"quoted\""));
  }

  @Test
  void unknownMethods() {
    Client client = connect();
    for (String name : new String[] {"nOsUCH", "Original", "OnConnected", "Clients"}) {
      assertFails("Failed to invoke '" + name + "' due to an error on the server. HubException: Method does not exist.",
          () -> client.invoke(name, 1));
    }
  }

  @Test
  void wrongNumberOfArguments() {
    Client client = connect();
    String text = "Failed to invoke 'Add' due to an error on the server. Error: Invocation provides %d argument(s) but target expects 2.";
    assertFails(text.formatted(0), () -> client.invoke(Integer.class, "Add"));
    assertFails(text.formatted(1), () -> client.invoke(Integer.class, "Add", 1));
    assertFails(text.formatted(3), () -> client.invoke(Integer.class, "aDD", 1, 2, 3));
  }

  @Test
  void argumentsOfOtherTypes() {
    Client client = connect();
    for (Object argument : new Object[] {"1", 1.5, null, true, new int[] {1}, 1L << 31}) {
      assertFails("Failed to invoke 'Add' due to an error on the server. Error: Error binding arguments. "
          + "Make sure that the types of the provided values match the types of the hub method being invoked.",
          () -> client.invoke(Integer.class, "Add", argument, 2));
    }
  }

  @Test
  void aStreamThatIsCalledAndACallThatIsStreamed() {
    Client client = connect();
    assertFails("The client attempted to invoke the streaming 'Stream' method with a non-streaming invocation.",
        () -> client.invoke("Stream"));
    assertFails("The client attempted to invoke the non-streaming 'Echo' method with a streaming invocation.",
        () -> client.stream(String.class, "Echo", "hello"));
  }

  @Test
  void theConnectionGoesOn() {
    Client client = connect();
    assertFails("An unexpected error occurred invoking 'ThrowException' on the server. Error: boom",
        () -> client.invoke("ThrowException", "boom"));
    client.send("ThrowException", "boom");
    client.send("nOsUCH");
    client.send("Add", 1);
    assertEquals("still there", client.invoke(String.class, "Echo", "still there"));
    assertTrue(client.closes.isEmpty());
  }
}
