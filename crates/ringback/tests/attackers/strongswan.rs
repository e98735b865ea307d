//! A charon of the attacker's, beside the client: it says whatever a thief of some secrets could say.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use ringback_proto::access_request::SessionKeys;
use ringback_proto::ipsec::{Inner, Names};
use ringback_proto::switchboard::PublicKey;

use crate::field::Field;
use crate::order::hex;

const CHARON: &str = "charon-systemd {\n\
    load = random nonce openssl pem pkcs1 pkcs8 pubkey x509 constraints kdf curve25519 aes sha2 hmac \
    gcm kernel-libipsec kernel-netlink socket-default vici\n\
    port = 0\nport_nat_t = 4500\ninstall_virtual_ip = no\n\
    retransmit_timeout = 0.5\nretransmit_tries = 2\n\
    plugins {\nvici {\nsocket = unix://{socket}\n}\nkernel-libipsec {\nallow_peer_ts = yes\n}\n}\n\
    filelog {\nstderr {\ndefault = 1\nflush_line = yes\n}\n}\n}\n";

/// Which end the thief takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    Private,
    Public,
}

/// What a thief has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loot<'a> {
    pub(crate) place: As,
    /// The name of the identity's files.
    pub(crate) identity: &'a str,
    /// The session's key, or what is taken for it; none asks for none.
    pub(crate) psk: Option<[u8; 32]>,
}

/// Starts the charon.
pub(crate) async fn start(field: &mut Field) -> Result<()> {
    for folder in ["private", "pubkey"] {
        std::fs::create_dir_all(field.path("thief").join(folder))?;
    }
    let socket = field.path("thief/charon.vici").display().to_string();
    std::fs::write(field.path("thief/strongswan.conf"), CHARON.replace("{socket}", &socket))?;
    let words = ["STRONGSWAN_CONF=thief/strongswan.conf", "/usr/sbin/charon-systemd"];
    field.start("thief", "env", &words, "worker threads").await
}

/// Gives it what it has, for that session, and takes away what it had before.
pub(crate) async fn arm(field: &Field, session: &SessionKeys, loot: Loot<'_>) -> Result<()> {
    let key = |name: &str| std::fs::read(field.path(name));
    for (name, place) in [("own", loot.identity), ("other", other(loot.place))] {
        std::fs::write(
            field.path(&format!("thief/pubkey/{name}.pub")),
            key(&format!("{place}.pub"))?,
        )?;
    }
    let own = field.path("thief/private/own.key");
    std::fs::write(&own, key(&format!("{}.key", loot.identity))?)?;
    std::fs::set_permissions(own, std::fs::Permissions::from_mode(0o600))?;
    let spki = pem::parse(key("public.pub")?)?.into_contents();
    let inner = Inner::of(session, &PublicKey::parse(&spki).context("no key")?);
    let names = Names::of(&session.sid);
    let (local, remote) = match loot.place {
        As::Private => ((&names.private, inner.private), (&names.public, inner.public)),
        As::Public => ((&names.public, inner.public), (&names.private, inner.private)),
    };
    field.lab.client.ip(&format!("address replace {}/128 dev lo nodad", local.1)).await?;
    let where_to = match loot.place {
        As::Private => "remote_addrs = 203.0.113.20\nremote_port = 4500\n",
        As::Public => "",
    };
    let (ppk, secret) = match loot.psk {
        None => (String::new(), String::new()),
        Some(psk) => (
            format!("ppk_id = {}\nppk_required = yes\n", names.key),
            format!(
                "secrets {{\nppk-it {{\nid = {}\nsecret = 0x{}\n}}\n}}\n",
                names.key,
                hex(&psk)
            ),
        ),
    };
    let file = format!(
        "connections {{\nit {{\nversion = 2\n{where_to}encap = yes\nmobike = no\n{ppk}\
         proposals = aes256gcm16-prfsha384-curve25519\n\
         local {{\nauth = pubkey\nid = {}\npubkeys = own.pub\n}}\n\
         remote {{\nauth = pubkey\nid = {}\npubkeys = other.pub\n}}\n\
         children {{\ntunnel {{\nlocal_ts = {}/128\nremote_ts = {}/128\n\
         esp_proposals = aes256gcm16-curve25519\n}}\n}}\n}}\n}}\n{secret}",
        local.0, remote.0, local.1, remote.1
    );
    std::fs::write(field.path("thief/swanctl.conf"), file)?;
    let loaded = swanctl(field, &["--load-all", "--clear"]).await?;
    ensure!(loaded.contains("loaded connection 'it'"), "{loaded}");
    Ok(())
}

/// Whether an association comes up.
pub(crate) async fn initiates(field: &Field) -> Result<bool> {
    let said = swanctl(field, &["--initiate", "--child", "tunnel", "--timeout", "4"]).await?;
    Ok(said.contains("initiate completed successfully"))
}

/// The SPIs of what came up: the initiator's and the responder's.
pub(crate) async fn spis(field: &Field) -> Result<([u8; 8], [u8; 8])> {
    let said = swanctl(field, &["--list-sas"]).await?;
    let spi = |end: &str| {
        let word = said.split_whitespace().find_map(|it| it.split_once(end)).context("no SPI")?;
        Ok::<_, anyhow::Error>(u64::from_str_radix(word.0, 16)?.to_be_bytes())
    };
    Ok((spi("_i").with_context(|| said.clone())?, spi("_r").with_context(|| said.clone())?))
}

/// Ends what it has.
pub(crate) async fn terminate(field: &Field) -> Result<()> {
    swanctl(field, &["--terminate", "--ike", "it", "--force"]).await.map(drop)
}

async fn swanctl(field: &Field, words: &[&str]) -> Result<String> {
    let uri = format!("unix://{}", field.path("thief/charon.vici").display());
    let words = [&["SWANCTL_DIR=thief", "swanctl"], words, &["--uri", &uri]].concat();
    let output = field.from(&field.lab.client, "env", &words).await?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn other(place: As) -> &'static str {
    match place {
        As::Private => "public",
        As::Public => "private",
    }
}
