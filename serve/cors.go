package serve

import (
	"net/http"
	"slices"
	"strings"
)

// exposedHeaders are those of an answer that a page of another origin may read: how a
// gRPC-Web call ended, and what a query cost.
var exposedHeaders = strings.Join([]string{
	"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Retry-After", "Coldframe-Stats", "Content-Disposition",
}, ", ")

// allowOrigins lets pages of these origins call us, "*" all of them. Cookies are not
// looked at anywhere, so credentials are not allowed either.
func allowOrigins(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next
	}
	all := slices.Contains(origins, "*")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !all && !slices.Contains(origins, origin) {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", exposedHeaders)
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		h.Add("Vary", "Access-Control-Request-Headers")
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
		h.Set("Access-Control-Max-Age", "7200") // browsers keep it no longer
		w.WriteHeader(http.StatusNoContent)
	})
}
