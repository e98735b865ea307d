//! The published test vectors: what an independent script makes, what is committed, and what is
//! printed in `docs/protocol.md` are the same, and this crate agrees with all three.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::process::Command;

use hmac::{Hmac, KeyInit, Mac};
use ringback_proto::access_request::{
    AccessRequest, Kid, OpeningKey, Purpose, Ratchet, SealingKey, TunnelType, find, hpke_public,
    kid_of, open, seal,
};
use ringback_proto::ipsec::{Association, Inner};
use ringback_proto::secret::Secret;
use ringback_proto::switchboard::PublicKey;
use ringback_proto::terminal::{CallNumber, Callee, MailAddress, ServiceId};
use serde_json::Value;
use sha2::Sha256;

const COMMITTED: &str = include_str!("vectors/signals.json");
const PROTOCOL: &str = include_str!("../../../docs/protocol.md");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors.py");

#[test]
fn sealing_makes_the_published_octets_and_text() {
    for vector in vectors() {
        let (sealing, _) = keys(&vector);
        let (signal, keys) = seal(&request(&vector), &sealing, array(&vector["entropy"])).unwrap();
        assert_eq!(signal.octets(), octets(&vector["signal"]), "{}", vector["name"]);
        assert_eq!(signal.to_text(), vector["text"], "{}", vector["name"]);
        assert_eq!(keys.sid.0, array(&vector["sid"]), "{}", vector["name"]);
    }
}

#[test]
fn opening_yields_the_published_fields_and_keys() {
    for vector in vectors() {
        let (sealing, opening) = keys(&vector);
        let signal = octets(&vector["signal"]);
        let (request, keys) = open(&signal, &opening).unwrap();
        assert_eq!(request, self::request(&vector), "{}", vector["name"]);
        assert_eq!(kid_of(&signal), Ok(sealing.kid));
        assert_eq!(opening.hpke_private.as_ref().map(hpke_public), sealing.hpke_public);
        assert_eq!(find(text(&vector["text"]).as_bytes()).unwrap().octets(), signal);

        assert_eq!(keys.sid.0, array(&vector["sid"]));
        assert_eq!(*keys.psk.expose(), array(&vector["session_psk"]));
        assert_eq!(*keys.confirm_private.expose(), array(&vector["confirm_private"]));
        assert_eq!(*keys.confirm_public.expose(), array(&vector["confirm_public"]));
        assert_eq!(keys.sid.signal_id().to_string(), text(&vector["signal_id"]));
    }
}

#[test]
fn hello_and_answer_are_made_of_the_derived_keys() {
    for vector in vectors() {
        let (_, keys) = open(&octets(&vector["signal"]), &keys(&vector).1).unwrap();
        let exporter = octets(&vector["tunnel_exporter"]);
        let code = |key: &Secret<32>, label: &[u8]| {
            let mut code = Hmac::<Sha256>::new_from_slice(key.expose()).unwrap();
            [label, &keys.sid.0, &exporter].iter().for_each(|it| code.update(it));
            code.finalize().into_bytes().to_vec()
        };
        let outcome = vector["outcome"].as_u64().unwrap() as u8;
        let hello = [&keys.sid.0[..], &code(&keys.confirm_private, b"c"), &[outcome]].concat();
        assert_eq!(hello, octets(&vector["hello"]), "{}", vector["name"]);
        let answer = [&[1][..], &code(&keys.confirm_public, b"s")].concat();
        assert_eq!(answer, octets(&vector["answer"]), "{}", vector["name"]);
    }
}

#[test]
fn the_ends_of_an_ipsec_tunnel_compute_the_published_addresses_and_binding() {
    for vector in vectors() {
        let (_, keys) = open(&octets(&vector["signal"]), &keys(&vector).1).unwrap();
        let key = |octet| PublicKey::of_raw([octet; 32]);
        let inner = Inner::of(&keys, &key(0x77));
        assert_eq!(inner.public.to_string(), text(&vector["inner_public"]));
        assert_eq!(inner.private.to_string(), text(&vector["inner_private"]));
        let association = Association {
            initiator_spi: [0x88; 8],
            responder_spi: [0x99; 8],
            private: key(0x66),
            public: key(0x77),
            inner,
        };
        let exporter = array(&vector["ipsec_exporter"]);
        assert_eq!(association.exporter(&keys.sid), exporter, "{}", vector["name"]);

        // Whatever else is another makes another binding.
        let spi = Association { responder_spi: [0x98; 8], ..association };
        let turned = Association { private: key(0x77), public: key(0x66), ..association };
        let stranger = Association { private: key(0x65), ..association };
        let elsewhere = Inner::of(&keys, &key(0x78));
        assert_ne!(elsewhere, inner);
        let elsewhere = Association { inner: elsewhere, ..association };
        for other in [spi, turned, stranger, elsewhere] {
            assert_ne!(other.exporter(&keys.sid), exporter);
        }
    }
}

