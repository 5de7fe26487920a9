// Package ext is what Traefik's dynamic configuration is extended by: here, as in its own sources, by nothing.
package ext

// HTTP adds nothing.
type HTTP struct{}

// Router adds nothing.
type Router struct{}
