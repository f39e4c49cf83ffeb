package serve

import (
	"net/http"

	"github.com/coldframe/coldframe/profile"
)

// TenantHeader names the tenant of a request, as in Cortex, Mimir and Pyroscope.
const TenantHeader = "X-Scope-OrgID"

// Tenant says whose data a request is about: the tenant of its X-Scope-OrgID
// header, the default tenant without one, ErrInvalid for a malformed one.
func Tenant(r *http.Request) (profile.Tenant, error) {
	t, err := profile.ParseTenant(r.Header.Get(TenantHeader))
	if err != nil {
		return "", Field(TenantHeader, err)
	}
	return t, nil
}
