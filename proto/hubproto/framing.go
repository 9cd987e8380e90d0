package hubproto

import (
	"bytes"
	"fmt"
)

// TooLargeError says that a peer's message exceeds the limit for one message. Its text is the reference's; here the option is
// HubOptions.MaximumReceiveMessageSize.
type TooLargeError struct {
	Limit int // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("The maximum message size of %dB was exceeded. The message size can be configured in AddHubOptions.", e.Limit)
}

// nextSeparated returns the end of the first record that ends with a separator, which is not among the bytes that have been searched already.
func nextSeparated(buf []byte, searched, limit int) (int, error) {
	window := buf
	if limit > 0 && len(window) > limit {
		window = window[:limit]
	}
	searched = min(searched, len(window))
	if i := bytes.IndexByte(window[searched:], separator); i >= 0 {
		return searched + i + 1, nil
	}
	if limit > 0 && len(buf) >= limit {
		return 0, &TooLargeError{Limit: limit}
	}
	return 0, nil
}
