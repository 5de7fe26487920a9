// Package tlsalpn01 names the protocol of challenges by TLS.
package tlsalpn01

import (
	"time"

	"github.com/go-acme/lego/v5/acme"
)

// ACMETLS1Protocol is RFC 8737's.
const ACMETLS1Protocol = "acme-tls/1"

// ChallengeOption changes nothing.
type ChallengeOption func()

// SetDelay is left out.
func SetDelay(time.Duration) ChallengeOption { return nil }

// ChallengeBlocks is left out.
func ChallengeBlocks(string, string) ([]byte, []byte, error) { return nil, nil, acme.ErrLeftOut }
