package main

import (
	"net"
	"sync"

	"golang.org/x/net/ipv4"
)

// sendBatch is the room for the messages of one send; it is used again and again, for sends are what this program does.
type sendBatch struct {
	messages []ipv4.Message
	controls [batchSize][controlSize]byte
}

var batches = sync.Pool{New: func() any { return &sendBatch{messages: make([]ipv4.Message, 0, batchSize)} }}

func (batch *sendBatch) release() {
	clear(batch.messages[:cap(batch.messages)])
	batches.Put(batch)
}

// singles makes one message of each packet.
func (batch *sendBatch) singles(bufs [][]byte, to net.Addr) []ipv4.Message {
	batch.messages = batch.messages[:0]
	for i := range bufs {
		batch.messages = append(batch.messages, ipv4.Message{Buffers: bufs[i : i+1], Addr: to})
	}
	return batch.messages
}

// runs makes one message of each run of packets of equal size; the last of a run may be shorter.
func (batch *sendBatch) runs(bufs [][]byte, to net.Addr) []ipv4.Message {
	batch.messages = batch.messages[:0]
	for start := 0; start < len(bufs); {
		size, total, end := len(bufs[start]), len(bufs[start]), start+1
		for end < len(bufs) && end-start < maxSegments && len(bufs[end]) <= size && total+len(bufs[end]) <= maxDatagram {
			total += len(bufs[end])
			end++
			if len(bufs[end-1]) < size {
				break
			}
		}
		message := ipv4.Message{Buffers: bufs[start:end], Addr: to}
		if end-start > 1 {
			message.OOB = putSegmentControl(batch.controls[len(batch.messages)%batchSize][:], uint16(size))
		}
		batch.messages = append(batch.messages, message)
		start = end
	}
	return batch.messages
}
