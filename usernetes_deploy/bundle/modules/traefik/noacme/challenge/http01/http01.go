// Package http01 names what challenges by HTTP are answered under.
package http01

import "time"

// PathPrefix is RFC 8555's.
const PathPrefix = "/.well-known/acme-challenge/"

// ChallengeOption changes nothing.
type ChallengeOption func()

// SetDelay is left out.
func SetDelay(time.Duration) ChallengeOption { return nil }
