/*
 * limit copies packets between a TUN device and a TCP connection, and does nothing else. The
 * benchmarks compare tunnels over TCP with it.
 *
 *   limit listen  ADDRESS PORT DEVICE
 *   limit connect ADDRESS PORT DEVICE
 *
 * The device has virtio headers and all offloads that the kernel knows, so that packets of up to
 * 64 KiB are not segmented. There is no framing: a record is the header and an IP packet, whose own
 * header has its length. The caller configures the device after "ready" is printed. There is no
 * encryption, no check and no reconnection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef TUN_F_USO4 /* headers older than Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum {
	HEADER = sizeof(struct virtio_net_hdr), /* 10 bytes */
	LARGEST = HEADER + 65535 + 40,          /* of a record: IPv6's length does not count its header */
	CHUNK = 512 << 10,                      /* read from the connection at once */
};

static int tun, conn;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_tun(const char *name)
{
	struct ifreq req = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
	unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("open /dev/net/tun");
	strncpy(req.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(fd, TUNSETIFF, &req) < 0)
		die("make the device");
	if (ioctl(fd, TUNSETOFFLOAD, offloads | TUN_F_USO4 | TUN_F_USO6) < 0 &&
	    ioctl(fd, TUNSETOFFLOAD, offloads) < 0)
		die("switch the offloads on");
	return fd;
}

static int open_conn(int listening, const char *address, const char *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (inet_pton(AF_INET, address, &addr.sin_addr) != 1) {
		errno = EINVAL;
		die(address);
	}
	if (listening) {
		int listener = fd;
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
		if (bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(listener, 1) < 0)
			die("listen");
		puts("listening");
		fflush(stdout);
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			die("accept");
		close(listener);
	} else if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
		die("connect");
	}
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
		die("TCP_NODELAY");
	return fd;
}

/* record_length returns the length of the record at p, 0 if n bytes do not have its length. */
static size_t record_length(const unsigned char *p, size_t n)
{
	if (n < HEADER + 6)
		return 0;
	if (p[HEADER] >> 4 == 4)
		return HEADER + (p[HEADER + 2] << 8 | p[HEADER + 3]);
	return HEADER + 40 + (p[HEADER + 4] << 8 | p[HEADER + 5]);
}

static void *tun_to_conn(void *unused)
{
	static unsigned char buf[LARGEST];

	(void)unused;
	for (;;) {
		ssize_t n = read(tun, buf, sizeof buf);
		if (n < 0)
			die("read the device");
		for (ssize_t done = 0; done < n;) {
			ssize_t w = send(conn, buf + done, n - done, MSG_NOSIGNAL);
			if (w < 0)
				die("send");
			done += w;
		}
	}
}

static void conn_to_tun(void)
{
	static unsigned char buf[CHUNK + LARGEST];
	size_t have = 0;

	for (;;) {
		ssize_t n = recv(conn, buf + have, sizeof buf - have, 0);
		if (n < 0)
			die("receive");
		if (n == 0)
			exit(0);
		have += n;
		size_t at = 0, len;
		while ((len = record_length(buf + at, have - at)) != 0 && len <= have - at) {
			/* A packet that the kernel refuses is lost, as on a wire. */
			if (write(tun, buf + at, len) < 0 && errno == EBADFD)
				die("write to the device");
			at += len;
		}
		memmove(buf, buf + at, have - at);
		have -= at;
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int listening;

	if (argc != 5 || (strcmp(argv[1], "listen") != 0 && strcmp(argv[1], "connect") != 0)) {
		fprintf(stderr, "usage: limit listen|connect ADDRESS PORT DEVICE\n");
		return 2;
	}
	listening = strcmp(argv[1], "listen") == 0;
	tun = open_tun(argv[4]);
	conn = open_conn(listening, argv[2], argv[3]);
	puts("ready");
	fflush(stdout);
	if (pthread_create(&thread, NULL, tun_to_conn, NULL) != 0)
		die("start a thread");
	conn_to_tun();
}
