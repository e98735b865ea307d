#!/usr/bin/env python3
"""Writes the test vectors of the access request, from its description alone.

Independent of the Rust code: written from docs/protocol.md and from RFC 5869 (HKDF), RFC 8439
(ChaCha20-Poly1305) and RFC 9180 (HPKE), with the primitives of the `cryptography` package.

    python3 docs/vectors.py > crates/ringback-proto/tests/vectors/signals.json
"""

import hashlib
import hmac
import ipaddress
import json
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-*"


# RFC 5869


def extract(salt, material):
    return hmac.digest(salt or bytes(32), material, "sha256")


def expand(key, info, length):
    octets, block, count = b"", b"", 1
    while len(octets) < length:
        block = hmac.digest(key, block + info + bytes([count]), "sha256")
        octets, count = octets + block, count + 1
    return octets[:length]


# RFC 9180: DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, ChaCha20Poly1305 0x0003

KEM_SUITE = b"KEM" + (0x0020).to_bytes(2, "big")
HPKE_SUITE = b"HPKE" + b"".join(it.to_bytes(2, "big") for it in (0x0020, 0x0001, 0x0003))
MODE_PSK = 0x01


def labeled_extract(suite, salt, label, material):
    return extract(salt, b"HPKE-v1" + suite + label + material)


