package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// Config is what the node's supervisor hands over on standard input.
type Config struct {
	Interface  string `json:"interface"`
	MTU        int    `json:"mtu"`
	Address    string `json:"address"` // the host's address to listen on; "" or 0.0.0.0: all
	ListenPort uint16 `json:"listenPort"`
	PrivateKey string `json:"privateKey"`
	Greet      bool   `json:"greet"` // start a handshake with every peer at once: a node that came back does
	Peers      []Peer `json:"peers"`
}

// Peer is another node.
type Peer struct {
	PublicKey  string   `json:"publicKey"`
	Endpoint   string   `json:"endpoint"`
	AllowedIPs []string `json:"allowedIPs"`
}

func (peer Peer) key() (string, error) { return hexKey(peer.PublicKey) }

func hexKey(encoded string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != 32 {
		return "", fmt.Errorf("not 32 bytes in base64")
	}
	return hex.EncodeToString(raw), nil
}

// uapi checks the configuration and writes it in WireGuard's own configuration protocol.
func (config Config) uapi() (string, error) {
	if config.Interface == "" || len(config.Interface) > 15 {
		return "", fmt.Errorf("interface: expected 1 to 15 characters, got %q", config.Interface)
	}
	if config.MTU < 576 || config.MTU > 65535 {
		return "", fmt.Errorf("mtu: expected 576 to 65535 bytes, got %d", config.MTU)
	}
	if config.Address != "" {
		if _, err := netip.ParseAddr(config.Address); err != nil {
			return "", fmt.Errorf("address: %w", err)
		}
	}
	private, err := hexKey(config.PrivateKey)
	if err != nil {
		return "", fmt.Errorf("privateKey: %w", err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "private_key=%s\nlisten_port=%d\n", private, config.ListenPort)
	for number, peer := range config.Peers {
		public, err := peer.key()
		if err != nil {
			return "", fmt.Errorf("peers[%d].publicKey: %w", number, err)
		}
		if _, err := netip.ParseAddrPort(peer.Endpoint); err != nil {
			return "", fmt.Errorf("peers[%d].endpoint: %w", number, err)
		}
		fmt.Fprintf(&text, "public_key=%s\nendpoint=%s\n", public, peer.Endpoint)
		for _, allowed := range peer.AllowedIPs {
			if _, err := netip.ParsePrefix(allowed); err != nil {
				return "", fmt.Errorf("peers[%d].allowedIPs: %w", number, err)
			}
			fmt.Fprintf(&text, "allowed_ip=%s\n", allowed)
		}
	}
	return text.String(), nil
}
