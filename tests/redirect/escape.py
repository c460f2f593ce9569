#!/usr/bin/python3
"""Tries to get a packet out of a namespace with redirect rules, every way we know. One line an attempt: `held NAME detail` or
`ESCAPED NAME detail`. What leaves unseen here is seen by the watch outside (outside.py), so each attempt also carries its name.

$ESCAPE: {"exempt": uid, "interface": name, "address4", "address6": the world's, "gateway": its MAC, "own4", "own6": our addresses, "resolver": a port on 127.0.0.11, "parts": which attempts}
"""
import ctypes, errno, fcntl, json, mmap, os, socket, struct, subprocess, sys

ASKED = json.loads(os.environ["ESCAPE"])
OUT4, OUT6, DEVICE = ASKED["address4"], ASKED["address6"], ASKED["interface"]
LIBC = ctypes.CDLL(None, use_errno=True)
escaped = 0


class Out(Exception):
    pass


def report(name, attempt):
    global escaped
    try:
        verdict, detail = "held", attempt()
    except Out as out:
        verdict, detail, escaped = "ESCAPED", str(out), escaped + 1
    except (OSError, subprocess.SubprocessError) as error:
        verdict, detail = "held", str(error)
    print(verdict, name, detail, flush=True)


def judged(answer):
    if b"outside" in answer:
        raise Out("the world answered")
    return repr(answer[:60])


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def exchange(address, port, kind=socket.SOCK_STREAM, protocol=0, prepare=lambda probe: None):
    with socket.socket(family(address), kind, protocol) as probe:
        probe.settimeout(0.3)
        prepare(probe)
        probe.connect((address, port))
        probe.send(b"ESCAPE")
        return judged(probe.recv(100))


