"""A DNS server: `dns.py [--port PORT] SECONDS ADDRESS…` or `dns.py [--port PORT] SECONDS --zone FILE`.

It answers after SECONDS. Every name has the given IPv4 addresses, in that order, or those in FILE, which it reads for each query; and no
IPv6 ones. It serves on 127.0.0.53, port 53 or PORT (0: a free one), and prints a line with its address once it does.
"""
import argparse
import pathlib
import socket
import struct
import time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=53)
parser.add_argument("--zone", type=pathlib.Path)
parser.add_argument("seconds", type=float)
parser.add_argument("addresses", nargs="*")
options = parser.parse_args()
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", options.port))
print("serving on %s:%d" % server.getsockname(), flush=True)
while True:
    query, client = server.recvfrom(512)
    arrival = time.monotonic()
    end = query.index(b"\0", 12) + 5
    kind = struct.unpack(">H", query[end - 4 : end - 2])[0]
    addresses = options.zone.read_text().split() if options.zone else options.addresses
    answers = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in addresses]
    answers = answers if kind == 1 else []
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(answers), 0, 0)
    # The resolver sends both questions at once: the second is answered at the same time.
    time.sleep(max(0.0, arrival + (options.seconds if kind == 1 else 0) - time.monotonic()))
    server.sendto(header + query[12:end] + b"".join(answers), client)
