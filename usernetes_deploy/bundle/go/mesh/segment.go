package main

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const controlSize = 24 // CMSG_SPACE of two bytes

// putSegmentControl writes the control message that tells the kernel to cut a send into datagrams of size bytes.
func putSegmentControl(control []byte, size uint16) []byte {
	binary.NativeEndian.PutUint64(control[0:], uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(control[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(control[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(control[16:], size)
	return control[:controlSize]
}

// segmentSize is the size of the datagrams that the kernel joined into one receive; 0 when it joined none.
func segmentSize(control []byte) int {
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if header.Level == unix.SOL_UDP && header.Type == unix.UDP_GRO && len(data) >= 4 {
			return int(binary.NativeEndian.Uint32(data))
		}
		control = rest
	}
	return 0
}
