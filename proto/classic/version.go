package classic

import (
	"strconv"
	"strings"
)

// Version is a version of the protocol, such as 1.5.
type Version struct {
	text         string
	major, minor int
}

// The versions that make a difference.
var (
	oldest       = Version{"1.2", 1, 2}
	newest       = Version{"2.0", 2, 0}
	DelayedStart = Version{"1.4", 1, 4} // clients of this version call /start, which runs OnConnected
)

// ParseVersion reads clientProtocol. What is no version is taken for the oldest one, and what is beyond the oldest or the newest for that.
func ParseVersion(text string) Version {
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > 4 {
		return oldest
	}
	numbers := make([]int, len(parts))
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || len(part) > 9 {
			return oldest
		}
		numbers[i] = n
	}
	v := Version{text, numbers[0], numbers[1]}
	switch {
	case v.Before(oldest):
		return oldest
	case newest.Before(v) || v.major == newest.major && v.minor == newest.minor:
		return newest
	}
	return v
}

// Before reports whether v is older than other.
func (v Version) Before(other Version) bool {
	return v.major < other.major || v.major == other.major && v.minor < other.minor
}

func (v Version) String() string { return v.text }
