"""How fast smpplib submits: smpplib_rate.py PORT COUNT prints submissions a second.

Ten are in flight at a time.
"""

import logging
import sys
import time

import smpplib.client

WINDOW = 10


def main() -> None:
    logging.disable(logging.CRITICAL)
    port, count = int(sys.argv[1]), int(sys.argv[2])
    client = smpplib.client.Client("127.0.0.1", port, timeout=10)
    client.connect()
    client.bind_transmitter(system_id="public", password="secret")
    start = time.monotonic()
    for sent in range(count):
        client.send_message(
            source_addr="70707",
            destination_addr="15550100777",
            data_coding=4,
            short_message=bytes([7]) * 110,
        )
        if WINDOW <= sent + 1:
            client.read_once()
    for _ in range(WINDOW - 1):
        client.read_once()
    print(round(count / (time.monotonic() - start)))


main()
