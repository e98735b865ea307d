"""A message center on the smpp34 wheel, a second one that shares no code with ours.

smpp34_center.py [port]: prints "port N" once it listens; no port: an ephemeral one. Numbers that
start with 1555 go to the account "private"; receipts go back to whoever submitted. No passwords.
"""

import asyncio
import socket
import sys

import smpp34


def free_port() -> int:
    """The wheel does not tell which ephemeral port it took: find one for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def carry(event, message_id, to, back) -> None:
    await to.deliver_sm(
        source_addr=event.source_addr,
        destination_addr=event.destination_addr,
        esm_class=event.esm_class & 0xC0,
        data_coding=event.data_coding,
        short_message=event.short_message,
    )
    receipt = f"id:{message_id} sub:001 dlvrd:001 stat:DELIVRD err:000 text:"
    await back.deliver_sm(
        source_addr=event.destination_addr,
        destination_addr=event.source_addr,
        esm_class=4,
        short_message=receipt.encode(),
    )


async def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else free_port()
    server = smpp34.Server(host="127.0.0.1", port=port, system_id="smpp34")
    await server.start()
    print(f"port {port}", flush=True)
    by_session, by_name, carrying, count = {}, {}, set(), 0
    while True:
        event = await server.next()
        if isinstance(event, smpp34.Esme):
            by_session[event.session_id] = by_name[event.system_id] = event
        elif isinstance(event, smpp34.SubmitSmEvent):
            receiver = by_name.get("private")
            if receiver is None or not event.destination_addr.startswith("1555"):
                event.reject(smpp34.ESME_RINVDSTADR)
                continue
            count += 1
            message_id = f"{count:x}"
            event.accept(message_id=message_id)
            back = by_session[event.session_id]
            task = asyncio.create_task(carry(event, message_id, receiver, back))
            carrying.add(task)
            task.add_done_callback(carrying.discard)


asyncio.run(main())
