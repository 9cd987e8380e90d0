import static java.util.concurrent.TimeUnit.MILLISECONDS;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** What has arrived, in order. */
class Inbox<T> {
  private final String what;
  private final BlockingQueue<Optional<T>> items = new LinkedBlockingQueue<>();

  Inbox(String what) {
    this.what = what;
  }

  void add(T item) {
    items.add(Optional.ofNullable(item));
  }

  boolean isEmpty() {
    return items.isEmpty();
  }

  void clear() {
    items.clear();
  }

  T next() {
    try {
      Optional<T> item = items.poll(Client.DEADLINE, MILLISECONDS);
      if (item == null) throw new AssertionError(what + ": nothing has come");
      return item.orElse(null);
    } catch (InterruptedException error) {
      throw new AssertionError(error);
    }
  }

  List<T> take(int count) {
    List<T> taken = new ArrayList<>();
    while (taken.size() < count) taken.add(next());
    return taken;
  }

  /** Everything that came before mark. */
  List<T> upTo(T mark) {
    List<T> before = new ArrayList<>();
    for (T item; !Objects.equals(item = next(), mark);) before.add(item);
    return before;
  }
}
