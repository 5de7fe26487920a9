package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// fixedMTU answers from the configuration: the library would ask in the wrong network namespace.
type fixedMTU struct {
	tun.Device
	mtu int
}

func (device fixedMTU) MTU() (int, error) { return device.mtu, nil }

// openTUN attaches to the TUN device name in the network namespace at path ("" means our own); it is made when missing, and
// stays when we end.
func openTUN(path, name string, mtu int) (tun.Device, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		// A thread of its own enters the namespace and dies there (it is never unlocked): there is no way back into the
		// host's, which our user namespace does not own.
		runtime.LockOSThread()
		fd, err := attach(path, name, mtu)
		done <- result{fd, err}
	}()
	opened := <-done
	if opened.err != nil {
		return nil, opened.err
	}
	device, _, err := tun.CreateUnmonitoredTUNFromFD(opened.fd)
	if err != nil {
		return nil, fmt.Errorf("set up interface %s: %w", name, err)
	}
	return paced{fixedMTU{device, mtu}, newPacer()}, nil
}

func attach(path, name string, mtu int) (int, error) {
	if path != "" {
		namespace, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return 0, fmt.Errorf("open the network namespace %s: %w", path, err)
		}
		defer unix.Close(namespace)
		if err := unix.Setns(namespace, unix.CLONE_NEWNET); err != nil {
			return 0, fmt.Errorf("enter the network namespace %s: %w", path, err)
		}
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("create or attach to interface %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("keep interface %s: %w", name, err)
	}
	if err := setMTU(name, mtu); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("set the MTU of %s to %d: %w", name, mtu, err)
	}
	return fd, nil
}

func setMTU(name string, mtu int) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint32(uint32(mtu))
	return unix.IoctlIfreq(socket, unix.SIOCSIFMTU, request)
}
