"""A foreign ESME on smpplib: binds to our simulated operator, submits, hears and tells.

smpplib_esme.py PORT: binds as "public" and as "private", sends text and octets from one to the
other, prints what was heard and the receipts as lines, and unbinds.
"""

import sys

import smpplib.client
import smpplib.consts


def bind(port: str, name: str) -> smpplib.client.Client:
    client = smpplib.client.Client("127.0.0.1", int(port), timeout=10)
    client.connect()
    client.bind_transceiver(system_id=name, password="secret")
    return client


def main() -> None:
    public, private = bind(sys.argv[1], "public"), bind(sys.argv[1], "private")
    heard, receipts, ids = [], [], []
    private.set_message_received_handler(lambda pdu: heard.append(pdu) and None)
    public.set_message_received_handler(lambda pdu: receipts.append(pdu) and None)
    public.set_message_sent_handler(lambda pdu: ids.append(pdu.message_id.decode()))
    for coding, content in [(0, b"RB-text*"), (4, bytes([0x11, 0xFF, 0x00, 0x80]))]:
        public.send_message(
            source_addr_ton=3,
            source_addr="70707",
            dest_addr_ton=1,
            dest_addr_npi=1,
            destination_addr="15550100777",
            data_coding=coding,
            short_message=content,
            registered_delivery=True,
            validity_period="000000000100000R",
        )
    while len(heard) < 2:
        private.read_once()
    while len(receipts) < 2 or len(ids) < 2:
        public.read_once()
    for pdu in heard:
        print("heard", pdu.data_coding, pdu.short_message.hex())
    for pdu in receipts:
        state = pdu.message_state
        print("receipt", pdu.receipted_message_id.decode().strip("\0") in ids, state)
    public.unbind()
    public.disconnect()
    private.unbind()
    private.disconnect()
    print("unbound")


main()
