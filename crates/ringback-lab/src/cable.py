"""A cable: carries every frame between two devices, as late, as slowly and as badly as it was told.

Frames never overtake one another and are otherwise unchanged; those it was not told to lose arrive,
but for those that a slow cable would have to keep for too long. It reads its own input only to learn
that nobody holds the other end any more. Its luck is seeded, so that a run can be repeated.
Usage: cable.py DELAY_MS JITTER_MS LOSS_PERCENT RATE_KBIT DEVICE DEVICE (rate 0: as fast as it can)
"""

import random
import select
import socket
import sys
import time
from collections import deque

ANY_PROTOCOL = 3  # ETH_P_ALL
FRAME_OCTETS = 65536
LONGEST_QUEUE = 1.0  # seconds that a frame may wait for those before it; beyond, it is lost


class Direction:
    """One direction of the cable: when a frame that goes in now comes out, if at all."""

    def __init__(self, end, seed, delay, jitter, loss, rate):
        self.end, self.luck = end, random.Random(seed)
        self.delay, self.jitter, self.loss, self.rate = delay, jitter, loss, rate
        self.free_at = self.latest = 0.0
        self.under_way = deque()

    def take(self, frame, now):
        if self.luck.random() < self.loss:
            return
        sent = now
        if self.rate:
            starts = max(now, self.free_at)
            if now + LONGEST_QUEUE < starts:
                return
            sent = self.free_at = starts + len(frame) * 8 / self.rate
        due = sent + self.delay + self.luck.random() * self.jitter
        self.latest = max(self.latest, due)
        self.under_way.append((self.latest, frame))

    def deliver(self, now):
        while self.under_way and self.under_way[0][0] <= now:
            try:
                self.end.send(self.under_way[0][1])
            except BlockingIOError:
                return
            self.under_way.popleft()


def plug(device):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ANY_PROTOCOL))
    end.bind((device, ANY_PROTOCOL))
    end.setblocking(False)
    return end


def take(end, direction, now):
    """Takes every frame that lies there. What this host itself sends was not carried by the cable."""
    while True:
        try:
            frame, (_, _, kind, *_) = end.recvfrom(FRAME_OCTETS)
        except BlockingIOError:
            return
        if kind != socket.PACKET_OUTGOING:
            direction.take(frame, now)


def main():
    delay, jitter, loss, rate = (int(it) for it in sys.argv[1:5])
    manners = delay / 1000, jitter / 1000, loss / 100, rate * 1000
    ends = [plug(device) for device in sys.argv[5:7]]
    directions = [Direction(end, seed, *manners) for seed, end in enumerate(reversed(ends))]
    print("ready", flush=True)
    while True:
        dues = [it.under_way[0][0] for it in directions if it.under_way]
        patience = max(0, min(dues) - time.monotonic()) if dues else None
        readable, _, _ = select.select([*ends, sys.stdin], [], [], patience)
        if sys.stdin in readable:
            return
        now = time.monotonic()
        for end, direction in zip(ends, directions):
            take(end, direction, now)
            direction.deliver(now)


main()
