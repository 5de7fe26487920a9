// Package dns has no providers.
package dns

import (
	"github.com/go-acme/lego/v5/acme"
	"github.com/go-acme/lego/v5/challenge"
)

// NewDNSChallengeProviderByName is left out.
func NewDNSChallengeProviderByName(string) (challenge.Provider, error) { return nil, acme.ErrLeftOut }
