// Package log takes a logger, for nothing to be said.
package log

import "log/slog"

// SetDefault is left out.
func SetDefault(*slog.Logger) {}
