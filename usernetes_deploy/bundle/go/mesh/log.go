package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

const quiet = time.Minute

// newLogger writes errors, each kind at most once a minute: an unreachable peer must not fill the disk.
func newLogger(to io.Writer) *device.Logger {
	var mutex sync.Mutex
	written := map[string]time.Time{}
	skipped := map[string]int{}
	return &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf: func(format string, args ...any) {
			mutex.Lock()
			defer mutex.Unlock()
			now := time.Now()
			if last, seen := written[format]; seen && now.Sub(last) < quiet {
				skipped[format]++
				return
			}
			line := fmt.Sprintf(format, args...)
			if count := skipped[format]; count > 0 {
				line = fmt.Sprintf("%s (and %d more of this kind before)", line, count)
			}
			written[format], skipped[format] = now, 0
			fmt.Fprintf(to, "%s %s\n", now.Format(time.RFC3339), line)
		},
	}
}
