package main

import (
	"strings"
	"testing"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

const key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="

func valid() Config {
	return Config{Interface: "wg0", MTU: 1420, Address: "127.0.0.1", PrivateKey: key,
		Peers: []Peer{{PublicKey: key, Endpoint: "127.0.0.1:4000", AllowedIPs: []string{"10.64.0.2/32"}}}}
}

func TestEveryWrongFieldIsNamed(t *testing.T) {
	for want, spoil := range map[string]func(*Config){
		"interface":           func(c *Config) { c.Interface = strings.Repeat("x", 16) },
		"mtu":                 func(c *Config) { c.MTU = 100 },
		"address":             func(c *Config) { c.Address = "localhost" },
		"privateKey":          func(c *Config) { c.PrivateKey = "AAAA" },
		"peers[0].publicKey":  func(c *Config) { c.Peers[0].PublicKey = "?" },
		"peers[0].endpoint":   func(c *Config) { c.Peers[0].Endpoint = "node1:4000" },
		"peers[0].allowedIPs": func(c *Config) { c.Peers[0].AllowedIPs = []string{"10.64.0.2"} },
	} {
		config := valid()
		spoil(&config)
		if _, err := config.uapi(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func newDevice(t *testing.T) *device.Device {
	t.Helper()
	wireguard := device.NewDevice(tuntest.NewChannelTUN().TUN(), newBind("127.0.0.1"), newLogger(t.Output()))
	t.Cleanup(wireguard.Close)
	wireguard.DisableSomeRoamingForBrokenMobileSemantics()
	config := valid()
	config.Peers[0].PublicKey = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	settings, err := config.uapi()
	if err != nil {
		t.Fatal(err)
	}
	if err := wireguard.IpcSet(settings); err != nil {
		t.Fatal(err)
	}
	return wireguard
}

type duplex struct {
	*strings.Reader
	strings.Builder
}

func (d *duplex) Read(p []byte) (int, error)  { return d.Reader.Read(p) }
func (d *duplex) Write(p []byte) (int, error) { return d.Builder.Write(p) }
func (d *duplex) Len() int                    { return d.Builder.Len() }
func (d *duplex) Reset()                      { d.Builder.Reset() }
func (d *duplex) WriteTo(any) (int64, error)  { return 0, nil }

func control(wireguard *device.Device, request string) string {
	connection := &duplex{Reader: strings.NewReader(request)}
	handleControl(connection, wireguard)
	return connection.String()
}

func TestTheControlSocketNeverTellsAKey(t *testing.T) {
	answer := control(newDevice(t), "get=1\n\n")
	if strings.Contains(answer, "private_key") || strings.Contains(answer, "preshared_key") {
		t.Error(answer)
	}
	if !strings.Contains(answer, "public_key=02") || !strings.HasSuffix(answer, "errno=0\n\n") {
		t.Error(answer)
	}
}

func TestPeersAreAddedAndRemovedWhileRunning(t *testing.T) {
	wireguard := newDevice(t)
	peer := "public_key=03" + strings.Repeat("0", 62) + "\n"
	if answer := control(wireguard, "set=1\n"+peer+"endpoint=127.0.0.1:4001\nallowed_ip=10.64.0.3/32\n\n"); answer != "errno=0\n\n" {
		t.Error(answer)
	}
	if answer := control(wireguard, "get=1\n\n"); !strings.Contains(answer, "endpoint=127.0.0.1:4001") {
		t.Error(answer)
	}
	if answer := control(wireguard, "set=1\n"+peer+"remove=true\n\nget=1\n\n"); strings.Contains(answer, "public_key=03") {
		t.Error(answer)
	}
	if answer := control(wireguard, "set=1\nnonsense=1\n\n"); strings.Contains(answer, "errno=0") {
		t.Error(answer)
	}
}

func TestAPeersEndpointIsNotMovedByItsPackets(t *testing.T) {
	wireguard := newDevice(t)
	var public device.NoisePublicKey
	public[0] = 2
	elsewhere, err := newBind("").ParseEndpoint("127.0.0.9:9")
	if err != nil {
		t.Fatal(err)
	}
	wireguard.LookupPeer(public).SetEndpointFromPacket(elsewhere)
	if answer := control(wireguard, "get=1\n\n"); !strings.Contains(answer, "endpoint=127.0.0.1:4000") {
		t.Error(answer)
	}
}
