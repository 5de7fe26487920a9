package main

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/net/ipv4"
	"golang.zx2c4.com/wireguard/conn"
)

func packet(size int, fill byte) []byte { return bytes.Repeat([]byte{fill}, size) }

func runsOf(bufs [][]byte) []ipv4.Message { return batches.Get().(*sendBatch).runs(bufs, nil) }

func TestPacketsOfEqualSizeTravelAsOneRun(t *testing.T) {
	bufs := [][]byte{packet(100, 1), packet(100, 2), packet(60, 3), packet(60, 4), packet(80, 5)}
	var shape []int
	for _, message := range runsOf(bufs) {
		shape = append(shape, len(message.Buffers))
		if (len(message.OOB) > 0) != (len(message.Buffers) > 1) {
			t.Errorf("control message of %d for %d packets", len(message.OOB), len(message.Buffers))
		}
	}
	if len(shape) != 3 || shape[0] != 3 || shape[1] != 1 || shape[2] != 1 {
		t.Errorf("got runs of %v", shape)
	}
}

func TestARunStaysWithinOneDatagramAndTheKernelsLimit(t *testing.T) {
	var large, many [][]byte
	for range 100 {
		large, many = append(large, packet(9000, 0)), append(many, packet(10, 0))
	}
	if got := len(runsOf(large)[0].Buffers); got != maxDatagram/9000 {
		t.Errorf("got %d large packets in a run", got)
	}
	if got := len(runsOf(many)[0].Buffers); got != maxSegments {
		t.Errorf("got %d small packets in a run", got)
	}
}

func open(t *testing.T, address string) (*bind, conn.ReceiveFunc, uint16) {
	t.Helper()
	socket := newBind(address)
	receivers, port, err := socket.Open(0)
	if err != nil {
		t.Skipf("no %s here: %v", address, err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket, receivers[0], port
}

func TestPacketsArriveWholeAndInOrderOnBothFamilies(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		sender, _, _ := open(t, address)
		_, receive, port := open(t, address)
		to, err := sender.ParseEndpoint(netip.AddrPortFrom(netip.MustParseAddr(address), port).String())
		if err != nil {
			t.Fatal(err)
		}
		var bufs [][]byte
		for number := range 128 {
			bufs = append(bufs, packet(1200+number%3, byte(number)))
		}
		if err := sender.Send(bufs, to); err != nil {
			t.Fatal(err)
		}
		into, sizes, from := make([][]byte, batchSize), make([]int, batchSize), make([]conn.Endpoint, batchSize)
		for i := range into {
			into[i] = make([]byte, 65535)
		}
		for got := 0; got < len(bufs); {
			count, err := receive(into, sizes, from)
			if err != nil {
				t.Fatal(err)
			}
			for i := range count {
				if !bytes.Equal(into[i][:sizes[i]], bufs[got]) {
					t.Fatalf("packet %d differs", got)
				}
				if from[i].DstIP().String() != address {
					t.Fatalf("came from %s", from[i].DstIP())
				}
				got++
			}
		}
	}
}
