// Package auth stands in for the checks behind Traefik's middlewares basicAuth and digestAuth, which are left out.
//
// Traefik takes them from a fork that is not on every Go module proxy. A route that asks for one lets nobody through
// and says why.
package auth

import "net/http"

const leftOut = "this Traefik is built without basicAuth and digestAuth"

// SecretProvider knows a user's secret.
type SecretProvider func(user, realm string) string

// BasicAuth lets nobody through.
type BasicAuth struct {
	Realm   string
	Secrets SecretProvider
}

// DigestAuth lets nobody through.
type DigestAuth struct{ BasicAuth }

// NewDigestAuthenticator makes one.
func NewDigestAuthenticator(realm string, secrets SecretProvider) *DigestAuth {
	return &DigestAuth{BasicAuth{Realm: realm, Secrets: secrets}}
}

// RequireAuth says that there are no checks.
func (*BasicAuth) RequireAuth(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, leftOut, http.StatusNotImplemented)
}

// RequireAuthStale says the same.
func (auth *DigestAuth) RequireAuthStale(w http.ResponseWriter, r *http.Request) {
	auth.RequireAuth(w, r)
}

// CheckAuth knows nobody.
func (*DigestAuth) CheckAuth(*http.Request) (string, *string) { return "", nil }

// CheckSecret knows no secret.
func CheckSecret(string, string) bool { return false }

// DigestAuthParams reads nothing.
func DigestAuthParams(string) map[string]string { return nil }
