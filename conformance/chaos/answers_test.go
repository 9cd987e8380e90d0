package chaos

import (
	"encoding/json"
	"fmt"
	"slices"
)

func (s *session) onCompletion(m *message) error {
	s.c.w.report.checked[checkAnswers].add()
	k := s.open[m.InvocationID]
	switch {
	case k != nil:
		delete(s.open, m.InvocationID)
	case len(s.waiting) > 0 && s.waiting[0].id == m.InvocationID:
		k, s.waiting = s.waiting[0], s.waiting[1:]
	default:
		next := "none"
		if len(s.waiting) > 0 {
			next = s.waiting[0].id
		}
		return fmt.Errorf("an answer has come to call %q, and the next one is to %s", m.InvocationID, next)
	}
	s.answered = max(s.answered, k.number)
	if err := s.checkAnswer(k, m); err != nil {
		return fmt.Errorf("call %d of %s: %w", k.number, k.method, err)
	}
	return nil
}

func (s *session) checkAnswer(k *call, m *message) error {
	if k.failure != "" {
		if m.Error == nil || *m.Error != k.failure {
			return fmt.Errorf("it has not failed as it has to: %+v", m)
		}
		return nil
	}
	// Streams end with the connection, and calls of the client fail then (docs/protocol.md, 6.5, 7.2, 10.1).
	if failure, ok := map[string]string{"Ask": gone, "Count": cutShort}[k.method]; ok && (s.closing || s.forced) && m.Error != nil && *m.Error == failure {
		return nil
	}
	if m.Error != nil {
		return fmt.Errorf("it has failed: %s", *m.Error)
	}
	switch k.method {
	case "Count":
		if k.got != k.items && !k.canceled || m.Result != nil {
			return fmt.Errorf("a stream ends behind %d items of %d, with the result %s", k.got, k.items, m.Result)
		}
		return nil
	case "Hello":
		answer, err := decode[greeting](m.Result)
		if s.id != "" && s.id != answer.ID {
			return fmt.Errorf("the id of the connection is %q, and it was negotiated as %q", answer.ID, s.id)
		}
		s.id, s.known = answer.ID, true
		if err != nil {
			return err
		}
		return s.view.onJoined(everyone, answer.From)
	case "Join":
		from, err := decode[[]int64](m.Result)
		if err != nil {
			return err
		}
		return s.view.onJoined(k.series, from)
	case "Leave":
		done, err := decode[[]int64](m.Result)
		if err != nil {
			return err
		}
		err = s.view.onDone(k.series, done)
		delete(s.view.in, k.series)
		return err
	case "List":
		return s.onList(m.Result)
	case "Sync":
		all, err := decode[[]sent](m.Result)
		if err == nil && len(all) != 1+len(s.view.groups(true)) {
			err = fmt.Errorf("the client is in %v, and gets %s", s.view.groups(true), m.Result)
		}
		for i := 0; i < len(all) && err == nil; i++ {
			err = s.view.onDone(all[i].Series, all[i].Done)
		}
		return err
	case "Tell":
		number, err := decode[int64](m.Result)
		if err != nil {
			return err
		}
		return s.view.onTold(s.id, k.series, number)
	}
	want := k.number
	if k.method == "Ask" {
		want *= 2
	}
	if string(m.Result) != fmt.Sprint(want) {
		return fmt.Errorf("the result is %s", m.Result)
	}
	return nil
}

func (s *session) onList(result json.RawMessage) error {
	s.c.w.report.checked[checkLists].add()
	names, err := decode[[]string](result)
	want := []string{}
	for _, series := range s.view.groups(true) {
		want = append(want, groupName(series))
	}
	slices.Sort(want)
	if err == nil && !slices.Equal(names, want) {
		err = fmt.Errorf("the connection is in groups %v, and should be in %v", names, want)
	}
	return err
}

func decode[T any](b json.RawMessage) (value T, err error) {
	if err = json.Unmarshal(b, &value); err != nil {
		err = fmt.Errorf("%w: %s", err, b)
	}
	return value, err
}
