package main

import (
	"testing"
	"time"
)

func TestBulkTrafficGetsAllProcessorsAndCalmGivesThemBack(t *testing.T) {
	var chosen []int
	now := time.Unix(1000, 0)
	pace := &pacer{all: 8, set: func(count int) { chosen = append(chosen, count) }, began: now}
	feed := func(seconds float64, packetsPerMillisecond, size int) {
		for range int(seconds * 1000) {
			now = now.Add(time.Millisecond)
			pace.count(now, packetsPerMillisecond, packetsPerMillisecond*size)
		}
	}
	expect := func(what string, want ...int) {
		t.Helper()
		if len(chosen) != len(want) {
			t.Fatalf("%s: processors were set to %v, want %v", what, chosen, want)
		}
		for i := range want {
			if chosen[i] != want[i] {
				t.Fatalf("%s: processors were set to %v, want %v", what, chosen, want)
			}
		}
	}
	feed(1, 5, 100)
	expect("five small packets a millisecond")
	feed(0.02, 100, 1400)
	expect("bulk", 8)
	feed(1, 12, 1400)
	expect("between the two rates", 8)
	feed(1, 5, 100)
	expect("calm again", 8, 1)
	now = now.Add(time.Hour)
	feed(0.02, 40, 64)
	expect("many small packets after an hour's rest", 8, 1, 8)
}
