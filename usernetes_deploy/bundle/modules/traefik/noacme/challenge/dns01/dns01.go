// Package dns01 names the options of challenges by DNS.
package dns01

import (
	"strings"
	"time"
)

// Options of a client.
type Options struct{ RecursiveNameservers []string }

// Client asks nobody.
type Client struct{}

// ChallengeOption changes nothing.
type ChallengeOption func()

// NewClient makes a client.
func NewClient(*Options) *Client { return &Client{} }

// SetDefaultClient is left out.
func SetDefaultClient(*Client) {}

// CondOptions is left out.
func CondOptions(bool, ...ChallengeOption) ChallengeOption { return nil }

// DisableAuthoritativeNssPropagationRequirement is left out.
func DisableAuthoritativeNssPropagationRequirement() ChallengeOption { return nil }

// DisableRecursiveNSsPropagationRequirement is left out.
func DisableRecursiveNSsPropagationRequirement() ChallengeOption { return nil }

// PropagationWait is left out.
func PropagationWait(time.Duration, bool) ChallengeOption { return nil }

// UnFqdn takes a name's closing dot away.
func UnFqdn(name string) string { return strings.TrimSuffix(name, ".") }
