//! Random octets and broken requests: no parser panics, and none names what nobody asked for.

use ringback::ingress::{Listening, forwarded, name};
use tokio::io::AsyncWriteExt;

use crate::pair;

const SEED: u64 = 0x52_49_4e_47;
const ROUNDS: usize = 3_000;

#[tokio::test]
async fn no_octets_make_a_parser_panic() {
    let mut chance = Chance(SEED);
    let mut named = 0;
    for round in 0..ROUNDS {
        for (listening, model) in [
            (Listening::Http, &b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"[..]),
            (Listening::Tls, &hello("a.example")),
            (Listening::Proxy, b"\x05\x01\x00\x05\x01\x00\x03\x09a.example\x00\x50"),
            (Listening::Proxy, b"CONNECT a.example:80 HTTP/1.1\r\n\r\n"),
        ] {
            let octets = chance.spoil(model, round);
            let (mut client, mut held) = pair().await;
            client.write_all(&octets).await.unwrap();
            client.shutdown().await.unwrap();
            named += usize::from(name(&mut held, &listening).await.is_ok());
            let _ = forwarded::rewrite(&octets, "192.0.2.1:1".parse().unwrap(), "http");
        }
    }
    // Both kinds were seen: what is spoiled a little is often whole still.
    assert!(ROUNDS / 10 < named && named < ROUNDS * 4, "seed {SEED:#x}: {named} named");
}

/// A minimal ClientHello of TLS 1.3, so that single octets of it matter.
fn hello(name: &str) -> Vec<u8> {
    let vector = |octets: &[u8]| [&(octets.len() as u16).to_be_bytes(), octets].concat();
    let entry = [&[0][..], &vector(name.as_bytes())].concat();
    let extensions = [
        [&[0, 0][..], &vector(&vector(&entry))].concat(),
        vec![0, 13, 0, 4, 0, 2, 8, 7],
        vec![0, 43, 0, 3, 2, 3, 4],
    ]
    .concat();
    let random = [7; 32];
    let body = [&[3, 3][..], &random, &[0, 0, 2, 0x13, 1, 1, 0], &vector(&extensions)].concat();
    let message = [&[1, 0][..], &vector(&body)].concat();
    [&[0x16, 3, 1][..], &vector(&message)].concat()
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % bound
    }

    /// Mostly the model with a few octets changed or cut off; sometimes noise alone.
    fn spoil(&mut self, model: &[u8], round: usize) -> Vec<u8> {
        if round.is_multiple_of(8) {
            return (0..self.below(200)).map(|_| self.below(256) as u8).collect();
        }
        let mut octets = model.to_vec();
        for _ in 0..self.below(4) {
            let at = self.below(octets.len());
            octets[at] = self.below(256) as u8;
        }
        if self.below(4) == 0 {
            octets.truncate(self.below(model.len()));
        }
        octets
    }
}