#[test]
fn an_independent_script_makes_the_same_vectors() {
    let required = std::env::var("RINGBACK_PEERS").is_ok_and(|it| it == "require");
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    let missing = match python(&["-c", "import cryptography"]) {
        Ok(output) => (!output.status.success()).then_some("no Python package cryptography"),
        Err(_) => Some("no python3"),
    };
    if let Some(missing) = missing {
        assert!(!required, "{missing}, but RINGBACK_PEERS says that it is required");
        eprintln!("skipped: {missing}, so the test vectors are not compared with docs/vectors.py");
        return;
    }
    let output = python(&[SCRIPT]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == COMMITTED.as_bytes(), "run docs/vectors.py and commit what it writes");
}

#[test]
fn the_protocol_shows_the_first_vector_octet_for_octet() {
    let vectors = vectors();
    let vector = &vectors[0];
    assert_eq!(frame("signal"), octets(&vector["signal"]));
    assert_eq!(frame("payload"), octets(&vector["payload"]));
    for field in ["psk", "hpke_private", "hpke_public", "entropy", "exporter", "sid"] {
        assert!(PROTOCOL.contains(text(&vector[field])), "{field}");
    }
    for field in ["inner_public", "inner_private", "ipsec_exporter"] {
        assert!(PROTOCOL.contains(text(&vector[field])), "{field}");
    }
    for field in ["session_psk", "confirm_private", "confirm_public", "signal_id", "text"] {
        assert!(PROTOCOL.contains(text(&vector[field])), "{field}");
    }
}

/// The octets of a golden frame: its lines are hex, a bar, and what the octets mean.
fn frame(name: &str) -> Vec<u8> {
    let (_, after) = PROTOCOL.split_once(&format!("```golden {name}\n")).unwrap();
    let (frame, _) = after.split_once("```").unwrap();
    let hex = |line: &str| line.split_once('|').unwrap().0.split_whitespace().collect::<String>();
    unhex(&frame.lines().map(hex).collect::<String>())
}

fn vectors() -> Vec<Value> {
    let vectors: Vec<Value> = serde_json::from_str(COMMITTED).unwrap();
    assert_eq!(vectors.len(), 9);
    vectors
}

fn keys(vector: &Value) -> (SealingKey, OpeningKey) {
    let kid = Kid(u32::from_be_bytes(array(&vector["kid"])));
    let psk = Secret::new(array(&vector["psk"]));
    let hpke = vector["suite"] == 2;
    let hpke_public = hpke.then(|| array(&vector["hpke_public"]));
    let hpke_private = hpke.then(|| Secret::new(array(&vector["hpke_private"])));
    let epoch = vector["epoch"].as_u64().unwrap() as u8;
    (
        SealingKey { kid, epoch, psk: psk.clone(), hpke_public },
        OpeningKey { kid, psk: Ratchet::new(epoch.into(), psk), hpke_private },
    )
}

fn request(vector: &Value) -> AccessRequest {
    let request = &vector["request"];
    let number = |field: &str| request[field].as_u64().unwrap();
    let callee = text(&request["callee"]);
    AccessRequest {
        purpose: match text(&request["purpose"]) {
            "access" => Purpose::Access,
            "cancel" => Purpose::Cancel,
            "probe" => Purpose::Probe,
            other => panic!("{other}"),
        },
        tunnel: match text(&request["tunnel"]) {
            "tls" => TunnelType::Tls,
            "ipsec" => TunnelType::Ipsec,
            "quic" => TunnelType::Quic,
            "ipsec-or-tls" => TunnelType::IpsecOrTls,
            other => panic!("{other}"),
        },
        seq: number("seq") as u32,
        issued: number("issued") as u32,
        ttl_seconds: number("ttl_seconds") as u16,
        service: ServiceId(number("service") as u16),
        public_proxy: text(&request["public_proxy"]).parse::<SocketAddr>().unwrap(),
        callee: match callee.starts_with('+') {
            true => Callee::Number(CallNumber::parse(callee).unwrap()),
            false => Callee::Mail(MailAddress::parse(callee).unwrap()),
        },
        key: Secret::new(array(&request["key"])),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn octets(value: &Value) -> Vec<u8> {
    unhex(text(value))
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    octets(value).try_into().unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
