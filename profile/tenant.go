package profile

import "fmt"

// Tenant is who owns series. It is part of every key in the bucket, so it is
// made of letters, digits, '-', '_' and '.', 1 to 64 of them, and does not begin with '.'.
type Tenant string

// DefaultTenant owns what comes without a tenant.
const DefaultTenant Tenant = "default"

// ParseTenant checks a tenant's name. An empty string is the default tenant.
func ParseTenant(s string) (Tenant, error) {
	if s == "" {
		return DefaultTenant, nil
	}
	if len(s) > 64 {
		return "", fmt.Errorf("tenant %.70q: length %d not in [1, 64]: %w", s, len(s), ErrInvalid)
	}
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
		if !letter && (c != '.' || i == 0) {
			return "", fmt.Errorf("tenant %q: character %q is not allowed at %d: letters, digits, '-', '_' and '.' (not first) are: %w", s, c, i, ErrInvalid)
		}
	}
	return Tenant(s), nil
}
