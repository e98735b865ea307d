//! How a signal is sealed and opened, and what both ends derive from it.
//!
//! Two suites (RFC 5869 and 8439; RFC 9180). Nothing here says why a seal would not open.

use std::convert::Infallible;

use chacha20poly1305::ChaCha20Poly1305 as Cipher;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    AccessRequest, HEADER, Kid, Malformed, OpeningKey, SealingKey, SessionKeys, Sid, Signal, Suite,
    Unsealable, VERSION, kid_of, payload,
};
use crate::secret::Secret;

/// Octets of the seal's authentication tag.
pub(super) const TAG: usize = 16;

const HPKE_INFO: &[u8] = b"ringback signal v1";
const LABEL_AEAD: &[u8] = b"rb1 aead";
const LABEL_EXPORTER: &[u8] = b"rb1 exp";

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// What a suite yields: the octets after the header, and the exporter secret.
type Sealed = (Vec<u8>, Secret<32>);
/// As [`Sealed`], for the end that opens: the payload, and the exporter secret.
type Opened = (Zeroizing<Vec<u8>>, Secret<32>);

/// Seals a request; the same entropy must never be given twice.
///
/// Suite 1 takes its salt from the first half of the entropy, suite 2 its ephemeral key from all.
pub fn seal(
    request: &AccessRequest,
    key: &SealingKey,
    entropy: [u8; 32],
) -> Result<(Signal, SessionKeys), Unsealable> {
    let payload = payload::write(request);
    if payload::read(&payload).map_err(Unsealable::Field)? != *request {
        // Only the address has more values here than on the wire: scopes, and v4 dressed as v6.
        return Err(Unsealable::Field("address"));
    }

    let [a, b, c, d] = key.kid.0.to_be_bytes();
    let header = [VERSION | key.suite() as u8, a, b, c, d, key.epoch];
    let entropy = Secret::new(entropy);
    let (sealed, exporter) = match &key.hpke_public {
        None => seal_psk(&key.psk, &header, &payload, &entropy),
        Some(public) => seal_hpke(public, key, &header, &payload, entropy)?,
    };
    let keys = derive(&exporter, &header, &payload, &request.key);
    Ok((Signal([&header[..], &sealed].concat()), keys))
}

/// Opens a signal with the key that its key id names.
pub fn open(octets: &[u8], key: &OpeningKey) -> Result<(AccessRequest, SessionKeys), Malformed> {
    kid_of(octets)?;
    let (header, sealed) = octets.split_first_chunk::<HEADER>().ok_or(Malformed::Length)?;
    if Suite::of(header[0])? != key.suite() {
        return Err(Malformed::Version);
    }

    let [.., epoch] = *header;
    let psk = key.psk.psk_of(epoch).ok_or(Malformed::Sealed)?;
    let (payload, exporter) = match &key.hpke_private {
        None => open_psk(&psk, header, sealed)?,
        Some(private) => open_hpke(private, (key.kid, &psk), header, sealed)?,
    };
    let request = payload::read(&payload).map_err(Malformed::Field)?;
    let keys = derive(&exporter, header, &payload, &request.key);
    Ok((request, keys))
}

/// The X25519 key to seal to, of the key to open with.
pub fn hpke_public(private: &Secret<32>) -> [u8; 32] {
    let private = PrivateKey::from_bytes(private.expose()).expect("any 32 octets are a key");
    X25519HkdfSha256::sk_to_pk(&private).to_bytes().into()
}

fn seal_psk(psk: &Secret<32>, header: &[u8], payload: &[u8], entropy: &Secret<32>) -> Sealed {
    let salt = &entropy.expose()[..Suite::Psk.prefix()];
    let (cipher, exporter) = psk_keys(psk, salt, header);
    let message = Payload { msg: payload, aad: header };
    // The key is as new as the salt, so the nonce may be constant.
    let sealed = cipher.encrypt(&[0; 12].into(), message).expect("a payload is below the limit");
    ([salt, &sealed].concat(), exporter)
}

fn open_psk(psk: &Secret<32>, header: &[u8], sealed: &[u8]) -> Result<Opened, Malformed> {
    let (salt, sealed) = sealed.split_at_checked(Suite::Psk.prefix()).ok_or(Malformed::Length)?;
    let (cipher, exporter) = psk_keys(psk, salt, header);
    let payload = cipher
        .decrypt(&[0; 12].into(), Payload { msg: sealed, aad: header })
        .map_err(|_| Malformed::Sealed)?;
    Ok((Zeroizing::new(payload), exporter))
}

fn psk_keys(psk: &Secret<32>, salt: &[u8], header: &[u8]) -> (Cipher, Secret<32>) {
    let hkdf = Hkdf::<Sha256>::new(Some(salt), psk.expose());
    let key: Secret<32> = expand(&hkdf, &[LABEL_AEAD, header]);
    (Cipher::new(key.expose().into()), expand(&hkdf, &[LABEL_EXPORTER, header]))
}

