"""Whatever an agent must not reach, in one process: answers on many ports of every address of its network namespace, and says who came.

Usage: canary.py SECRET [AVOID…]      ports to leave alone; the first line is {"ready": [PORT…]}, then {"came": "tcp PEER PORT"} and so on.
A line on stdin, or its end, ends it.
"""

import json
import select
import socket
import sys

TCP = [22, 53, 80, 443, 2375, 3128, 5355, 8443, 9090, 15001]
UDP = [53, 123, 443, 5353, 9999]


def say(**fact):
    print(json.dumps(fact), flush=True)


def main():
    secret, avoid = sys.argv[1].encode(), {int(port) for port in sys.argv[2:]}
    sockets = {}
    for kind, name, ports in ((socket.SOCK_STREAM, "tcp", TCP), (socket.SOCK_DGRAM, "udp", UDP)):
        for port in sorted(set(ports) - avoid):
            # One socket for both families: [::] takes IPv4 too.
            each = socket.socket(socket.AF_INET6, kind)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            each.bind(("::", port))
            if name == "tcp":
                each.listen(64)
            sockets[each] = (name, port)
    say(ready=sorted({port for _, port in sockets.values()}))
    while True:
        ready = select.select([*sockets, sys.stdin], [], [])[0]
        # Told to end, it first hears who has come until then.
        if ready == [sys.stdin]:
            return
        for each in ready:
            if each is sys.stdin:
                continue
            name, port = sockets[each]
            try:
                if name == "tcp":
                    connection, peer = each.accept()
                    say(came=f"tcp {peer[0]} {port}")
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + secret)
                    connection.close()
                else:
                    _, peer = each.recvfrom(4096)
                    say(came=f"udp {peer[0]} {port}")
                    each.sendto(secret, peer)
            except OSError as error:
                # Who sent a packet that it made itself may have no address to answer to; it came all the same.
                print(error, file=sys.stderr, flush=True)


main()
