"""One end of a TCP flow, or a burst of packets; started in a network namespace by shaping.py.

receive PORT SECONDS [STEP]   takes one connection; prints its bytes in every STEP seconds, as a JSON list
send ADDRESS PORT SECONDS [N] sends over N connections; prints the segments sent again, as a number
packets ADDRESS COUNT         sends frames of 64 bytes; prints the processor's time for each, in ns
"""

import json
import socket
import struct
import sys
import threading
import time


def receive(port, seconds, step=0.1):
    server = socket.create_server(("", port), backlog=128)
    server.settimeout(20)
    connections, counts, begin = [], [0] * int(seconds / step + 1), None
    lock = threading.Lock()

    def drain(connection):
        buffer = bytearray(1 << 18)
        while True:
            try:
                count = connection.recv_into(buffer)
            except OSError:
                return
            place = int((time.monotonic() - begin) / step)
            if not count or place >= len(counts):
                return
            with lock:
                counts[place] += count

    end = None
    while end is None or time.monotonic() < end:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            break
        if begin is None:
            begin = time.monotonic()
            end = begin + seconds
            server.settimeout(0.2)
        thread = threading.Thread(target=drain, args=(connection,), daemon=True)
        thread.start()
        connections.append(thread)
        server.settimeout(max(0.01, end - time.monotonic()))
    print(json.dumps(counts[:-1]))


def send(address, port, seconds, connections=1):
    sockets = []
    for _ in range(connections):
        for _ in range(100):
            try:
                sockets.append(socket.create_connection((address, port), 5))
                break
            except OSError:
                time.sleep(0.05)
    end = time.monotonic() + seconds
    data = bytes(1 << 18)

    def fill(one):
        one.settimeout(0.5)
        while time.monotonic() < end:
            try:
                one.send(data)
            except TimeoutError:
                continue
            except OSError:
                return

    threads = [threading.Thread(target=fill, args=(one,)) for one in sockets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # tcpi_total_retrans: the 24th number of 32 bits, after eight bytes.
    again = 0
    for one in sockets:
        info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        again += struct.unpack_from("I", info, 8 + 4 * 23)[0]
    print(again)


def spent():
    """This process's time on a processor so far, in ns, interrupts that it was taken for included."""
    with open("/proc/self/schedstat") as file:
        return int(file.read().split()[0])


def packets(address, count):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    data = bytes(22)  # 64 with the headers of UDP, IP and Ethernet
    for _ in range(1000):
        one.sendto(data, (address, 9))
    before = spent()
    for _ in range(count):
        one.sendto(data, (address, 9))
    print((spent() - before) / count)


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "receive":
        receive(int(words[0]), float(words[1]), *map(float, words[2:]))
    elif verb == "send":
        send(words[0], int(words[1]), float(words[2]), *map(int, words[3:]))
    else:
        packets(words[0], int(words[1]))
