package main

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coldframe/coldframe/profile"
	"github.com/coldframe/coldframe/query/cluster"
	"github.com/coldframe/coldframe/serve"
)

// Whoever may ask sees who the members are; where they are is for those who may see the process itself.
func TestMembersAreNamedAndNotLocated(t *testing.T) {
	one := cluster.Member{Name: "q-0", Address: "10.0.0.7:7946", URL: "http://10.0.0.7:7070", Weight: 1, Version: 1, Self: true, Refused: `"ftp://10.0.0.7" is not where an API is reached`}
	members := []cluster.Member{one}
	handler := listMembers(func() []cluster.Member { return members })
	for name, c := range map[string]struct {
		access  *serve.Access
		located bool
	}{
		"no tokens in use":         {nil, true},
		"a token that operates":    {&serve.Access{Tenant: profile.DefaultTenant, Rights: []serve.Right{serve.Read, serve.Operate}}, true},
		"a token that reads":       {&serve.Access{Tenant: "team-a", Rights: []serve.Right{serve.Read}}, false},
		"a token that sees a part": {&serve.Access{Tenant: "team-a", Rights: []serve.Right{serve.Read}, Matchers: []*profile.Matcher{{Name: "env", Value: "prod"}}}, false},
	} {
		r := httptest.NewRequestWithContext(serve.WithAccess(t.Context(), c.access), "GET", "/api/v1/cluster", nil)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		body := w.Body.String()
		if !strings.Contains(body, "q-0") || strings.Contains(body, "10.0.0.7") != c.located {
			t.Errorf("%s: %s", name, body)
		}
	}
	if !slices.Equal(members, []cluster.Member{one}) {
		t.Errorf("the cluster's own members changed: %+v", members)
	}
}