def in_child(work):
    """In another process, so that what it changes of itself stays there."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = "+" + str(work())
        except Out as out:
            text = "!" + str(out)
        except BaseException as error:
            text = "-" + repr(error)
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    if text.startswith("!"):
        raise Out(text[1:])
    return text[1:]


def plain():
    for address in OUT4, OUT6, "::ffff:" + OUT4:
        for port in 80, 443, 8443, 53, 65000:
            report(f"tcp {address}:{port}", lambda: exchange(address, port))
        for port in 53, 123, 443, 9999:
            report(f"udp {address}:{port}", lambda: exchange(address, port, socket.SOCK_DGRAM))
        for name, kind, number in ("mptcp", 1, 262), ("sctp", 1, 132), ("sctp messages", 5, 132), ("dccp", 6, 33), ("udplite", 2, 136):
            report(f"{name} {address}", lambda: exchange(address, 443, kind, number))
        report(f"ping socket {address}", lambda: exchange(address, 0, socket.SOCK_DGRAM, 58 if ":" in address else 1))
    for address in "224.0.0.1", "255.255.255.255", "192.0.2.255", "169.254.169.254", "ff02::1%" + DEVICE:
        broadcast = lambda probe: probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        report(f"udp {address}", lambda: exchange(address, 9999, socket.SOCK_DGRAM, 0, broadcast))


def options():
    name = DEVICE.encode() + b"\0"
    for title, level, option, value in [
        ("SO_MARK 1", 1, 36, 1), ("SO_MARK of the proxy's connections", 1, 36, 0x6F757273), ("SO_BINDTODEVICE", 1, 25, name),
        ("SO_DONTROUTE", 1, 5, 1), ("SO_PRIORITY", 1, 12, 6), ("IP_TRANSPARENT", 0, 19, 1), ("IP_FREEBIND", 0, 15, 1),
        ("IP_OPTIONS source route", 0, 4, bytes([131, 7, 4]) + socket.inet_aton(OUT4) + b"\0"), ("TCP_FASTOPEN_CONNECT", 6, 30, 1),
        ("TCP_REPAIR", 6, 19, 1), ("SO_REUSEPORT", 1, 15, 1),
    ]:
        report(f"{title} tcp", lambda: exchange(OUT4, 8443, 1, 0, lambda probe: probe.setsockopt(level, option, value)))
        if level != 6:
            report(f"{title} udp", lambda: exchange(OUT4, 9999, 2, 0, lambda probe: probe.setsockopt(level, option, value)))
    for port in 53, 443, 15001, 15053, 9:
        report(f"from port {port}", lambda: exchange(OUT4, 9999, 2, 0, lambda probe: probe.bind(("", port))))
    report("from loopback", lambda: exchange(OUT4, 9999, 2, 0, lambda probe: probe.bind(("127.0.0.1", 0))))
    report("MSG_FASTOPEN", lambda: fast_open())
    report("the resolver behind 127.0.0.11 udp", lambda: exchange("127.0.0.11", ASKED["resolver"], 2))
    report("the resolver behind 127.0.0.11 tcp", lambda: exchange("127.0.0.11", ASKED["resolver"]))


def fast_open():
    with socket.socket() as probe:
        probe.settimeout(0.3)
        probe.sendto(b"ESCAPE", 0x20000000, (OUT4, 8443))
        return judged(probe.recv(100))


def others():
    exempt = ASKED["exempt"]
    report("setuid to the proxy's user", lambda: in_child(lambda: (os.setgroups([]), os.setgid(exempt), os.setuid(exempt), exchange(OUT4, 8443))[-1]))
    report("setfsuid to the proxy's user", lambda: in_child(lambda: (LIBC.setfsuid(exempt), exchange(OUT4, 9999, socket.SOCK_DGRAM))[-1]))
    report("setresuid, the effective one alone", lambda: in_child(lambda: (os.setresuid(-1, exempt, -1), exchange(OUT6, 8443))[-1]))
    report("fchown of the socket", lambda: exchange(OUT4, 8443, 1, 0, lambda probe: os.fchown(probe.fileno(), exempt, -1)))
    for flags, name in (0x10000000, "user"), (0x50000000, "user and net"), (0x40000000, "net"):
        report(f"unshare {name}", lambda: in_child(lambda: (call("unshare", flags), exchange(OUT4, 8443))[-1]))
    for path in "/proc/1/ns/net", "/proc/%d/ns/net" % os.getppid():
        report(f"setns {path}", lambda: in_child(lambda: (call("setns", os.open(path, os.O_RDONLY), 0x40000000), exchange(OUT4, 8443))[-1] if os.stat(path).st_ino != os.stat("/proc/self/ns/net").st_ino else "our own"))
    for command in (["nft", "flush", "ruleset"], ["nft", "delete", "table", "inet", "ringfence"], ["iptables", "-F"], ["ip", "link", "add", "x", "type", "veth"],
                    ["ip", "route", "add", "198.51.100.0/24", "dev", "lo"], ["sysctl", "-w", "net.ipv4.ip_forward=1"]):
        report("command " + " ".join(command), lambda: run(command))


def call(function, *arguments):
    if getattr(LIBC, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run(command):
    done = subprocess.run(["/usr/bin/env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command], capture_output=True, text=True, timeout=10)
    if done.returncode == 0:
        raise Out("it was done")
    return f"exit {done.returncode} {done.stderr.strip()[:60]}"


# --- with CAP_NET_RAW -------------------------------------------------------------------------------------------------------------------


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def packet4(payload=b"ESCAPE", protocol=17, to=None, source=None):
    udp = struct.pack(">HHHH", 4444, 9999, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, protocol, 0, socket.inet_aton(source or ASKED["own4"]), socket.inet_aton(to or OUT4))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + udp


def frame(kind=0x0800, payload=None):
    return bytes.fromhex(ASKED["gateway"].replace(":", "")) + b"\x02\0\0\0\0\x01" + struct.pack(">H", kind) + (packet4() if payload is None else payload)


def raw():
    for protocol in 1, 2, 6, 17, 47, 50, 132, 255:
        report(f"raw socket {protocol}", lambda: send_raw(socket.AF_INET, protocol, b"ESCAPE" * 4, (OUT4, 0)))
    for protocol in 6, 17, 58, 103:
        report(f"raw socket v6 {protocol}", lambda: send_raw(socket.AF_INET6, protocol, b"ESCAPE" * 4, (OUT6, 0)))
    for kind in 133, 135, 136, 143:
        report(f"raw neighbour discovery {kind}", lambda: send_raw(socket.AF_INET6, 58, bytes([kind, 0, 0, 0]) + b"ESCAPE" * 4, (OUT6, 0)))
    for source in None, "127.0.0.1", "203.0.113.9":
        report(f"raw header from {source}", lambda: send_raw(socket.AF_INET, 255, packet4(source=source), (OUT4, 0)))
    report("raw fragments", lambda: send_raw(socket.AF_INET, 255, packet4(b"ESCAPE" * 500), (OUT4, 0)))
    for name in DEVICE, "lo":
        for kind in 0x0800, 0x86DD, 0x0806, 0x88B5:
            report(f"frame {kind:#06x} on {name}", lambda: send_frame(name, kind))
        report(f"frame without a queue on {name}", lambda: send_frame(name, 0x0800, lambda probe: probe.setsockopt(263, 20, 1)))
        report(f"datagram of a packet socket on {name}", lambda: send_datagram(name))
        report(f"frame with SO_MARK on {name}", lambda: send_frame(name, 0x0800, lambda probe: probe.setsockopt(1, 36, 0x6F757273)))
        report(f"frame by a transmit ring on {name}", lambda: send_by_ring(name))
        report(f"frame of a child that ends on {name}", lambda: in_child(lambda: send_frame(name, 0x0800)))
    report("frame on lo to the resolver", resolver_by_frame)
    report("spoofed middle of a connection", lambda: send_raw(socket.AF_INET, 6, tcp(0x18), (OUT4, 0)))
    report("spoofed answer of a connection", lambda: send_raw(socket.AF_INET, 6, tcp(0x12), (OUT4, 0)))


def xdp():
    for name in DEVICE, "lo":
        report(f"frame by AF_XDP on {name}", lambda: send_by_xdp(name))


def send_by_xdp(name):
    """AF_XDP without any program: a frame in memory of ours, and a descriptor of it in a ring."""
    memory = mmap.mmap(-1, 1 << 16)
    with socket.socket(44, socket.SOCK_RAW) as probe:
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        probe.setsockopt(283, 4, struct.pack("=QQIII4x", address, 1 << 16, 2048, 0, 0))  # XDP_UMEM_REG
        for ring in 5, 6, 3:  # fill, completion, transmit
            probe.setsockopt(283, ring, struct.pack("=I", 64))
        offsets = struct.unpack("=16Q", probe.getsockopt(283, 1, 128))
        producer, _, descriptors, _ = offsets[4:8]
        transmit = mmap.mmap(probe.fileno(), descriptors + 64 * 16, flags=mmap.MAP_SHARED, offset=0x80000000)
        data = frame()
        memory[:len(data)] = data
        transmit[descriptors:descriptors + 16] = struct.pack("=QII", 0, len(data), 0)
        transmit[producer:producer + 4] = struct.pack("=I", 1)
        bound = struct.pack("=HHIII", 44, 2, socket.if_nametoindex(name), 0, 0)  # XDP_COPY
        if LIBC.bind(probe.fileno(), bound, len(bound)) < 0:
            raise OSError(ctypes.get_errno(), "bind " + os.strerror(ctypes.get_errno()))
        if LIBC.sendto(probe.fileno(), None, 0, 0x40, None, 0) < 0:
            raise OSError(ctypes.get_errno(), "send " + os.strerror(ctypes.get_errno()))
        return "sent; the watch knows whether it left"


def tcp(flags, port=8443, source=None, to=None):
    text = struct.pack(">HHIIBBHHH", 8443, port, 1, 1, 0x50, flags, 1000, 0, 0) + b"ESCAPE"
    pseudo = b"".join(map(socket.inet_aton, (source or ASKED["own4"], to or OUT4))) + struct.pack(">BBH", 0, 6, len(text))
    return text[:16] + struct.pack(">H", checksum(pseudo + text)) + text[18:]


def ip4(protocol, body, source, to):
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0, socket.inet_aton(source), socket.inet_aton(to))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def mirrors():
    """Packets that pretend to come from the world, so that an innocent's answer goes there."""
    own, stranger = ASKED["own4"], "203.0.113.9"
    echo = b"\x08\0\0\0\0\1\0\1ESCAPE"
    echo = echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]
    datagram = lambda port: struct.pack(">HHHH", 4444, port, 14, 0) + b"ESCAPE"
    for name, protocol, body, source, to in [
        ("an echo request to ourselves", 1, echo, OUT4, own), ("a datagram to ourselves", 17, datagram(7), OUT4, own),
        ("a connection to ourselves", 6, tcp(2, 7, OUT4, own), OUT4, own), ("a question to the stub", 17, datagram(53), stranger, OUT4),
        ("a question to the stub itself", 17, datagram(15053), stranger, "127.0.0.1"), ("a refused datagram", 17, datagram(9999), stranger, OUT4),
        ("a connection to the proxy", 6, tcp(2, 80, stranger, OUT4), stranger, OUT4), ("a closed port", 17, datagram(443), stranger, OUT4),
        ("a connection to the proxy itself", 6, tcp(2, 15001, stranger, "127.0.0.1"), stranger, "127.0.0.1"),
        ("a question to the resolver", 17, datagram(ASKED["resolver"]), stranger, "127.0.0.11"),
    ]:
        report("mirror: " + name, lambda: send_raw(socket.AF_INET, 255, ip4(protocol, body, source, to), (to, 0)))
    for name, protocol, body, to in [
        ("an echo request to ourselves", 58, b"\x80\0\0\0\0\1\0\1ESCAPE", ASKED["own6"]), ("a datagram to ourselves", 17, datagram(7), ASKED["own6"]),
        ("a question to the stub", 17, datagram(53), OUT6), ("a refused datagram", 17, datagram(9999), OUT6),
    ]:
        where = 2 if protocol == 58 else 6
        report("mirror v6: " + name, lambda: send_raw(socket.AF_INET6, 255, ip6_at(where, protocol, body, "2001:db8:9::9", to), (to, 0)))


