// Package rtnl asks the kernel about links, addresses and routes by rtnetlink(7). Each question is
// about one thing, or is filtered by the kernel, so that its cost does not grow with what else the
// machine has. It changes nothing.
package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize holds whatever the kernel puts into one datagram (net/netlink/af_netlink.c: at
	// most 32 KiB of a dump).
	bufferSize = 64 << 10
	// patience bounds the wait for an answer, which the kernel gives at once, in seconds.
	patience = 10
)

// errStop ends a dump early; query returns nil for it.
var errStop = errors.New("stop")

// query sends one request in the calling thread's network namespace and hands each message of the
// answer to visit, until the answer ends or visit fails. Messages are valid until visit returns. An
// answer of the kernel's own is a unix.Errno.
func query(kind uint16, flags uint16, body []byte,
	visit func(kind uint16, data []byte) error) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	// Linux 4.20 filters a dump by what the request says. An older kernel dumps all: visit must
	// tell.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
		&unix.Timeval{Sec: patience}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	request := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(request, uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(request[4:], kind)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(request[8:], 1) // of all the socket's requests the only one
	if err := unix.Sendto(fd, append(request, body...), 0,
		&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buffer := make([]byte, bufferSize)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("recvfrom", err)
		}
		done, err := walk(buffer[:n], flags&unix.NLM_F_DUMP != 0, visit)
		if errors.Is(err, errStop) {
			return nil
		}
		if done || err != nil {
			return err
		}
	}
}

// walk reads one datagram; done reports whether the answer ends with it.
func walk(data []byte, dump bool, visit func(uint16, []byte) error) (done bool, err error) {
	for len(data) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(data))
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			return true, fmt.Errorf("a message of %d bytes in %d", length, len(data))
		}
		kind, body := binary.NativeEndian.Uint16(data[4:]), data[unix.NLMSG_HDRLEN:length]
		switch kind {
		case unix.NLMSG_ERROR, unix.NLMSG_DONE:
			if len(body) >= 4 {
				if code := int32(binary.NativeEndian.Uint32(body)); code < 0 {
					return true, unix.Errno(-code)
				}
			}
			return true, nil
		case unix.NLMSG_NOOP:
		default:
			if err := visit(kind, body); err != nil {
				return true, err
			}
			if !dump {
				return true, nil
			}
		}
		data = data[min(align(length), len(data)):]
	}
	return false, nil
}

func align(n int) int { return (n + 3) &^ 3 }

// attributes calls each for every attribute in data (struct rtattr, rtnetlink(7)), and stops at one
// that is not whole.
func attributes(data []byte, each func(kind uint16, value []byte)) {
	for len(data) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(data))
		if length < unix.SizeofRtAttr || length > len(data) {
			return
		}
		each(binary.NativeEndian.Uint16(data[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER),
			data[unix.SizeofRtAttr:length])
		data = data[min(align(length), len(data)):]
	}
}

// attribute appends one attribute to a request.
func attribute(request []byte, kind uint16, value []byte) []byte {
	request = binary.NativeEndian.AppendUint16(request, uint16(unix.SizeofRtAttr+len(value)))
	request = binary.NativeEndian.AppendUint16(request, kind)
	request = append(request, value...)
	return append(request, make([]byte, align(len(value))-len(value))...)
}

func number(value []byte) uint32 {
	if len(value) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(value)
}
