package hubproto

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	timeType     = reflect.TypeFor[time.Time]()
	timeSpanType = reflect.TypeFor[TimeSpan]()
	durationType = reflect.TypeFor[time.Duration]()

	errDuration = errors.New("time.Duration is a number of nanoseconds, which no client means; take hubproto.TimeSpan, or a number of a unit that its name says")
)

// TimeSpan is a duration, which is a TimeSpan for clients in .NET. In JSON it is text such as "1.02:03:04.5000000" (days, hours, minutes,
// seconds and ticks of 100 ns), in MessagePack a number of ticks. Fractions of a tick are cut off. A TimeSpan of more than 292 years,
// which .NET can represent, is refused.
type TimeSpan time.Duration

const (
	tick       = 100 * time.Nanosecond
	day        = 24 * time.Hour
	tickDigits = 7 // of a second
)

// String returns the text in JSON, which is .NET's format "c".
func (s TimeSpan) String() string { return string(s.appendText(nil)) }

func (s TimeSpan) appendText(dst []byte) []byte {
	signed := int64(s) / int64(tick)
	if signed < 0 {
		dst = append(dst, '-')
	}
	ticks := uint64(max(signed, -signed))
	const second = uint64(time.Second / tick)
	if days := ticks / (86400 * second); days > 0 {
		dst = append(strconv.AppendUint(dst, days, 10), '.')
	}
	seconds := ticks / second % 86400
	dst = fmt.Appendf(dst, "%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	if fraction := ticks % second; fraction > 0 {
		dst = fmt.Appendf(dst, ".%07d", fraction)
	}
	return dst
}

// MarshalText writes .NET's format "c".
func (s TimeSpan) MarshalText() ([]byte, error) { return s.appendText(nil), nil }

// UnmarshalText reads what .NET's readers of JSON accept: [-]d, [-][d.]hh:mm and [-][d.]hh:mm:ss, which a fraction of up to 7 digits may
// follow.
func (s *TimeSpan) UnmarshalText(text []byte) error {
	span, ok := parseTimeSpan(string(text))
	if !ok {
		return fmt.Errorf("%q is no TimeSpan", text)
	}
	*s = span
	return nil
}

func parseTimeSpan(text string) (TimeSpan, bool) {
	rest, negative := strings.CutPrefix(text, "-")
	var days, fraction string
	parts := strings.Split(rest, ":")
	switch last := len(parts) - 1; last {
	case 0:
		days, parts = parts[0], nil
	case 1, 2:
		if d, hours, ok := strings.Cut(parts[0], "."); ok {
			if days, parts[0] = d, hours; days == "" {
				return 0, false
			}
		}
		if last == 1 {
			break
		}
		if seconds, f, ok := strings.Cut(parts[2], "."); ok {
			if parts[2], fraction = seconds, f; fraction == "" || len(fraction) > tickDigits {
				return 0, false
			}
			fraction += strings.Repeat("0", tickDigits-len(fraction))
		}
	default:
		return 0, false
	}
	var total uint64 // ticks; too few to overflow
	add := func(digits string, unit time.Duration, highest uint64) bool {
		n, ok := parseDigits(digits)
		total += n * uint64(unit/tick)
		return ok && n <= highest
	}
	ok := (days != "" || parts != nil) && (days == "" || add(days, day, uint64(math.MaxInt64/day)))
	for i, unit := range []time.Duration{time.Hour, time.Minute, time.Second}[:len(parts)] {
		ok = ok && add(parts[i], unit, []uint64{23, 59, 59}[i])
	}
	ok = ok && (fraction == "" || add(fraction, tick, math.MaxInt64))
	if !ok || total > uint64(math.MaxInt64/tick) {
		return 0, false
	}
	span := TimeSpan(total) * TimeSpan(tick)
	if negative {
		span = -span
	}
	return span, true
}

// parseDigits reads a number that has nothing but decimal digits.
func parseDigits(text string) (uint64, bool) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return n, err == nil
}

func spanOfTicks(ticks int64) (TimeSpan, error) {
	if ticks > math.MaxInt64/int64(tick) || ticks < math.MinInt64/int64(tick) {
		return 0, fmt.Errorf("%d ticks are more than a hubproto.TimeSpan holds", ticks)
	}
	return TimeSpan(ticks * int64(tick)), nil
}

func appendPackedSpan(dst []byte, s TimeSpan) []byte {
	return appendPackedInt(dst, int64(s)/int64(tick))
}

// maxOffset is the farthest from UTC that a time can be.
const maxOffset = 14 * 60

// parseTime reads what the reference's reader of JSON accepts: YYYY-MM-DD, then Thh:mm, then :ss, then a fraction of up to 16 digits. Z, ±hh:mm
// or ±hh may follow a time of day. Without it, the time is UTC.
func parseTime(text string) (time.Time, error) {
	s := timeScanner{rest: text}
	year, month, date := s.number("", 4), s.number("-", 2), s.number("-", 2)
	var hour, minute, second, nano, offset int
	if s.rest != "" {
		hour, minute = s.number("T", 2), s.number(":", 2)
		if strings.HasPrefix(s.rest, ":") {
			second = s.number(":", 2)
			if strings.HasPrefix(s.rest, ".") {
				nano = s.fraction()
			}
		}
		offset = s.offset()
	}
	t := time.Date(year, time.Month(month), date, hour, minute, second, nano, time.UTC)
	if s.bad || s.rest != "" || year == 0 || month < 1 || month > 12 || date < 1 || t.Day() != date || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, fmt.Errorf("%q is no time", text)
	}
	if offset != 0 {
		t = t.Add(-time.Duration(offset) * time.Minute)
		if y := t.Year(); y < 1 || y > 9999 {
			return time.Time{}, fmt.Errorf("%q is out of range", text)
		}
		t = t.In(time.FixedZone("", offset*60))
	}
	return t, nil
}