def ip6_at(where, protocol, body, source, to):
    source, to = (socket.inet_pton(socket.AF_INET6, each) for each in (source, to))
    sum = checksum(source + to + struct.pack(">IHBB", len(body), 0, 0, protocol) + body)
    body = body[:where] + struct.pack(">H", sum) + body[where + 2:]
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + source + to + body


def send_raw(kind, protocol, data, to):
    with socket.socket(kind, socket.SOCK_RAW, protocol) as probe:
        probe.sendto(data, to)
        return "sent; the watch knows whether it left"


def send_frame(name, kind, prepare=lambda probe: None):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as probe:
        prepare(probe)
        probe.bind((name, 0))
        probe.send(frame(kind))
        return "sent; the watch knows whether it left"


def send_datagram(name):
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as probe:
        probe.sendto(packet4(), (name, 0x0800, 0, 0, bytes.fromhex(ASKED["gateway"].replace(":", ""))))
        return "sent"


def send_by_ring(name):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as probe:
        probe.bind((name, 0))
        probe.setsockopt(263, 13, struct.pack("IIII", 4096, 1, 2048, 2))  # PACKET_TX_RING
        ring = mmap.mmap(probe.fileno(), 4096)
        data = frame()
        ring[32:32 + len(data)] = data
        ring[0:12] = struct.pack("=QI", 1, len(data))  # struct tpacket_hdr: TP_STATUS_SEND_REQUEST, length
        probe.send(b"")
        return f"status {struct.unpack_from('=Q', ring)[0]}"


def resolver_by_frame():
    """A question that pretends to have come by the wire; whether it is answered is seen on a packet socket."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as probe:
        probe.bind(("lo", 0))
        probe.settimeout(0.3)
        question = packet4(to="127.0.0.11", source="127.0.0.1")
        question = question[:22] + struct.pack(">H", ASKED["resolver"]) + question[24:]
        probe.send(b"\0" * 12 + b"\x08\0" + question)
        while True:
            judged(probe.recv(2000))


if __name__ == "__main__":
    for part in ASKED["parts"]:
        globals()[part]()
    print("escaped:", escaped, flush=True)
    sys.exit(1 if escaped else 0)
