#!/usr/bin/python3
"""Tries to get out of the fence, every way we know, and prints one line an attempt: `held NAME detail` or `ESCAPED NAME detail`.

Run as the fenced command. The driver (tests/fence.rs) starts canaries outside and describes them in $ESCAPE, a JSON object:
  secret      what a canary answers, and what the hidden files contain; seeing it is an escape
  tcp, udp    ports that canaries listen on, on every address of the host, IPv4 and IPv6
  addresses   the host's own addresses besides loopback
  unix, abstract, exposed   sockets: a path, an abstract name, and a path that --expose keeps reachable
  hidden      files that must not be readable
  namespaces  the inode of each outer namespace
  pid         ringfence, as the host counts
Exit status 1 if anything escaped. Opens only what it must and writes to nothing of the host but its own folder.
"""
import ctypes, errno, fcntl, json, mmap, os, signal, socket, stat, struct, subprocess, sys, tempfile, time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
ASKED = json.loads(os.environ["ESCAPE"])
SECRET = ASKED["secret"].encode()
X86 = os.uname().machine == "x86_64"
escaped = 0


class Out(Exception):
    """An attempt succeeded."""


def report(name, attempt):
    global escaped
    try:
        detail, verdict = attempt() or "nothing", "held"
    except Out as out:
        detail, verdict, escaped = str(out), "ESCAPED", escaped + 1
    except (OSError, subprocess.SubprocessError) as error:
        detail, verdict = str(error), "held"
    print(verdict, name, str(detail).replace("\n", " | "), flush=True)