// timeScanner reads the parts of a time.
type timeScanner struct {
	rest string
	bad  bool
}

// number reads digits behind a separator.
func (s *timeScanner) number(separator string, digits int) int {
	rest, ok := strings.CutPrefix(s.rest, separator)
	if !ok || len(rest) < digits {
		s.bad = true
		return 0
	}
	n, ok := parseDigits(rest[:digits])
	s.rest, s.bad = rest[digits:], s.bad || !ok
	return int(n)
}

// fraction reads a point and 1 to 16 digits, and cuts them to nanoseconds.
func (s *timeScanner) fraction() (nano int) {
	n := 0
	for s.rest = s.rest[1:]; n < len(s.rest) && '0' <= s.rest[n] && s.rest[n] <= '9'; n++ {
		if n < 9 {
			nano = nano*10 + int(s.rest[n]-'0')
		}
	}
	for i := n; i < 9; i++ {
		nano *= 10
	}
	s.rest, s.bad = s.rest[n:], s.bad || n < 1 || n > 16
	return nano
}

// offset reads an offset from UTC in minutes, if there is one.
func (s *timeScanner) offset() int {
	if s.rest == "" || s.rest == "Z" {
		s.rest = ""
		return 0
	}
	sign := s.rest[:1]
	if sign != "+" && sign != "-" {
		s.bad = true
		return 0
	}
	hours, minutes := s.number(sign, 2), 0
	if s.rest != "" {
		minutes = s.number(":", 2)
	}
	offset := hours*60 + minutes
	s.bad = s.bad || minutes > 59 || offset > maxOffset
	if sign == "-" {
		return -offset
	}
	return offset
}

var holdsTimeCache sync.Map // reflect.Type → bool

// holdsTime reports whether a value that encoding/json decodes can contain a time.Time, except in types with unmarshalers.
func holdsTime(t reflect.Type) bool {
	switch t.Kind() { // kinds that need no cache
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64, reflect.Interface:
		return false
	}
	return holds(t, &holdsTimeCache, func(t reflect.Type) bool { return t == timeType })
}

// holds reports whether a value that encoding/json decodes can contain one of a type that is looked for, except in types with unmarshalers.
func holds(t reflect.Type, cache *sync.Map, is func(reflect.Type) bool) bool {
	if cached, ok := cache.Load(t); ok {
		return cached.(bool)
	}
	seen := map[reflect.Type]bool{}
	var find func(t reflect.Type) bool
	find = func(t reflect.Type) bool {
		if is(t) {
			return true
		}
		if seen[t] || readsItself(t) {
			return false
		}
		seen[t] = true
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			return find(t.Elem())
		case reflect.Struct:
			return slices.ContainsFunc(fieldsOf(t), func(f field) bool { return find(f.typ) })
		}
		return false
	}
	found := find(t)
	cache.Store(t, found)
	return found
}

func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(unmarshalerType) || p.Implements(textUnmarshalerType)
}

// withPlainTimes returns checked JSON in which all times are in the form that time.Time reads. raw is not changed.
func withPlainTimes(raw []byte, t reflect.Type) ([]byte, error) {
	p := plainTimes{raw: raw}
	if err := p.look(raw, t); err != nil || p.out == nil {
		return raw, err
	}
	return append(p.out, p.raw...), nil
}

// plainTimes copies JSON, and rewrites its times.
type plainTimes struct {
	raw []byte // not copied yet
	out []byte
}

func (p *plainTimes) look(value []byte, t reflect.Type) error {
	if !holdsTime(t) {
		return nil
	}
	switch {
	case t == timeType:
		if value[0] == '"' {
			return p.replace(value)
		}
	case t.Kind() == reflect.Pointer:
		return p.look(value, t.Elem())
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		if value[0] != '[' {
			return nil
		}
		elements := make([][]byte, splitElements(value, nil))
		splitElements(value, elements)
		if t.Kind() == reflect.Array {
			elements = elements[:min(len(elements), t.Len())] // encoding/json ignores the rest
		}
		for _, element := range elements {
			if err := p.look(element, t.Elem()); err != nil {
				return err
			}
		}
	default:
		return EachProperty(value, t, func(value []byte, of reflect.Type, _ bool) error { return p.look(value, of) })
	}
	return nil
}

// replace rewrites a time. value is part of p.raw.
func (p *plainTimes) replace(value []byte) error {
	text, ok := unescape(value[1 : len(value)-1])
	if !ok {
		return errSurrogate
	}
	at, err := parseTime(string(text))
	if err != nil {
		return err
	}
	start := cap(p.raw) - cap(value) // both are cut from the same array
	p.out = append(append(p.out, p.raw[:start]...), '"')
	p.out = append(at.AppendFormat(p.out, time.RFC3339Nano), '"')
	p.raw = p.raw[start+len(value):]
	return nil
}

// EachProperty calls do with the properties of an object that is decoded into a map or a struct, as parts of raw, and the type of each, and says
// whether its field has the option "string". raw is JSON. An error of do is returned behind the name of the property.
func EachProperty(raw []byte, t reflect.Type, do func(value []byte, of reflect.Type, quoted bool) error) error {
	if raw[0] != '{' {
		return nil
	}
	s := objectScanner{b: raw, i: 1, first: true}
	for s.next() {
		var element reflect.Type
		quoted := false
		if t.Kind() == reflect.Map {
			element = t.Elem()
		} else if f := fieldNamed(t, string(s.name())); f != nil {
			element, quoted = f.typ, f.quoted
		} else {
			continue
		}
		if err := do(s.value, element, quoted); err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	return nil
}
