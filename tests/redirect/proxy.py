#!/usr/bin/python3
"""What the rules lead to, in the place of the proxy: says where each connection was meant to go, and answers DNS questions with `stub`."""
import socket, struct, threading


def destination(connection):
    if connection.family == socket.AF_INET:
        raw = connection.getsockopt(socket.SOL_IP, 80, 16)
        return f"{socket.inet_ntoa(raw[4:8])}:{struct.unpack('>H', raw[2:4])[0]}"
    raw = connection.getsockopt(socket.IPPROTO_IPV6, 80, 28)
    return f"[{socket.inet_ntop(socket.AF_INET6, raw[8:24])}]:{struct.unpack('>H', raw[2:4])[0]}"


def listen(family, address, port, say):
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(100)

    def serve():
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(say(connection).encode())
    threading.Thread(target=serve, daemon=True).start()


def answer(family, address, port):
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((address, port))

    def serve():
        while True:
            _, peer = server.recvfrom(2000)
            server.sendto(b"stub", peer)
    threading.Thread(target=serve, daemon=True).start()


for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    listen(family, address, 15001, lambda connection: "to " + destination(connection))
    listen(family, address, 15053, lambda connection: "stub")
    answer(family, address, 15053)
print("ready", flush=True)
threading.Event().wait()
