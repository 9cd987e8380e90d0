import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import com.microsoft.signalr.CompletionMessage;
import io.reactivex.rxjava3.core.Observable;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What hub methods take and return. */
class CallsTest extends AgainstServer {
  static class Complex {
    String string;
    int[] intArray;
    String byteArray;
    String guid;
    String dateTime;
  }

  static class CustomObject {
    String name;
    int value;

    CustomObject(String name, int value) {
      this.name = name;
      this.value = value;
    }
  }

  private static JsonElement json(Object value) {
    return new Gson().toJsonTree(value);
  }

  @Test
  void values() {
    Client client = connect();
    assertEquals("hello", client.invoke(String.class, "Echo", "hello"));
    assertEquals("", client.invoke(String.class, "Echo", ""));
    String odd = "é 漢字 😀 \"\\<>&\u0000\u001e\u2028";
    assertEquals(odd, client.invoke(String.class, "Echo", odd));
    assertEquals(-42, client.invoke(Integer.class, "Add", 2, -44));
    assertEquals(-42, client.invoke(int.class, "Add", 2, -44));
    assertEquals("clock", client.invoke(String.class, "Service"));
  }

  @Test
  void aMethodWithoutAResult() {
    Client client = connect();
    client.invoke("Nothing");
    assertNull(((CompletionMessage) client.answers.next()).getResult());
  }

  @Test
  void nothing() {
    Client client = connect();
    client.invoke("Null");
    assertNull(client.invokeOrNull(String.class, "Null"));
    assertNull(client.invokeOrNull(String.class, "Echo", (Object) null));
    assertNull(client.invokeOrNull(Complex.class, "EchoComplexObject", (Object) null));
  }

  @Test
  void anObjectFromTheServer() {
    Complex object = connect().invoke(Complex.class, "SendComplexObject");
    assertEquals(JsonParser.parseString("""
        {
          "string": "hello world",
          "intArray": [1, 2, 3],
          "byteArray": "AQID",
          "guid": "00010203-0405-0607-0706-050403020100",
          "dateTime": "2000-01-01T00:00:00Z"
        }"""), json(object));
  }

  @Test
  void anObjectThereAndBack() {
    Complex object = new Complex();
    object.string = "text";
    object.intArray = new int[] {1, -2, 3};
    object.byteArray = "+/8=";
    object.guid = "00010203-0405-0607-0706-050403020100";
    object.dateTime = "2002-03-04T05:06:07Z";
    assertEquals(json(object), json(connect().invoke(Complex.class, "EchoComplexObject", object)));
  }

  @Test
  void anObjectToACallback() {
    Client client = connect();
    Inbox<CustomObject> objects = client.callback("CustomObject", CustomObject.class);
    client.invoke("SendCustomObject", new CustomObject("Anna", 42));
    assertEquals(json(new CustomObject("Anna", 42)), json(objects.next()));
    client.invoke("SendCustomObject", (Object) null);
    assertNull(objects.next());
  }

  @Test
  void namesOfMethodsWithoutRegardToCase() {
    Client client = connect();
    assertEquals(client.id(), client.invoke(String.class, "ID"));
    assertEquals("hello", client.invoke(String.class, "eCHO", "hello"));
    assertEquals("renamed", client.invoke(String.class, "RENAMED"));
  }

  @Test
  void namesOfCallbacksAsTheHubSpellsThem() {
    Client client = connect();
    Inbox<String> otherwiseSpelt = client.callback("mESSAGE", String.class);
    client.invoke("InvokeWithString", "hello");
    client.invoke("ToCaller", "you");
    assertEquals(List.of("hello", "you"), client.messages.take(2));
    assertTrue(otherwiseSpelt.isEmpty());
  }

  @Test
  void sendDoesNotWaitForTheMethodAndGetsNoAnswer() {
    Client client = connect();
    client.send("ToCaller", "hello");
    client.send("Echo", "nobody hears this");
    assertEquals("hello", client.messages.next());
    assertEquals("answered", client.invoke(String.class, "Echo", "answered"));
    assertEquals("answered", ((CompletionMessage) client.answers.next()).getResult());
  }

  @Test
  void manyCallsAtOnce() {
    Client client = connect();
    List<String> texts = IntStream.range(0, 100).mapToObj(Integer::toString).toList();
    assertEquals(texts, Client.all(Observable.fromIterable(texts)
        .concatMapEager(text -> client.connection.invoke(String.class, "Echo", text).toObservable(), 100, 1)));
  }

  @Test
  void aLongText() {
    String text = "x".repeat(32_600);
    assertEquals(text, connect().invoke(String.class, "Echo", text));
  }
}
