#!/usr/bin/python3
"""The world beyond the namespace: servers that answer `outside`, and a watch over every frame that arrives.

Prints `ready`, then one line for each frame from inside but those without which a link cannot live (ARP, neighbour discovery,
multicast listener reports): `frame WHAT`, or `control TEXT` for a datagram that carries CONTROL.
"""
import socket, struct, sys, threading


def answer(address, kind, port):
    """By address, because a datagram's answer would else leave from another one."""
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    if kind == socket.SOCK_DGRAM:
        threading.Thread(target=answer_datagrams, args=(server,), daemon=True).start()
    else:
        server.listen()
        threading.Thread(target=answer_connections, args=(server,), daemon=True).start()


def answer_datagrams(server):
    while True:
        _, peer = server.recvfrom(2000)
        server.sendto(b"outside", peer)


def answer_connections(server):
    kept = []  # A connection stays until the end: some tests look at what becomes of it.
    while True:
        connection, _ = server.accept()
        connection.sendall(b"outside")
        kept.append(connection)
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def echo(connection):
    try:
        while data := connection.recv(2000):
            connection.sendall(data)
    except OSError:
        pass


def of_the_link(kind, packet):
    """Whether no link can do without it."""
    if kind == 0x0806:
        return True
    if kind != 0x86DD or len(packet) < 49:
        return False
    upper, body = packet[6], packet[40:]
    if upper == 0:  # hop-by-hop options, as multicast listener reports have them
        upper, body = body[0], body[8 * (body[1] + 1):]
    return upper == 58 and body[0] in (133, 135, 136, 143)


def describe(kind, packet):
    if kind == 0x0800:
        return f"ip {socket.inet_ntop(socket.AF_INET, packet[16:20])} protocol {packet[9]}"
    if kind == 0x86DD:
        return f"ip6 {socket.inet_ntop(socket.AF_INET6, packet[24:40])} next {packet[6]}"
    return f"type {kind:#06x}"


watch = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
watch.bind((sys.argv[1], 0))
for address in sys.argv[2:]:
    for port in (53, 80, 443, 8443):
        answer(address, socket.SOCK_STREAM, port)
    for port in (53, 123, 443, 9999):
        answer(address, socket.SOCK_DGRAM, port)
print("ready", flush=True)
while True:
    frame, address = watch.recvfrom(4000)
    kind, packet = struct.unpack(">H", frame[12:14])[0], frame[14:]
    if address[2] == socket.PACKET_OUTGOING or of_the_link(kind, packet):
        continue
    if (at := packet.find(b"CONTROL")) >= 0:
        print("control", packet[at:].decode(), flush=True)
    else:
        print("frame", describe(kind, packet), packet[-40:].hex(), flush=True)
