// Command mesh is the encrypted network between the nodes of a cluster: WireGuard in user space, for users without rights.
//
//	usernetes-mesh --netns /path/of/netns --control /path/of/mesh.sock < config.json
//
// It attaches to the TUN device wg0 in the node's network namespace and keeps its one UDP socket in the host's, so that no
// user-mode network stack lies in the path. The configuration comes on standard input and is nowhere written down:
//
//	{"interface": "wg0", "mtu": 1420, "address": "192.0.2.7", "listenPort": 51820, "privateKey": "<base64>",
//	 "peers": [{"publicKey": "<base64>", "endpoint": "192.0.2.8:51820", "allowedIPs": ["10.64.0.2/32", "10.244.1.0/24"]}]}
//
// One line "ready port=51820 interface=wg0" on standard output says that packets flow. The control socket (mode 0600) speaks
// WireGuard's cross-platform UAPI, so peers are added, changed, removed and counted while traffic goes on; it never tells
// the private key.
//
// Peers do not roam: an endpoint is where the cluster's driver put it, and only the control socket changes it. The TUN device
// is persistent, so addresses and routes outlive a crash of this program; a restarted one greets all its peers at once.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.zx2c4.com/wireguard/device"
)

// The main thread stays in the host's network namespace: tools that look at the process see its namespaces.
func init() { runtime.LockOSThread() }

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "usernetes-mesh: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("usernetes-mesh", flag.ContinueOnError)
	netns := flags.String("netns", "", "network namespace that gets the interface (default: our own)")
	control := flags.String("control", "", "unix socket for WireGuard's UAPI (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *control == "" || flags.NArg() > 0 {
		return fmt.Errorf("usage: usernetes-mesh [--netns PATH] --control SOCKET < config.json")
	}
	text, err := io.ReadAll(stdin)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	var config Config
	if err := json.Unmarshal(text, &config); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	settings, err := config.uapi()
	if err != nil {
		return err
	}
	tunnel, err := openTUN(*netns, config.Interface, config.MTU)
	if err != nil {
		return err
	}
	wireguard := device.NewDevice(tunnel, newBind(config.Address), newLogger(os.Stderr))
	defer wireguard.Close()
	// The name is history: it pins the endpoint of every peer that is created with one.
	wireguard.DisableSomeRoamingForBrokenMobileSemantics()
	if err := wireguard.IpcSet(settings); err != nil {
		return fmt.Errorf("configure WireGuard: %w", err)
	}
	if err := wireguard.Up(); err != nil {
		return fmt.Errorf("listen on UDP %s port %d: %w", config.Address, config.ListenPort, err)
	}
	restarted, listener, err := listenControl(*control)
	if err != nil {
		return err
	}
	defer listener.Close()
	go serveControl(listener, wireguard)
	if restarted || config.Greet {
		greet(wireguard, config.Peers)
	}
	port, err := listenPort(wireguard)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "ready port=%s interface=%s\n", port, config.Interface)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-end:
		return nil
	case <-wireguard.Wait():
		return fmt.Errorf("interface %s is gone", config.Interface)
	}
}

// greet starts a handshake with every peer: what they send under keys that died with our predecessor would be lost until
// they grow suspicious, which takes 15 seconds.
func greet(wireguard *device.Device, peers []Peer) {
	for _, peer := range peers {
		var key device.NoisePublicKey
		raw, err := peer.key()
		if err != nil || key.FromHex(raw) != nil {
			continue
		}
		if known := wireguard.LookupPeer(key); known != nil {
			_ = known.SendHandshakeInitiation(false)
		}
	}
}
