package presence

import (
	"cmp"
	"context"
	"iter"
	"slices"
)

// Change is what has changed in a group.
type Change struct {
	Group        string
	Joined, Left []string // sorted
}

// Watch yields who is present in groups, or, if none are named, in all of them, and then who comes and goes, until ctx or
// the tracker ends. Each change is one of
// one group. Changes that have not been taken yet are merged.
func (t *Tracker) Watch(ctx context.Context, groups ...string) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		w := &watcher{groups: groups, changed: make(chan struct{}, 1), told: map[seat]struct{}{}, news: map[seat]struct{}{}}
		t.add(w)
		defer t.remove(w)
		for ctx.Err() == nil {
			for _, change := range t.take(w) {
				if ctx.Err() != nil || !yield(change) {
					return
				}
			}
			select {
			case <-w.changed:
			case <-ctx.Done():
			case <-t.ended:
				return
			}
		}
	}
}

// watcher is a Watch. The lock of the tracker guards it.
type watcher struct {
	groups  []string
	changed chan struct{}
	told    map[seat]struct{} // who was present when that was last told
	news    map[seat]struct{} // whose presence has changed since
}

// seat is a user in a group.
type seat struct{ group, user string }

func (t *Tracker) add(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers[w] = struct{}{}
	i := 0
	for group, users := range t.groups {
		for user := range users {
			w.set(seat{group, user}, true)
			t.giveWay(i)
			i++
		}
	}
}

func (t *Tracker) remove(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.watchers, w)
}

// notify tells all watchers. The lock is held, as in set.
func (t *Tracker) notify(group, user string, present bool) {
	for w := range t.watchers {
		w.set(seat{group, user}, present)
	}
}

func (w *watcher) set(s seat, present bool) {
	if len(w.groups) > 0 && !slices.Contains(w.groups, s.group) {
		return
	}
	if _, told := w.told[s]; told == present {
		delete(w.news, s)
		return
	}
	w.news[s] = struct{}{}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// take returns what a watcher has not been told.
func (t *Tracker) take(w *watcher) []Change {
	byGroup := map[string]*Change{}
	t.mu.Lock()
	news := w.news
	w.news = map[seat]struct{}{}
	i := 0
	for s := range news {
		t.giveWay(i)
		i++
		delete(w.news, s) // it may have changed since
		_, told := w.told[s]
		present := t.groups[s.group][s.user] != nil
		if present == told {
			continue
		}
		change := byGroup[s.group]
		if change == nil {
			change = &Change{Group: s.group}
			byGroup[s.group] = change
		}
		if present {
			w.told[s] = struct{}{}
			change.Joined = append(change.Joined, s.user)
		} else {
			delete(w.told, s)
			change.Left = append(change.Left, s.user)
		}
	}
	t.mu.Unlock()
	changes := make([]Change, 0, len(byGroup))
	for _, change := range byGroup {
		slices.Sort(change.Joined)
		slices.Sort(change.Left)
		changes = append(changes, *change)
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Group, b.Group) })
	return changes
}
