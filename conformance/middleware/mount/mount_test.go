package mount

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"
)

// Each endpoint has two patterns: the path that was passed to Map, and the path of its negotiation.
func TestPatterns(t *testing.T) {
	sys := newSystem("/chat", "/rooms/Lobby")
	t.Cleanup(func() { shutdown(sys) })
	require.ElementsMatch(t, []string{"/chat", "/chat/negotiate", "/rooms/Lobby", "/rooms/Lobby/negotiate"}, sys.Patterns())
}

func TestNoPatterns(t *testing.T) {
	sys := newSystem()
	t.Cleanup(func() { shutdown(sys) })
	require.Empty(t, sys.Patterns())
}

// A hub may be mapped to the root, next to other handlers of an application.
func TestAHubAtTheRoot(t *testing.T) {
	sys := newSystem("/", "/chat")
	t.Cleanup(func() { shutdown(sys) })
	for name, mux := range map[string]interface {
		http.Handler
		Handle(string, http.Handler)
	}{"ServeMux": http.NewServeMux(), "chi": chi.NewRouter()} {
		t.Run(name, func(t *testing.T) {
			for _, pattern := range sys.Patterns() {
				mux.Handle(pattern, sys)
			}
			mux.Handle("/page", http.HandlerFunc(page))
			for _, path := range []string{"/negotiate", "/chat/negotiate"} {
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
				require.Equal(t, http.StatusOK, w.Code, path)
			}
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/page", nil))
			require.Equal(t, "a page", w.Body.String())
		})
	}
}
