//! Random octets and broken requests: no parser panics, and none names what nobody asked for.

use ringback::ingress::forwarded::{self, Telling};
use ringback::ingress::{Credential, Listening, head, name};
use tokio::io::AsyncWriteExt;

use crate::pair;

const SEED: u64 = 0x52_49_4e_47;
const ROUNDS: usize = 3_000;

#[tokio::test]
async fn no_octets_make_a_parser_panic() {
    let mut chance = Chance(SEED);
    let mut named = 0;
    let client = Some("192.0.2.1:1".parse().unwrap());
    let telling = Telling { client, identity: None, consume: true, admitted: None };
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
            let _ = forwarded::rewrite(&octets, &telling, "http");
        }
    }
    // Both kinds were seen: what is spoiled a little is often whole still.
    assert!(ROUNDS / 10 < named && named < ROUNDS * 4, "seed {SEED:#x}: {named} named");
}

/// What is routed by and what is authorized by come out of one reading: whatever a head looks like,
/// a second field, in any case and place, never becomes the credential.
#[test]
fn no_spoiled_head_shows_a_credential_that_was_not_the_only_one() {
    const LEE: &str = "Authorization: Basic bGVlOm9wZW4=\r\n";
    const EVE: &str = "aUTHORIZATION: Basic ZXZlOm9wZW4=\r\n";
    let mut chance = Chance(SEED);
    let (mut single, mut odd) = (0, 0);
    for round in 0..20 * ROUNDS {
        let model = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{LEE}X: y\r\n{EVE}\r\n");
        let octets = chance.spoil(model.as_bytes(), round);
        let Ok(Some(asked)) = head(&octets) else { continue };
        let text = String::from_utf8_lossy(&octets).to_ascii_lowercase();
        let text = text.replace("\r\n", "\n");
        let fields = text.split("\n\n").next().unwrap_or_default();
        let both = fields.lines().filter(|it| it.starts_with("authorization:")).count() == 2;
        match asked.credential {
            Credential::Field { .. } => {
                single += 1;
                assert!(!both, "{fields:?}");
            }
            Credential::Odd => odd += 1,
            Credential::Nothing => assert!(!both, "{fields:?}"),
            Credential::Login { .. } => panic!("no login is in a head"),
        }
    }
    assert!(ROUNDS / 10 < single && ROUNDS < odd, "seed {SEED:#x}: {single} single, {odd} odd");
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
