"""A DNS server that answers late: `dns.py SECONDS ADDRESS…`. Every name has the given IPv4 addresses, in that order, and no IPv6 ones.

It serves on 127.0.0.53:53, and prints a line once it does.
"""
import socket
import struct
import sys
import time

seconds, addresses = float(sys.argv[1]), sys.argv[2:]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.53", 53))
print("serving", flush=True)
while True:
    query, client = server.recvfrom(512)
    arrival = time.monotonic()
    end = query.index(b"\0", 12) + 5
    kind = struct.unpack(">H", query[end - 4 : end - 2])[0]
    answers = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address) for address in addresses]
    answers = answers if kind == 1 else []
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(answers), 0, 0)
    # The resolver sends both questions at once: the second is answered at the same time.
    time.sleep(max(0.0, arrival + (seconds if kind == 1 else 0) - time.monotonic()))
    server.sendto(header + query[12:end] + b"".join(answers), client)
