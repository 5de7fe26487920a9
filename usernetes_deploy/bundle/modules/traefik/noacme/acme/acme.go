// Package acme stands in for lego, Traefik's ACME client, so that Traefik builds without it.
//
// The real module is not on every Go module proxy, brings the clients of more than a hundred clouds, and asks
// certificates of authorities that a rootless cluster is rarely seen by. The types in this module are those which
// Traefik names; a certificate resolver of type acme says that it is left out.
package acme

import "errors"

// ErrLeftOut is what every call answers.
var ErrLeftOut = errors.New("this Traefik is built without ACME: keep certificates in Secrets, and name them in the Ingress")

// Account is an account's public part.
type Account struct{}

// ExtendedAccount is an account with its place.
type ExtendedAccount struct {
	Account

	Location string
}
