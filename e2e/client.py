"""A client of the tunnel in a few lines: no device, no root, framing "ip".

usage: TUNNEL_TOKEN=... python3 client.py ws://server:8443/ws

It answers the pings that come to its tunnel address, or to the networks that it
advertises (TUNNEL_ADVERTISE, with blanks between), and pings the server once a
second. It needs Python 3.7 and `websockets` (Debian: python3-websockets).
"""
import asyncio, ipaddress, json, os, struct, sys
import websockets

ECHO_REPLY, ECHO_REQUEST, ICMP = 0, 8, 1


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def icmp_packet(source, destination, kind, rest):
    """An IPv4 packet with an ICMP message; rest is what follows its checksum."""
    message = struct.pack("!BBH", kind, 0, 0) + rest
    message = struct.pack("!BBH", kind, 0, checksum(message)) + rest

    def header(check):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(message), 0, 0, 64, ICMP, check,
                           source, destination)

    return header(checksum(header(0))) + message


def packets(batch):
    """The packets of a binary message: back to back, each with its length in its header."""
    while batch:
        length = struct.unpack_from("!H", batch, 2)[0]
        yield batch[:length]
        batch = batch[length:]


async def receive(socket, own, behind):
    """Answers echo requests to our address and behind it, and prints the replies to our own."""
    async for message in socket:
        if isinstance(message, str):
            print("told", message, flush=True)  # an update, or one of a later version
            continue
        for packet in packets(message):
            header = (packet[0] & 15) * 4
            source, destination = packet[12:16], packet[16:20]
            ours = destination == own or any(ipaddress.ip_address(destination) in n for n in behind)
            if packet[0] >> 4 != 4 or packet[9] != ICMP or not ours:
                continue
            if len(packet) < header + 8:
                continue
            if packet[header] == ECHO_REQUEST:
                await socket.send(icmp_packet(destination, source, ECHO_REPLY, packet[header + 4:]))
            elif packet[header] == ECHO_REPLY:
                number = struct.unpack_from("!H", packet, header + 6)[0]
                print(ipaddress.ip_address(source), "answers ping", number, flush=True)


async def ping(socket, own, server):
    """Pings the server once a second, which is also a sign of life."""
    for number in range(1 << 16):
        echo = struct.pack("!HH", os.getpid() & 0xFFFF, number) + b"x" * 48
        await socket.send(icmp_packet(own, server, ECHO_REQUEST, echo))
        await asyncio.sleep(1)


async def main(url):
    headers = {"Authorization": "Bearer " + os.environ["TUNNEL_TOKEN"]}
    behind = os.environ.get("TUNNEL_ADVERTISE", "").split()
    async with websockets.connect(url, subprotocols=["tunnel.v1"], extra_headers=headers,
                                  compression=None) as socket:
        # Both sides are in state init until the server answers connect with connected.
        await socket.send(json.dumps({"state": "connect", "version": 1, "framings": ["ip"],
                                      "can": ["update"], "advertise": behind}))
        answer = json.loads(await socket.recv())
        if answer["state"] != "connected" or answer["framing"] != "ip":
            sys.exit("unexpected answer: %r" % answer)
        print("connected: address {address} peer {peer}, network {network}, mtu {mtu}"
              .format(**answer), flush=True)
        own = ipaddress.ip_address(answer["address"]).packed
        # The server has the first address of the network.
        server = (ipaddress.ip_network(answer["network"])[1]).packed
        behind = [ipaddress.ip_network(n) for n in behind]
        await asyncio.gather(receive(socket, own, behind), ping(socket, own, server))


if len(sys.argv) != 2 or "TUNNEL_TOKEN" not in os.environ:
    sys.exit(__doc__)
asyncio.run(main(sys.argv[1]))
