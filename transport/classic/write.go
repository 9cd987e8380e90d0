package classic

import (
	"net/http"
	"time"
)

// writeChunk bounds what is written at once, so that a slow client is seen to move.
const writeChunk = 4 << 10

// write writes a part of a response. It fails if the client takes nothing for SendTimeout.
func (e *Endpoint) write(w http.ResponseWriter, b []byte) error {
	for len(b) > 0 {
		e.limitWriting(w)
		n, err := w.Write(b[:min(len(b), writeChunk)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// limitWriting limits how long what is written next may take, or, when the response ends, what net/http has not written yet.
func (e *Endpoint) limitWriting(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(e.SendTimeout))
}
