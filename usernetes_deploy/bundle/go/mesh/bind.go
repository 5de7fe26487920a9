package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	batchSize    = conn.IdealBatchSize // packets that move through WireGuard together
	maxSegments  = 64                  // of one send with UDP_SEGMENT, and of one receive with UDP_GRO
	maxDatagram  = 65535 - 20 - 8      // bytes of payload in one (super) datagram
	socketBuffer = 7 << 20             // bytes; the kernel cuts it to net.core.[rw]mem_max
	receiveBatch = batchSize / maxSegments
)

// bind is WireGuard's UDP socket on one address of the host. Unlike the library's own it listens on that address alone, on one
// port of one family, and hands runs of packets to the kernel (UDP_SEGMENT) as they lie, without copying them together.
type bind struct {
	address string
	socket  *net.UDPConn
	packets packetConn
	gso     atomic.Bool
	gro     bool
}

// packetConn is what ipv4.PacketConn and ipv6.PacketConn have in common.
type packetConn interface {
	ReadBatch([]ipv4.Message, int) (int, error)
	WriteBatch([]ipv4.Message, int) (int, error)
}

func newBind(address string) *bind { return &bind{address: address} }

func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	if b.socket != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	family := "udp4"
	if address, err := netip.ParseAddr(b.address); err == nil && address.Is6() {
		family = "udp6"
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
			_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
			b.gso.Store(err == nil)
			b.gro = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
		})
	}}
	listener, err := config.ListenPacket(context.Background(), family, net.JoinHostPort(b.address, strconv.Itoa(int(port))))
	if err != nil {
		return nil, 0, err
	}
	b.socket = listener.(*net.UDPConn)
	if family == "udp6" {
		b.packets = ipv6.NewPacketConn(b.socket)
	} else {
		b.packets = ipv4.NewPacketConn(b.socket)
	}
	bound := b.socket.LocalAddr().(*net.UDPAddr).Port
	return []conn.ReceiveFunc{b.receiver(b.packets)}, uint16(bound), nil
}

func (b *bind) Close() error {
	if b.socket == nil {
		return nil
	}
	err := b.socket.Close()
	b.socket, b.packets = nil, nil
	return err
}

func (b *bind) SetMark(uint32) error { return nil }

func (b *bind) BatchSize() int { return batchSize }

func (b *bind) ParseEndpoint(text string) (conn.Endpoint, error) {
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, err
	}
	return newEndpoint(address), nil
}

// receiver returns the function that WireGuard calls for the next packets. With UDP_GRO one message is a run of packets of
// equal size, which it takes apart.
func (b *bind) receiver(packets packetConn) conn.ReceiveFunc {
	messages := make([]ipv4.Message, receiveBatch)
	for i := range messages {
		messages[i].Buffers = [][]byte{make([]byte, 65535)}
		messages[i].OOB = make([]byte, unix.CmsgSpace(4))
	}
	// Nearly always the next packet comes from where the last came from: saves an allocation a packet.
	last := &endpoint{}
	return func(bufs [][]byte, sizes []int, endpoints []conn.Endpoint) (int, error) {
		for i := range messages {
			messages[i].OOB = messages[i].OOB[:cap(messages[i].OOB)]
		}
		received, err := packets.ReadBatch(messages, 0)
		if err != nil {
			return 0, err
		}
		count := 0
		for i := range messages[:received] {
			message := &messages[i]
			if from := message.Addr.(*net.UDPAddr).AddrPort(); from != last.AddrPort {
				last = newEndpoint(from)
			}
			data := message.Buffers[0][:message.N]
			step := segmentSize(message.OOB[:message.NN])
			if step <= 0 {
				step = len(data)
			}
			for len(data) > 0 && count < len(bufs) {
				size := min(step, len(data))
				copy(bufs[count], data[:size])
				sizes[count], endpoints[count] = size, last
				data = data[size:]
				count++
			}
		}
		return count, nil
	}
}

// Send sends the packets to one peer, in runs of equal size where the kernel can cut a run apart.
func (b *bind) Send(bufs [][]byte, to conn.Endpoint) error {
	packets := b.packets
	if packets == nil {
		return net.ErrClosed
	}
	destination := to.(*endpoint).udp
	batch := batches.Get().(*sendBatch)
	defer batch.release()
	if b.gso.Load() {
		err := writeAll(packets, batch.runs(bufs, destination))
		switch {
		case errors.Is(err, unix.EIO): // the interface cannot checksum what it would cut
			b.gso.Store(false)
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EMSGSIZE): // a packet above the path's MTU: let it be fragmented
		default:
			return err
		}
	}
	return writeAll(packets, batch.singles(bufs, destination))
}

func writeAll(packets packetConn, messages []ipv4.Message) error {
	for len(messages) > 0 {
		sent, err := packets.WriteBatch(messages, 0)
		if err != nil {
			return err
		}
		messages = messages[sent:]
	}
	return nil
}