def labeled_expand(suite, key, label, info, length):
    return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def public(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def derive_key_pair(material):  # 7.1.3
    key = labeled_extract(KEM_SUITE, b"", b"dkp_prk", material)
    return X25519PrivateKey.from_private_bytes(labeled_expand(KEM_SUITE, key, b"sk", b"", 32))


def encap(recipient, ephemeral):  # 4.1
    dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    enc = public(ephemeral)
    key = labeled_extract(KEM_SUITE, b"", b"eae_prk", dh)
    return labeled_expand(KEM_SUITE, key, b"shared_secret", enc + recipient, 32), enc


def key_schedule_psk(shared_secret, info, psk, psk_id):  # 5.1
    psk_id_hash = labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", psk_id)
    info_hash = labeled_extract(HPKE_SUITE, b"", b"info_hash", info)
    context = bytes([MODE_PSK]) + psk_id_hash + info_hash
    secret = labeled_extract(HPKE_SUITE, shared_secret, b"secret", psk)
    key = labeled_expand(HPKE_SUITE, secret, b"key", context, 32)
    base_nonce = labeled_expand(HPKE_SUITE, secret, b"base_nonce", context, 12)
    exporter_secret = labeled_expand(HPKE_SUITE, secret, b"exp", context, 32)
    return key, base_nonce, exporter_secret


def export(exporter_secret, context, length):  # 5.3
    return labeled_expand(HPKE_SUITE, exporter_secret, b"sec", context, length)


# docs/protocol.md


def call_number(number):
    digits = number.removeprefix("+")
    return bytes.fromhex(f"{len(digits):x}{digits}".ljust(16, "f"))


def payload(request):
    address, port = request["public_proxy"].rsplit(":", 1)
    address = ipaddress.ip_address(address.strip("[]"))
    if address.version == 4:
        address = ipaddress.IPv6Address("::ffff:" + str(address))
    by_number = request["callee"].startswith("+")
    octets = b"".join(
        [
            {"access": 1, "cancel": 2, "probe": 3}[request["purpose"]].to_bytes(1, "big"),
            {"tls": 1, "ipsec": 3, "quic": 4, "ipsec-or-tls": 5}[request["tunnel"]].to_bytes(1, "big"),
            request["seq"].to_bytes(4, "big"),
            request["issued"].to_bytes(4, "big"),
            request["ttl_seconds"].to_bytes(2, "big"),
            request["service"].to_bytes(2, "big"),
            int(port).to_bytes(2, "big"),
            address.packed,
            call_number(request["callee"]) if by_number else b"\xff" * 8,
            bytes.fromhex(request["key"]),
        ]
    )
    assert len(octets) == 56
    if not by_number:
        mail = request["callee"].encode("ascii")
        octets += bytes([1, len(mail)]) + mail
        octets += bytes(-len(octets) % 64)
    return octets


def seal_psk(psk, header, octets, entropy):
    salt = entropy[:16]
    key = extract(salt, psk)
    cipher = ChaCha20Poly1305(expand(key, b"rb1 aead" + header, 32))
    sealed = cipher.encrypt(bytes(12), octets, header)
    return salt + sealed, expand(key, b"rb1 exp" + header, 32)


def seal_hpke(psk, kid, recipient, header, octets, entropy):
    shared_secret, enc = encap(recipient, derive_key_pair(entropy))
    key, nonce, secret = key_schedule_psk(shared_secret, b"ringback signal v1", psk, kid)
    sealed = ChaCha20Poly1305(key).encrypt(nonce, octets, header)
    return enc + sealed, export(secret, b"rb1 exp", 32)


def text(signal):
    bits = "".join(f"{it:08b}" for it in signal)
    bits += "0" * (-len(bits) % 6)
    return "RB" + "".join(ALPHABET[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


def vector(name, suite, kid, epoch, request, tunnel_exporter):
    def chance(what, length):  # reproducible, and different in every vector
        return hashlib.shake_256(f"ringback vector {name} {what}".encode()).digest(length)

    psk, entropy = chance("psk", 32), chance("entropy", 32)
    request = request | {"key": chance("key", 16).hex()}
    header = bytes([0x10 | suite]) + kid + bytes([epoch])
    octets = payload(request)
    keys = {"psk": psk.hex()}
    if suite == 1:
        sealed, exporter = seal_psk(psk, header, octets, entropy)
    else:
        private = X25519PrivateKey.from_private_bytes(chance("private", 32))
        keys |= {"hpke_private": chance("private", 32).hex(), "hpke_public": public(private).hex()}
        sealed, exporter = seal_hpke(psk, kid, public(private), header, octets, entropy)
    signal = header + sealed

    key = extract(hashlib.sha256(header + octets).digest(), exporter + bytes.fromhex(request["key"]))
    sid = expand(key, b"rb1 sid", 16)
    confirm_private = expand(key, b"rb1 confirm c", 32)
    confirm_public = expand(key, b"rb1 confirm s", 32)
    session_psk = expand(key, b"rb1 psk", 32)
    outcome = 0
    return {
        "name": name,
        "suite": suite,
        "kid": kid.hex(),
        "epoch": epoch,
        **keys,
        "entropy": entropy.hex(),
        "request": request,
        "payload": octets.hex(),
        "signal": signal.hex(),
        "text": text(signal),
        "exporter": exporter.hex(),
        "sid": sid.hex(),
        "session_psk": session_psk.hex(),
        "confirm_private": confirm_private.hex(),
        "confirm_public": confirm_public.hex(),
        "signal_id": hashlib.sha256(b"rb1 signal id" + sid).hexdigest()[:16],
        **ipsec(sid, session_psk),
        "tunnel_exporter": tunnel_exporter.hex(),
        "outcome": outcome,
        "hello": (
            sid
            + hmac.digest(confirm_private, b"c" + sid + tunnel_exporter, "sha256")
            + bytes([outcome])
        ).hex(),
        "answer": (
            b"\x01" + hmac.digest(confirm_public, b"s" + sid + tunnel_exporter, "sha256")
        ).hex(),
    }


def ipsec(sid, psk):
    """What both ends of an IPsec tunnel compute, for the keys and SPIs of docs/protocol.md."""
    prefix = bytes.fromhex("302a300506032b6570032100")
    private_key, public_key = prefix + 32 * b"\x66", prefix + 32 * b"\x77"
    network = b"\xfd" + hashlib.sha256(b"rb1 inner network" + public_key).digest()[:5] + b"\0"
    suffix = bytearray(expand(psk, b"rb1 inner", 8))
    suffix[7] |= 1
    inner_public, inner_private = (network + bytes([end]) + suffix for end in (0, 1))
    spis = 8 * b"\x88" + 8 * b"\x99"
    said = b"rb1 ipsec" + sid + spis + private_key + public_key + inner_private + inner_public
    return {
        "inner_public": str(ipaddress.IPv6Address(bytes(inner_public))),
        "inner_private": str(ipaddress.IPv6Address(bytes(inner_private))),
        "ipsec_exporter": hashlib.sha256(said).hexdigest(),
    }


def request(purpose, tunnel, seq, ttl_seconds, service, public_proxy, callee):
    issued = 1_700_000_000 + seq
    return {
        "purpose": purpose,
        "tunnel": tunnel,
        "seq": seq,
        "issued": issued,
        "ttl_seconds": ttl_seconds,
        "service": service,
        "public_proxy": public_proxy,
        "callee": callee,
    }


def enrolment():
    """What `docs/protocol.md` prints of enrolment and of the ratchet, one value a line."""
    psk = bytes(range(32))
    for _ in range(3):
        print(psk.hex())
        psk = expand(extract(b"", psk), b"rb1 ratchet", 32)

    secret, exporter = bytes(range(0xA0, 0xB0)), 32 * b"\x55"
    offered = extract(b"", secret)
    offer, key = expand(offered, b"rb1 offer id", 16), expand(offered, b"rb1 offer key", 32)
    print(offer.hex(), key.hex(), sep="\n")

    address = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 10]) + (7443).to_bytes(2, "big")
    content = address + 32 * b"\x11" + secret
    content += hashlib.sha256(b"rb1 code" + content).digest()[:4]
    bits, letters = int.from_bytes(content, "big"), "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    code = "".join(letters[bits >> (5 * (111 - at)) & 31] for at in range(112))
    print("-".join(["RBE1", *(code[at : at + 4] for at in range(0, 112, 4))]))

    suite_and_key = b"\x02" + 32 * b"\x22"
    print(hmac.digest(key, b"r" + offer + exporter + suite_and_key, "sha256").hex())
    number, mail, name = b"15550100777", b"car@fleet.example", b"patient.ring.example"
    kid = bytes.fromhex("0badcafe")
    body = kid + bytes([len(number), len(mail), len(name), 2, 1]) + number + mail + name
    body += bytes.fromhex("0001005000020016") + address
    print(hmac.digest(key, b"o" + offer + exporter + body, "sha256").hex())
    print(expand(extract(exporter, key), b"rb1 enrolment psk" + offer + kid, 32).hex())


def main():
    if sys.argv[1:] == ["enrolment"]:
        return enrolment()
    number, longest = "+15550100777", "+123456789012345"
    mail, longest_mail = "car@fleet.example", "c" * 240 + "@fleet.example"
    v4, v6 = "192.0.2.10:443", "[2001:db8::10]:8443"
    exporter = bytes(range(32))
    vectors = [
        vector("hpke v4 number", 2, bytes.fromhex("0badcafe"), 0,
               request("access", "tls", 64_000_000, 60, 1, v4, number), exporter),
        vector("psk v4 number", 1, bytes.fromhex("0badcaff"), 7,
               request("access", "tls", 64_000_001, 60, 0, v4, number), exporter),
        vector("hpke v6 probe over ipsec", 2, bytes.fromhex("ffffffff"), 255,
               request("probe", "ipsec", 4_294_967_295 - 1_700_000_000, 3600, 65535, v6, longest),
               bytes(32)),
        vector("psk v6 cancel, shortest number", 1, bytes.fromhex("00000000"), 0,
               request("cancel", "tls", 0, 1, 2, v6, "+7"), exporter),
        vector("hpke v4 mail", 2, bytes.fromhex("0badcb00"), 1,
               request("access", "tls", 64_000_002, 600, 1, v4, mail), exporter),
        vector("psk v6 mail, longest address", 1, bytes.fromhex("0badcb01"), 1,
               request("access", "tls", 64_000_003, 600, 1, v6, longest_mail), exporter),
        vector("hpke v4 number, ipsec or tls", 2, bytes.fromhex("0badcb03"), 2,
               request("access", "ipsec-or-tls", 64_000_005, 60, 3, v4, number), exporter),
        vector("psk v4 number, quic", 1, bytes.fromhex("0badcb04"), 0,
               request("access", "quic", 64_000_006, 60, 4, v4, number), exporter),
        vector("psk v4 mail, one block", 1, bytes.fromhex("0badcb02"), 1,
               request("access", "tls", 64_000_004, 600, 1, v4, "a@b.cd"), exporter),
    ]
    print(json.dumps(vectors, indent=2))


if __name__ == "__main__":
    main()
