package main

import (
	"net"
	"net/netip"
)

// endpoint is where a peer's packets go to or came from.
type endpoint struct {
	netip.AddrPort
	udp *net.UDPAddr // the same, as sends want it
}

func newEndpoint(address netip.AddrPort) *endpoint {
	return &endpoint{address, net.UDPAddrFromAddrPort(address)}
}

func (e *endpoint) ClearSrc()           {}
func (e *endpoint) SrcToString() string { return "" }
func (e *endpoint) SrcIP() netip.Addr   { return netip.Addr{} }
func (e *endpoint) DstToString() string { return e.AddrPort.String() }
func (e *endpoint) DstIP() netip.Addr   { return e.Addr() }

// DstToBytes is what a cookie is bound to.
func (e *endpoint) DstToBytes() []byte {
	bytes, _ := e.MarshalBinary()
	return bytes
}