def call(function, *arguments):
    """A libc function, or a system call by number; failure is OSError."""
    if isinstance(function, int):
        result = LIBC.syscall(ctypes.c_long(function), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    else:
        result = getattr(LIBC, function)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def must_be(number, function, *arguments):
    """The call must fail with just this errno: with another one it was not the fence that refused it."""
    try:
        call(function, *arguments)
    except OSError as error:
        if error.errno == number:
            return errno.errorcode[number]
        raise Out(f"expected {errno.errorcode[number]}, got {error}")
    raise Out("it succeeded")


def in_child(work, seconds=20):
    """Runs work in a child, whose answer or exception comes back; death by a signal is an answer too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
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
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "killed by " + signal.Signals(os.WTERMSIG(status)).name
    if text.startswith("!"):
        raise Out(text[1:])
    return text[1:]


def no_secret(data):
    if SECRET in data:
        raise Out("the canary answered: " + repr(data[:60]))
    return repr(data[:40])


# --- packets and connections ------------------------------------------------------------------------------------------------------------


def targets():
    for address in ["127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"] + ASKED["addresses"]:
        yield (socket.AF_INET6 if ":" in address else socket.AF_INET), address
    for address in ["198.51.100.7", "8.8.8.8", "169.254.169.254", "224.0.0.1", "255.255.255.255", "2001:db8::5", "ff02::1", "fe80::1%lo"]:
        yield (socket.AF_INET6 if ":" in address else socket.AF_INET), address


def exchange(family, kind, protocol, address, port):
    with socket.socket(family, kind, protocol) as probe:
        probe.settimeout(0.5)
        if kind == socket.SOCK_DGRAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        probe.connect((address, port))
        probe.sendall(b"GET / HTTP/1.0\r\nHost: escape.invalid\r\n\r\n")
        return no_secret(probe.recv(4096))


def packets():
    for family, address in targets():
        for port in dict.fromkeys([ASKED["tcp"], 443]):
            report(f"tcp {address}:{port}", lambda: exchange(family, socket.SOCK_STREAM, 0, address, port))
        report(f"mptcp {address}", lambda: exchange(family, socket.SOCK_STREAM, 262, address, ASKED["tcp"]))
        for port in dict.fromkeys([ASKED["udp"], 53, 443, 123]):
            report(f"udp {address}:{port}", lambda: exchange(family, socket.SOCK_DGRAM, 0, address, port))
        for name, kind, protocol in [("sctp", 1, 132), ("dccp", 6, 33), ("udplite", 2, 136)]:
            report(f"{name} {address}", lambda: exchange(family, kind, protocol, address, ASKED["udp"]))
    report("udp is refused at once", refused_at_once)
    for family, protocols in [(socket.AF_INET, [1, 6, 17, 47, 255]), (socket.AF_INET6, [58, 6, 17, 255])]:
        for protocol in protocols:
            report(f"raw socket {family}/{protocol}", lambda: opens(family, socket.SOCK_RAW, protocol))
        report(f"ping socket {family}", lambda: opens(family, socket.SOCK_DGRAM, protocols[0]))
    for family in range(0, 64):
        if family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
            for kind in (1, 2, 3, 5):
                report(f"family {family} type {kind}", lambda: must_be(errno.EAFNOSUPPORT, "socket", family, kind, 0))
    report("family with high bits", lambda: must_be(errno.EAFNOSUPPORT, 41 if X86 else 198, 40 | 1 << 32, 1, 0))
    report("socketpair of a family", lambda: must_be(errno.EAFNOSUPPORT, "socketpair", 30, 1, 0, (ctypes.c_int * 2)()))
    report("only loopback", lambda: outside(socket.if_nameindex() != [(1, "lo")], socket.if_nameindex()))
    report("SO_MARK", lambda: outside(set_option(socket.SOL_SOCKET, 36, 1), "set"))
    report("IP_TRANSPARENT", lambda: outside(set_option(socket.SOL_IP, 19, 1), "set"))
    report("add a link by netlink", add_link)


def outside(condition, detail):
    if condition:
        raise Out(str(detail))
    return detail


def set_option(level, option, value):
    with socket.socket() as probe:
        probe.setsockopt(level, option, value)
    return True


def opens(family, kind, protocol):
    with socket.socket(family, kind, protocol):
        raise Out("opened")


def refused_at_once():
    began = time.monotonic()
    try:
        exchange(socket.AF_INET, socket.SOCK_DGRAM, 0, "8.8.8.8", 443)
    except ConnectionRefusedError:
        return outside(time.monotonic() - began > 0.2, f"{(time.monotonic() - began) * 1000:.1f} ms")
    raise Out("it was not refused")


def add_link():
    """RTM_NEWLINK, type veth."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        kind = struct.pack("=HH", 9, 1) + b"veth\0\0\0\0"
        info = struct.pack("=HH", 4 + len(kind), 18 | 0x8000) + kind
        body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + info
        route.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
        code = struct.unpack_from("=i", route.recv(4096), 16)[0]
        return outside(code == 0, os.strerror(-code))


# --- sockets of the host ----------------------------------------------------------------------------------------------------------------


def knock(name):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            try:
                probe.settimeout(1)
                probe.connect(name)
                probe.sendall(b"hello")
                no_secret(probe.recv(100))
            except OSError as error:
                last = error
    raise last


def sockets():
    path = ASKED["unix"]
    folder, name = os.path.split(path)
    report("path socket", lambda: knock(path))
    report("path socket by /proc/self/root", lambda: knock("/proc/self/root" + path))
    report("abstract socket", lambda: knock("\0" + ASKED["abstract"]))
    report("unlink the mask", lambda: outside(os.unlink(path) is None, "unlinked"))
    report("rename the mask", lambda: outside(os.rename(path, path + "2") is None, "renamed"))
    report("rename over the mask", lambda: rename_over(path))
    report("link the mask", lambda: outside(os.link(path, path + "3") is None, "linked"))
    report("rename the folder of the mask", lambda: rename_folder(folder, name))
    report("write to the mask", lambda: outside(open(path, "w"), "opened"))

    def exposed():
        try:
            knock(ASKED["exposed"])
        except Out as reached:
            return reached
        raise Out("the exposed socket cannot be reached")

    report("--expose reaches its socket", exposed)
    for host in ("/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/run/nscd/socket", "/run/systemd/private"):
        report(f"socket {host}", lambda: knock(host))
    report("/run is empty", lambda: outside(set(os.listdir("/run")) - {"ringfence", "lock", "user"}, os.listdir("/run")))
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        report("$XDG_RUNTIME_DIR is empty", lambda: outside(os.listdir(runtime), os.listdir(runtime)))


def rename_over(path):
    with open(path + "4", "w"):
        pass
    try:
        os.rename(path + "4", path)
    except OSError:
        os.unlink(path + "4")
        raise
    raise Out("renamed")


def rename_folder(folder, name):
    os.rename(folder, folder + ".moved")
    try:
        knock(os.path.join(folder + ".moved", name))
    finally:
        os.rename(folder + ".moved", folder)


# --- files of ringfence -----------------------------------------------------------------------------------------------------------------


def read_hidden(prefix=""):
    seen = []
    for path in ASKED["hidden"]:
        try:
            with open(prefix + path, "rb") as file:
                no_secret(file.read())
                seen.append("empty")
        except OSError as error:
            seen.append(errno.errorcode[error.errno])
    return seen


def files():
    report("hidden files", read_hidden)
    report("hidden files by /proc/self/root", lambda: read_hidden("/proc/self/root"))
    report("hidden files by /proc/1/root", lambda: read_hidden("/proc/1/root"))
    report("hidden files from the working folder", lambda: read_hidden("/proc/self/cwd" + "/.." * 20))
    for path in ASKED["hidden"]:
        report(f"write to {path}", lambda: outside(open(path, "a"), "opened"))
        report(f"create beside {path}", lambda: create_beside(path))
    bundle = "/run/ringfence/ca-bundle.crt"
    report("write to the trust bundle", lambda: outside(open(bundle, "a"), "opened"))
    report("replace the trust bundle", lambda: outside(os.rename(bundle, bundle + "2") is None, "renamed"))
    report("descriptors", lambda: outside([fd for fd in FDS if fd > 2], FDS))


def create_beside(path):
    """A hidden folder cannot be written to; the policy's own folder can, and then only its mask counts."""
    folder = os.path.dirname(path)
    if not os.path.isfile(path):
        return outside(open(os.path.join(folder, "x"), "w"), "created")


# --- processes --------------------------------------------------------------------------------------------------------------------------


def processes():
    report("ringfence is not there", lambda: outside(os.path.exists(f"/proc/{ASKED['pid']}"), os.listdir("/proc")[:3]))
    report("signal to ringfence", lambda: outside(os.kill(ASKED["pid"], 0) is None, "sent"))
    for name in ("environ", "root/etc", "cwd", "exe", "fd/0", "fd/3", "mem", "maps", "ns/net", "auxv", "map_files"):
        report(f"/proc/1/{name}", lambda: look("/proc/1/" + name))
    report("ptrace init", lambda: must_be(errno.EPERM, "ptrace", 16, 1, None, None))
    report("process_vm_readv of init", lambda: must_be(errno.EPERM, 310 if X86 else 270, 1, iovec(), 1, iovec(), 1, 0))
    report("pidfd_getfd of init", lambda: must_be(errno.EPERM, 438, os.pidfd_open(1), 0, 0))
    report("kcmp with init", lambda: must_be(errno.EPERM, 312 if X86 else 272, os.getpid(), 1, 2, 0, 0))
    for sent in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP):
        report(f"kill init by {sent.name}", lambda: kill_init(sent))
    # The driver has a process in ringfence's group that dies of this, and so does ringfence's shell.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    report("signal to the process group", lambda: os.kill(0, signal.SIGUSR1))
    report("join ringfence's process group", lambda: outside(os.setpgid(0, ASKED["pid"]) is None, "joined"))
    report("join init's process group", lambda: in_child(init_group))
    report("nice everybody", lambda: os.setpriority(os.PRIO_USER, 0, os.getpriority(os.PRIO_PROCESS, 0)))
    report("kill everybody", lambda: os.kill(-1, signal.SIGUSR1))


