"""Run a program as on a kernel without policy routing (CONFIG_IP_MULTIPLE_TABLES=n).

norules.py PROGRAM [ARGUMENT...] takes the place of the program, in this process. What it and its
children ask rtnetlink(7) about rules is changed into a request that the kernel does not know, so
that the kernel itself answers what such a kernel does: EOPNOTSUPP. A process beside them does that
by seccomp_unotify(2), until the program has ended.
"""

import ctypes
import fcntl
import os
import platform
import select
import struct
import sys

SECCOMP, SENDTO, SENDMSG = {
    "x86_64": (317, 44, 46),
    "aarch64": (277, 206, 211),
}[platform.machine()]
SET_MODE_FILTER, NEW_LISTENER = 1, 1 << 3
NOTIF_RECV, NOTIF_SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
RULES = range(32, 35)  # RTM_NEWRULE to RTM_GETRULE
UNKNOWN = 0x3FFF  # beyond RTM_MAX


def listener():
    """Have the kernel ask before each sendto(2) and sendmsg(2) of this process and its children."""
    code = [
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 1, 0, SENDTO),
        (0x15, 0, 1, SENDMSG),
        (0x06, 0, 0, 0x7FC00000),  # SECCOMP_RET_USER_NOTIF
        (0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SECCOMP, SET_MODE_FILTER, NEW_LISTENER, program)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


def change(memory, address, size):
    """Change a message about rules at an address."""
    head = os.pread(memory, 8, address)
    if len(head) == 8:
        length, kind = struct.unpack("=IH", head[:6])
        if kind in RULES and 16 <= length <= size:
            os.pwrite(memory, struct.pack("=H", UNKNOWN), address + 4)


def answer(fd):
    """Let one call go on, with its message changed if it is about rules."""
    request = bytearray(80)
    try:
        fcntl.ioctl(fd, NOTIF_RECV, request)
    except OSError:  # the process was killed meanwhile
        return
    number, pid, _, call, _, _, *args = struct.unpack("=QIIiIQ6Q", request)
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        try:
            address, size = args[1], args[2]
            if call == SENDMSG:
                parts, = struct.unpack("=Q", os.pread(memory, 8, args[1] + 16))  # msg_iov
                address, size = struct.unpack("=QQ", os.pread(memory, 16, parts))
            change(memory, address, size)
        finally:
            os.close(memory)
    except (OSError, OverflowError, struct.error):
        pass  # it has ended, or sends nothing
    try:
        fcntl.ioctl(fd, NOTIF_SEND, struct.pack("=QqiI", number, 0, 0, CONTINUE))
    except OSError:
        pass  # it has ended


def main():
    program = os.pidfd_open(os.getpid())
    fd = listener()
    if os.fork() == 0:
        if os.fork() > 0:  # so that it is no child of the program
            os._exit(0)
        null = os.open("/dev/null", os.O_RDWR)
        for inherited in range(3):
            os.dup2(null, inherited)
        while True:
            ready, _, _ = select.select([fd, program], [], [])
            if program in ready:
                os._exit(0)
            answer(fd)
    os.wait()
    os.execvp(sys.argv[1], sys.argv[1:])


main()
