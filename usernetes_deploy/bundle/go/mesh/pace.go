package main

import (
	"runtime"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/tun"
)

// On one processor a packet goes from goroutine to goroutine without a thread to be woken, which takes a quarter off its
// round trip; bulk data wants them all. Between the two rates nothing changes, so that the pace does not flutter.
const (
	packetWeight = 2000 // bytes that cost as much as a packet does by itself
	bulkRate     = 60e6 // weighted bytes a second: about a quarter of what one processor moves
	calmRate     = 20e6
	bulkWindow   = 5 * time.Millisecond
	calmWindow   = 200 * time.Millisecond
)

// pacer chooses the number of processors by the traffic it is told of.
type pacer struct {
	all   int       // processors for bulk traffic
	set   func(int) // stops the world for some microseconds, so it is called on changes only
	mutex sync.Mutex
	began time.Time
	moved int
	bulk  bool
}

func newPacer() *pacer {
	pace := &pacer{all: runtime.GOMAXPROCS(0), set: func(count int) { runtime.GOMAXPROCS(count) }}
	pace.set(1)
	return pace
}

// count adds packets that went through, `bytes` in all.
func (pace *pacer) count(now time.Time, packets, bytes int) {
	pace.mutex.Lock()
	defer pace.mutex.Unlock()
	pace.moved += bytes + packets*packetWeight
	window, processors := bulkWindow, pace.all
	if pace.bulk {
		window, processors = calmWindow, 1
	}
	passed := now.Sub(pace.began)
	if passed < window {
		return
	}
	rate := float64(pace.moved) / passed.Seconds()
	pace.began, pace.moved = now, 0
	if (pace.bulk && rate < calmRate) || (!pace.bulk && rate > bulkRate) {
		pace.bulk = !pace.bulk
		pace.set(processors)
	}
}

// paced tells the pacer of all that goes through the interface.
type paced struct {
	tun.Device
	pace *pacer
}

func (device paced) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	count, err := device.Device.Read(bufs, sizes, offset)
	bytes := 0
	for _, size := range sizes[:count] {
		bytes += size
	}
	device.pace.count(time.Now(), count, bytes)
	return count, err
}

func (device paced) Write(bufs [][]byte, offset int) (int, error) {
	bytes := 0
	for _, buf := range bufs {
		bytes += len(buf) - offset
	}
	device.pace.count(time.Now(), len(bufs), bytes)
	return device.Device.Write(bufs, offset)
}
