package serve

import (
	"errors"
	"net/http"

	"github.com/coldframe/coldframe/profile"
)

// TenantHeader names the tenant of a request, as in Cortex, Mimir and Pyroscope.
const TenantHeader = "X-Scope-OrgID"

// Tenant says whose data a request wants to read: that of its token, which must have the
// right to [Read]; without tokens in use the tenant of its X-Scope-OrgID header, and the
// default tenant without one. A malformed header is ErrInvalid. What a token may see of its
// tenant is said by [Access.Restrict].
func Tenant(r *http.Request) (profile.Tenant, error) { return tenantWith(r, Read) }

// WriteTenant says, as [Tenant] does, to whom a request wants to add; a token must have the
// right to [Write]. With which labels is said by [Access.Force].
func WriteTenant(r *http.Request) (profile.Tenant, error) { return tenantWith(r, Write) }

func tenantWith(r *http.Request, right Right) (profile.Tenant, error) {
	said := r.Header.Get(TenantHeader)
	named, err := profile.ParseTenant(said)
	if err != nil {
		return "", Field(TenantHeader, err)
	}
	a := AccessOf(r.Context())
	if a == nil {
		return named, nil
	}
	if err := a.Allow(right); err != nil {
		return "", err
	}
	if said != "" && named != a.Tenant {
		return "", &Error{Status: http.StatusForbidden, Code: "forbidden", Field: TenantHeader, Err: errors.New("the token is for another tenant; leave the header out")}
	}
	return a.Tenant, nil
}