fn seal_hpke(
    public: &[u8; 32],
    key: &SealingKey,
    header: &[u8],
    payload: &[u8],
    entropy: Secret<32>,
) -> Result<Sealed, Unsealable> {
    let public = PublicKey::from_bytes(public).map_err(|_| Unsealable::Key)?;
    let kid = key.kid.0.to_be_bytes();
    let mode = OpModeS::Psk(psk_bundle(&key.psk, &kid));
    let mut given = Given { entropy: Some(entropy), overdrawn: false };
    let (encapped, mut context) =
        hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &mode, &public, HPKE_INFO, &mut given,
        )
        .map_err(|_| Unsealable::Key)?;
    if given.overdrawn {
        return Err(Unsealable::Entropy);
    }

    let sealed = context.seal(payload, header).expect("the first message of a context");
    let mut exporter = Zeroizing::new([0; 32]);
    context.export(LABEL_EXPORTER, &mut *exporter).expect("32 octets are below the limit");
    Ok(([&encapped.to_bytes()[..], &sealed].concat(), Secret::new(*exporter)))
}

fn open_hpke(
    private: &Secret<32>,
    (kid, psk): (Kid, &Secret<32>),
    header: &[u8],
    sealed: &[u8],
) -> Result<Opened, Malformed> {
    let (encapped, sealed) =
        sealed.split_at_checked(Suite::Hpke.prefix()).ok_or(Malformed::Length)?;
    let encapped = EncappedKey::from_bytes(encapped).map_err(|_| Malformed::Sealed)?;
    let private = PrivateKey::from_bytes(private.expose()).expect("any 32 octets are a key");
    let kid = kid.0.to_be_bytes();
    let mode = OpModeR::Psk(psk_bundle(psk, &kid));
    let mut context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &mode, &private, &encapped, HPKE_INFO,
    )
    .map_err(|_| Malformed::Sealed)?;

    let payload = Zeroizing::new(context.open(sealed, header).map_err(|_| Malformed::Sealed)?);
    let mut exporter = Zeroizing::new([0; 32]);
    context.export(LABEL_EXPORTER, &mut *exporter).expect("32 octets are below the limit");
    Ok((payload, Secret::new(*exporter)))
}

fn psk_bundle<'a>(psk: &'a Secret<32>, kid: &'a [u8; 4]) -> PskBundle<'a> {
    PskBundle::new(psk.expose(), kid).expect("neither the key nor its id is empty")
}

/// Every key depends on every octet of the signal, and none of them is in it.
fn derive(exporter: &Secret<32>, header: &[u8], payload: &[u8], key: &Secret<16>) -> SessionKeys {
    let transcript = Sha256::new().chain_update(header).chain_update(payload).finalize();
    let material = Zeroizing::new([&exporter.expose()[..], key.expose()].concat());
    let hkdf = Hkdf::<Sha256>::new(Some(&transcript), &material);
    SessionKeys {
        sid: Sid(*expand::<16>(&hkdf, &[b"rb1 sid"]).expose()),
        psk: expand(&hkdf, &[b"rb1 psk"]),
        confirm_private: expand(&hkdf, &[b"rb1 confirm c"]),
        confirm_public: expand(&hkdf, &[b"rb1 confirm s"]),
    }
}

/// A key of its own for each purpose (RFC 5869, 2.3).
pub(crate) fn expand<const N: usize>(hkdf: &Hkdf<Sha256>, info: &[&[u8]]) -> Secret<N> {
    let mut octets = Zeroizing::new([0; N]);
    hkdf.expand_multi_info(info, &mut *octets).expect("a key is below HKDF's limit");
    Secret::new(*octets)
}

/// Stands in for a generator: hands out the entropy it was given, once and whole.
///
/// The trait knows no failure, so an overdraft is noted, and the seal is thrown away.
struct Given {
    entropy: Option<Secret<32>>,
    overdrawn: bool,
}

impl TryRng for Given {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.overdrawn = true;
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.overdrawn = true;
        Ok(0)
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        match self.entropy.take() {
            Some(entropy) if octets.len() == 32 => octets.copy_from_slice(entropy.expose()),
            Some(_) | None => {
                octets.fill(0);
                self.overdrawn = true;
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for Given {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_handed_out_once_and_an_overdraft_is_noted() {
        let mut given = Given { entropy: Some(Secret::new([7; 32])), overdrawn: false };
        let mut octets = [0; 32];
        given.try_fill_bytes(&mut octets).unwrap();
        assert_eq!((octets, given.overdrawn), ([7; 32], false));

        given.try_fill_bytes(&mut octets).unwrap();
        assert_eq!((octets, given.overdrawn), ([0; 32], true));
    }
}
