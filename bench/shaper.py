"""A slow line in user space: two TUN devices, and between them a rate, a delay and lost segments, in both directions.

``python -m bench.shaper RATE DELAY LOSS``: bits per second (of IP packets), seconds one way, share of segments lost.
Prints the two devices' names and runs until it is ended; the devices go with it.

The devices take segmentation offload, so one read brings up to 64 KiB of one connection (a virtio header says into
segments of which size it is to be cut). Rate, queue and loss count by those segments all the same: a packet of many is
cut in two around a lost one. The queue holds what the line carries in two round trips and drops what comes on top.
"""

import fcntl
import math
import os
import random
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator

# linux/if_tun.h
_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4 = 0x01, 0x02
_VNET = struct.Struct("<BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset: linux/virtio_net.h
_FIN = 0x01
_BATCH = 64  # packets read before others get their turn


def device(name: str) -> int:
    """A TUN device's descriptor, not blocking."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR))
    fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _VNET.size))
    fcntl.ioctl(fd, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4)
    return fd


class Packet:
    """An IPv4 packet with its virtio header: ``count`` segments of at most ``step`` payload bytes, ``size`` on the line."""

    __slots__ = ("count", "data", "header", "payload", "size", "step")

    def __init__(self, data: bytes) -> None:
        self.data = data
        gso, step = data[1], _VNET.unpack_from(data)[3]
        body = len(data) - _VNET.size
        if not gso:
            self.header, self.payload, self.step, self.count, self.size = body, 0, 0, 1, body
            return
        ip = (data[_VNET.size] & 15) * 4
        self.header = ip + (data[_VNET.size + ip + 12] >> 4) * 4
        self.payload, self.step = body - self.header, step
        self.count = -(-self.payload // step)
        self.size = self.payload + self.count * self.header

    def part(self, first: int, last: int) -> "Packet":
        """Segments ``[first, last)`` as a packet of their own."""
        if first == 0 and last == self.count:
            return self
        ip = (self.data[_VNET.size] & 15) * 4
        tcp = _VNET.size + ip
        head = bytearray(self.data[: _VNET.size + self.header])
        start = _VNET.size + self.header + first * self.step
        payload = self.data[start : min(start + (last - first) * self.step, len(self.data))]
        if last - first == 1:
            head[1] = 0  # no segmentation
            head[4:6] = b"\0\0"
        struct.pack_into("!H", head, _VNET.size + 2, self.header + len(payload))
        sequence = struct.unpack_from("!I", head, tcp + 4)[0]
        struct.pack_into("!I", head, tcp + 4, (sequence + first * self.step) & 0xFFFFFFFF)
        if last < self.count:
            head[tcp + 13] &= ~_FIN
        struct.pack_into("!H", head, _VNET.size + 10, 0)
        struct.pack_into("!H", head, _VNET.size + 10, ~_sum(head[_VNET.size : tcp]) & 0xFFFF)
        pseudo = bytes(head[_VNET.size + 12 : tcp][:8]) + struct.pack("!HH", 6, self.header - ip + len(payload))
        struct.pack_into("!H", head, tcp + 16, _sum(pseudo))  # the kernel completes it: VIRTIO_NET_HDR_F_NEEDS_CSUM
        return Packet(bytes(head) + payload)


class Direction:
    """One way: what is read from ``source`` is written to ``target``, later and less."""

    def __init__(self, source: int, target: int, rate: float, delay: float, loss: float) -> None:
        self.source, self.target = source, target
        self._rate, self._delay, self._loss = rate / 8, delay, loss
        self._room = max(self._rate * delay * 4, 1 << 17)
        self._free = 0.0  # when the line has sent all that it has taken
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._random = random.Random(1)  # the same losses in every run
        self._until_lost = self._distance()

    def take(self, now: float) -> None:
        """Read what has come."""
        for _ in range(_BATCH):
            try:
                packet = Packet(os.read(self.source, 1 << 17))
            except BlockingIOError:
                return
            for part in self._spared(packet):
                self._queue(part, now)

    def give(self, now: float) -> float | None:
        """Write what is due; when the next is, None when nothing is under way."""
        while self._under_way and self._under_way[0][0] <= now:
            os.write(self.target, self._under_way.popleft()[1])
        return self._under_way[0][0] if self._under_way else None

    def _queue(self, packet: Packet, now: float) -> None:
        room = self._room - max(0.0, self._free - now) * self._rate
        fits = packet.count if packet.size <= room else int(room * packet.count / packet.size)
        if fits > 0:
            packet = packet.part(0, fits)
            self._free = max(self._free, now) + packet.size / self._rate
            self._under_way.append((self._free + self._delay, packet.data))

    def _spared(self, packet: Packet) -> Iterator[Packet]:
        first = 0
        while packet.count - first > self._until_lost:
            lost = first + self._until_lost
            if lost > first:
                yield packet.part(first, lost)
            first, self._until_lost = lost + 1, self._distance()
        self._until_lost -= packet.count - first
        if first < packet.count:
            yield packet.part(first, packet.count)

    def _distance(self) -> int:
        """How many segments pass before the next one is lost."""
        if not self._loss:
            return 1 << 60
        return int(math.log(1 - self._random.random()) / math.log(1 - self._loss))


def _sum(data: bytes | bytearray) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071), not inverted."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def run(rate: float, delay: float, loss: float) -> None:
    """Shape until the process ends."""
    names = ("bench0", "bench1")
    one, two = (device(name) for name in names)
    ways = (Direction(one, two, rate, delay, loss), Direction(two, one, rate, delay, loss))
    print(*names, flush=True)
    due: list[float] = []
    while True:
        wait = max(0.0, min(due) - time.monotonic()) if due else 1.0
        ready = select.select([one, two], [], [], wait)[0]
        for way in ways:
            if way.source in ready:
                way.take(time.monotonic())
        now = time.monotonic()
        due = [at for way in ways if (at := way.give(now)) is not None]


if __name__ == "__main__":
    run(*map(float, sys.argv[1:]))