def look(path):
    if os.path.isdir(path):
        raise Out(str(os.listdir(path))[:200])
    if os.path.islink(path):
        raise Out(os.readlink(path))
    with open(path, "rb") as file:
        data = file.read(200)
    # Reading an address space that is gone or not ours answers nothing.
    return outside(data, data)


def iovec():
    buffer = ctypes.create_string_buffer(8)
    iovec.keep = getattr(iovec, "keep", []) + [buffer]
    return struct.pack("PN", ctypes.addressof(buffer), 8)


def kill_init(sent):
    os.kill(1, sent)
    time.sleep(0.05)
    state = open("/proc/1/stat").read().rsplit(")", 1)[1].split()[0]
    return outside(state not in "SR", state)


def init_group():
    os.setpgid(0, 1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(0, signal.SIGUSR1)
    return "init lives"


# --- the kernel -------------------------------------------------------------------------------------------------------------------------


def kernel():
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        report(name, lambda: outside(int(status[name], 16), status[name]))
    report("no_new_privs", lambda: outside(status["NoNewPrivs"] != "1", status["NoNewPrivs"]))
    for name, inode in ASKED["namespaces"].items():
        report(f"namespace {name}", lambda: outside(os.stat(f"/proc/self/ns/{name}").st_ino == inode, inode))
    number = dict(keyctl=250, add_key=248, request_key=249, bpf=321, perf=298, uffd=323, handle=304) if X86 else \
        dict(keyctl=219, add_key=217, request_key=218, bpf=280, perf=241, uffd=282, handle=265)
    for name, code in [("io_uring_setup", 425), ("io_uring_enter", 426), ("io_uring_register", 427)]:
        report(name, lambda: must_be(errno.ENOSYS, code, 8, ctypes.create_string_buffer(256), 0, 0, 0, 0))
    for name in ("keyctl", "add_key", "request_key"):
        report(name, lambda: must_be(errno.ENOSYS, number[name], 0, 0, 0, 0, 0))
    for name in ("bpf", "perf", "uffd", "handle"):
        report(name, lambda: must_be(errno.EPERM, number[name], 0, 0, 0, 0, 0))
    for name, request in [("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C), ("TIOCSTI with high bits", 0x5412 | 1 << 32)]:
        report(name, lambda: must_be(errno.EPERM, 16 if X86 else 29, 0, request, ctypes.c_char_p(b"x")))
    if X86:
        # mov edi, 40 (AF_VSOCK); mov esi, 1; xor edx, edx; mov eax, 0x40000029; syscall; ret
        report("x32 socket", lambda: in_child(lambda: machine(bytes.fromhex("bf28000000be0100000031d2b8290000400f05c3"))))
        # push rbx; mov ebx, FAMILY; mov ecx, 1; xor edx, edx; mov eax, 359; int 0x80; pop rbx; ret
        for family in (40, 2):
            code = bytes.fromhex(f"53bb{family:02x}000000b90100000031d2b867010000cd805bc3")
            report(f"int 0x80 socket {family}", lambda: in_child(lambda: machine(code)))
    for kind, name in [(stat.S_IFBLK, "block"), (stat.S_IFCHR, "character")]:
        report(f"mknod {name}", lambda: outside(os.mknod(os.path.join(HOME, name), kind | 0o600, os.makedev(1, 1)) is None, "made"))
    report("devices", lambda: outside(set(os.listdir("/dev")) - DEVICES, os.listdir("/dev")))
    for name in ("mem", "kmem", "port", "kmsg", "kvm", "fuse", "net/tun", "vsock", "vhost-vsock", "vda", "sda", "loop-control", "hwrng"):
        report(f"/dev/{name}", lambda: outside(open("/dev/" + name), "opened"))
    report("writable kernel files", writable_kernel_files)
    for name in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
                 "/proc/sys/net/ipv4/ping_group_range", "/proc/sys/kernel/ns_last_pid", "/sys/fs/cgroup/memory/release_agent",
                 "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs", "/proc/kcore", "/proc/keys"):
        report(f"write {name}", lambda: outside(os.open(name, os.O_WRONLY), "opened"))
    for command in (["nsenter", "-t", "1", "-n", "true"], ["nsenter", "-t", "1", "-m", "true"], ["unshare", "-n", "true"],
                    ["su", "-c", "id"], ["su", "nobody", "-s", "/bin/sh", "-c", "id"], ["mount", "-o", "remount,rw", "/sys"],
                    ["umount", "/run"], ["umount", "-l", "/proc/sys"], ["ping", "-c1", "-W1", "127.0.0.1"], ["chroot", "/", "true"],
                    ["ip", "link", "add", "x", "type", "dummy"], ["nft", "flush", "ruleset"]):
        report("command " + " ".join(command), lambda: run(command))
    for flags, name in [(0x40000000, "net"), (0x00020000, "mnt"), (0x20000000, "pid"), (0x02000000, "cgroup"), (0x08000000, "ipc")]:
        report(f"unshare {name}", lambda: in_child(lambda: outside(call("unshare", flags) == 0, "done")))
    for name in sorted(os.listdir("/proc/self/ns")):
        for holder in ("1", "self"):
            report(f"setns /proc/{holder}/ns/{name}", lambda: in_child(lambda: setns(f"/proc/{holder}/ns/{name}")))


def setns(path):
    call("setns", os.open(path, os.O_RDONLY), 0)
    raise Out("entered")


def machine(code):
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return outside(result >= 0, errno.errorcode.get(-result, result))


def run(command):
    # As root `su` needs no password and no privilege to become root again; that it cannot become another is asked apart.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, text=True)
    own = done.returncode == 0 and command[0] == "su" and f"uid={os.getuid()}(" in done.stdout
    return "it is what it was" if own else outside(done.returncode == 0, f"exit {done.returncode} {done.stdout}{done.stderr}"[:120])


def writable_kernel_files():
    found = []
    for top in ["/sys"] + [os.path.join("/proc", name) for name in os.listdir("/proc") if not name.isdigit() and "self" not in name]:
        if os.path.islink(top):
            continue
        for folder, folders, names in os.walk(top):
            found += [path for path in (os.path.join(folder, name) for name in names + folders) if not os.path.islink(path) and os.access(path, os.W_OK)]
        if os.path.isfile(top) and os.access(top, os.W_OK):
            found.append(top)
    return outside(found, found[:5])


# --- with a user namespace of our own ---------------------------------------------------------------------------------------------------

NEWUSER, NEWNS, NEWNET, NEWPID, NEWCGROUP = 0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x02000000
RDONLY, REMOUNT, BIND, REC = 1, 32, 4096, 16384


def nested(work, spaces=NEWNS | NEWNET | NEWPID):
    """work as root of a nested user namespace; its mounts are copies that the kernel locks."""
    def enter():
        uid, gid = os.getuid(), os.getgid()
        call("unshare", NEWUSER | spaces)
        for name, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
            try:
                with open("/proc/self/" + name, "w") as file:
                    file.write(text)
            except PermissionError:
                pass  # Who is root without CAP_SETFCAP may not map itself, and has every capability in there all the same.
        return in_child(work) if spaces & NEWPID else work()
    return in_child(enter)


def mount(source, target, kind=None, flags=0, data=None):
    text = lambda value: value if value is None else ctypes.c_char_p(os.fsencode(value))
    return call("mount", text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data))


def nests():
    folder, path = os.path.dirname(ASKED["hidden"][0]), ASKED["unix"]
    report("nest: it can be made", lambda: nested(lambda: [line for line in open("/proc/self/status") if line.startswith("CapEff")]))
    for target in dict.fromkeys([folder, os.path.dirname(folder), path, *ASKED["hidden"], "/run", "/run/ringfence", "/dev", "/proc", "/proc/sys", "/sys", "/etc/resolv.conf", "/"]):
        for flags in (0, 2, 8):
            report(f"nest: umount {target} {flags}", lambda: nested(lambda: umount(target, flags)))
    for target in ("/proc/sys", "/sys", "/run/ringfence", folder, "/proc/sysrq-trigger", "/sys/fs/cgroup"):
        report(f"nest: bind remount rw {target}", lambda: nested(lambda: outside(mount(None, target, None, REMOUNT | BIND) == 0, "done")))
        report(f"nest: remount rw {target}", lambda: nested(lambda: outside(mount(None, target, None, REMOUNT) == 0, "done")))
    report("nest: bind without the masks", lambda: nested(lambda: bind_below(0)))
    report("nest: bind with the masks", lambda: nested(lambda: bind_below(REC)))
    report("nest: overlay", lambda: nested(overlay))
    report("nest: move the mask", lambda: nested(lambda: outside(mount(folder, HOME, None, 8192) == 0, "moved")))
    report("nest: pivot_root and let go", lambda: nested(pivot))
    report("nest: chroot", lambda: nested(lambda: (os.chroot("/proc/self/root"), read_hidden())[1]))
    for kind in ("proc", "sysfs", "cgroup", "cgroup2", "devtmpfs", "debugfs", "tracefs", "securityfs", "configfs", "binfmt_misc", "efivarfs"):
        for flags in (0, RDONLY):
            report(f"nest: mount {kind} {flags}", lambda: nested(lambda: special(kind, flags)))
    report("nest: a cgroup namespace", lambda: nested(lambda: special("cgroup2", 0), NEWNS | NEWCGROUP))
    report("nest: raw socket goes nowhere", lambda: nested(nested_raw))
    report("nest: families stay closed", lambda: nested(lambda: must_be(errno.EAFNOSUPPORT, "socket", socket.AF_PACKET, 3, 0)))
    report("nest: io_uring stays closed", lambda: nested(lambda: must_be(errno.ENOSYS, 425, 8, ctypes.create_string_buffer(256))))
    report("nest: setns to init", lambda: nested(lambda: setns("/proc/1/ns/net"), NEWNS))
    report("nest: ptrace init", lambda: nested(lambda: must_be(errno.EPERM, "ptrace", 16, 1, None, None), NEWNS))
    report("nest: mknod", lambda: nested(lambda: outside(os.mknod(os.path.join(HOME, "disk"), stat.S_IFBLK | 0o600, os.makedev(1, 1)) is None, "made")))
    report("nest: bind a host device", lambda: nested(lambda: outside([name for name in os.listdir("/dev") if name not in DEVICES], "")))


def umount(target, flags):
    call("umount2", ctypes.c_char_p(os.fsencode(target)), flags)
    read_hidden()
    knocked = ""
    try:
        knock(ASKED["unix"])
    except OSError as error:
        knocked = str(error)
    if target in ("/proc/sys", "/sys", "/dev", "/proc", "/run"):
        raise Out("unmounted")
    return f"unmounted, and still: {knocked}"


def bind_below(flags):
    mount("/", HOME, None, BIND | flags)
    seen = read_hidden(HOME)
    knock(HOME + ASKED["unix"])
    return seen


def overlay():
    above = os.path.dirname(os.path.dirname(ASKED["hidden"][0]))
    mount("overlay", HOME, "overlay", 0, f"lowerdir={above}:/usr/share,userxattr")
    for path in ASKED["hidden"]:
        shown = os.path.join(HOME, os.path.relpath(path, above))
        if os.path.exists(shown):
            no_secret(open(shown, "rb").read())
    return "mounted, and the masks hold"


def pivot():
    """Holds the old root by a descriptor, lets go of its mounts, and looks below it."""
    root = os.open("/", os.O_PATH)
    mount(HOME, HOME, None, BIND | REC)
    os.chdir(HOME)
    call("pivot_root", b".", b".")
    call("umount2", b".", 2)
    for path in ASKED["hidden"]:
        try:
            no_secret(os.read(os.open(path.lstrip("/"), os.O_RDONLY, dir_fd=root), 4096))
        except OSError:
            pass
    os.fchdir(root)
    knock(ASKED["unix"].lstrip("/"))


def special(kind, flags):
    mount(kind, HOME, kind, flags, "memory" if kind == "cgroup" else None)
    if kind == "binfmt_misc":
        return "mounted: an instance of its own, for its own user namespace"
    if kind == "proc" and any(open(os.path.join(HOME, name, "cmdline")).read().find("escape") < 0 for name in os.listdir(HOME) if name.isdigit()):
        raise Out("it shows other processes")
    risky = ("sys/kernel/core_pattern", "sysrq-trigger", "kernel/uevent_helper", "release_agent", "cgroup.procs", "vda", "mem")
    writable = [name for name in risky if os.access(os.path.join(HOME, name), os.W_OK)]
    return outside(writable, "mounted, and nothing risky in it can be written" if not writable else writable)


def nested_raw():
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, 1) as raw:
        raw.sendto(b"\x08\0\xf7\xff\0\0\0\0", ("127.0.0.1", 0))


if __name__ == "__main__":
    FDS = sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name))
    DEVICES = {"null", "zero", "full", "random", "urandom", "tty", "console", "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm"}
    with tempfile.TemporaryDirectory() as HOME:
        for part in (files, sockets, processes, kernel, nests, packets):
            part()
    print("escaped:", escaped, flush=True)
    sys.exit(1 if escaped else 0)
