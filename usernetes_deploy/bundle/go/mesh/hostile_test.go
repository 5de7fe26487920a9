package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// node is one end of a real tunnel over loopback.
type node struct {
	tun     *tuntest.ChannelTUN
	device  *device.Device
	public  string
	private string
	address netip.Addr
	port    string
}

func newNode(t *testing.T, address string) *node {
	t.Helper()
	private := make([]byte, 32)
	if _, err := rand.Read(private); err != nil {
		t.Fatal(err)
	}
	public, err := curve25519.X25519(private, curve25519.Basepoint)
	if err != nil {
		t.Fatal(err)
	}
	one := &node{
		tun:     tuntest.NewChannelTUN(),
		public:  base64.StdEncoding.EncodeToString(public),
		private: base64.StdEncoding.EncodeToString(private),
		address: netip.MustParseAddr(address),
	}
	one.device = device.NewDevice(one.tun.TUN(), newBind("127.0.0.1"), newLogger(t.Output()))
	t.Cleanup(one.device.Close)
	one.device.DisableSomeRoamingForBrokenMobileSemantics()
	one.set(t)
	if err := one.device.Up(); err != nil {
		t.Fatal(err)
	}
	if one.port, err = listenPort(one.device); err != nil {
		t.Fatal(err)
	}
	return one
}

func (n *node) set(t *testing.T, peers ...Peer) {
	t.Helper()
	config := Config{Interface: "wg0", MTU: 1420, PrivateKey: n.private, Peers: peers}
	settings, err := config.uapi()
	if err == nil {
		err = n.device.IpcSet(strings.Replace(settings, "listen_port=0\n", "", 1))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) peer(other *node) Peer {
	return Peer{PublicKey: other.public, Endpoint: "127.0.0.1:" + other.port, AllowedIPs: []string{other.address.String() + "/32"}}
}

// sends tells whether a packet from n arrives at other within the time.
func (n *node) sends(other *node, wait time.Duration) bool {
	n.tun.Outbound <- tuntest.Ping(other.address, n.address)
	select {
	case got := <-other.tun.Inbound:
		return bytes.Equal(got, tuntest.Ping(other.address, n.address))
	case <-time.After(wait):
		return false
	}
}

func pair(t *testing.T) (*node, *node) {
	t.Helper()
	a, b := newNode(t, "10.64.0.1"), newNode(t, "10.64.0.2")
	a.set(t, a.peer(b))
	b.set(t, b.peer(a))
	if !a.sends(b, 5*time.Second) || !b.sends(a, 5*time.Second) {
		t.Fatal("the tunnel does not carry packets")
	}
	return a, b
}

func TestAStrangersKeyGetsNothingThrough(t *testing.T) {
	a, _ := pair(t)
	stranger := newNode(t, "10.64.0.2")
	stranger.set(t, stranger.peer(a))
	if stranger.sends(a, 500*time.Millisecond) {
		t.Error("a packet under an unknown key was delivered")
	}
}

func TestAPeerCannotSpeakForAnothersAddress(t *testing.T) {
	a, b := pair(t)
	b.tun.Outbound <- tuntest.Ping(a.address, netip.MustParseAddr("10.64.0.99"))
	select {
	case got := <-a.tun.Inbound:
		t.Errorf("delivered %x", got)
	case <-time.After(300 * time.Millisecond):
	}
}

func TestGarbageAndFloodsDoNotStopThePeers(t *testing.T) {
	a, b := pair(t)
	attacker, err := net.Dial("udp4", "127.0.0.1:"+a.port)
	if err != nil {
		t.Fatal(err)
	}
	defer attacker.Close()
	stop := make(chan struct{})
	done := make(chan int)
	go func() {
		packet, count := make([]byte, 148), 0
		for ; ; count++ {
			select {
			case <-stop:
				done <- count
				return
			default:
			}
			_, _ = rand.Read(packet)
			// By turns: a handshake, its answer, a cookie, data for a guessed session, and nothing known.
			binary.LittleEndian.PutUint32(packet, uint32(count%6))
			_, _ = attacker.Write(packet[:20+count%129])
		}
	}()
	sent, lost := 0, 0
	for began := time.Now(); time.Since(began) < time.Second; {
		sent++
		if !a.sends(b, 100*time.Millisecond) || !b.sends(a, 100*time.Millisecond) {
			lost++
		}
	}
	close(stop)
	// A flood faster than we read overflows the socket's buffer, as any congestion does: a few are lost, none hangs.
	if count := <-done; lost*10 > sent || sent < 10 || count < 1000 {
		t.Errorf("%d of %d exchanges were lost under %d hostile packets", lost, sent, count)
	}
	if answer := control(a.device, "get=1\n\n"); !strings.Contains(answer, fmt.Sprintf("endpoint=127.0.0.1:%s", b.port)) {
		t.Errorf("the peer moved: %s", answer)
	}
}

func TestAReplayedPacketIsDeliveredOnce(t *testing.T) {
	a, b := newNode(t, "10.64.0.1"), newNode(t, "10.64.0.2")
	relay, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	to, err := net.ResolveUDPAddr("udp4", "127.0.0.1:"+b.port)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		packet := make([]byte, 2048)
		for {
			count, _, err := relay.ReadFrom(packet)
			if err != nil {
				return
			}
			for range 3 {
				_, _ = relay.WriteTo(packet[:count], to)
			}
		}
	}()
	through := a.peer(b)
	through.Endpoint = relay.LocalAddr().String()
	a.set(t, through)
	b.set(t, b.peer(a))
	for range 10 {
		if !a.sends(b, 5*time.Second) {
			t.Fatal("nothing came through the relay")
		}
	}
	select {
	case <-b.tun.Inbound:
		t.Error("a replayed packet was delivered again")
	case <-time.After(300 * time.Millisecond):
	}
}
