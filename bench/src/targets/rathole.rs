//! rathole, with a pool of data channels as it comes: over TCP, TLS and Noise.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Places, make, write};
use crate::figure::{BEFORE, BEHIND};
use crate::process::Process;

/// Nothing encrypted: what its manual shows first.
pub(super) fn tcp(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    raise(
        places,
        folder,
        ["[server.transport]\ntype = \"tcp\"\n", "[client.transport]\ntype = \"tcp\"\n"],
    )
}

/// TLS by OpenSSL.
pub(super) fn tls(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    certify(folder)?;
    let server = "[server.transport]\ntype = \"tls\"\n[server.transport.tls]\npkcs12 = \"own.p12\"\npkcs12_password = \"bench\"\n";
    let client = "[client.transport]\ntype = \"tls\"\n[client.transport.tls]\ntrusted_root = \"root.pem\"\nhostname = \"localhost\"\n";
    raise(places, folder, [server, client])
}

/// Noise, with the server's key known to the client.
pub(super) fn noise(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    let said = make(folder, &[&places.word("rathole")?, "--genkey"])?;
    let keys: Vec<&str> = said.lines().filter(|it| it.trim().ends_with('=')).collect();
    let private = keys.first().context("rathole has made no key")?.trim();
    let public = keys.get(1).context("rathole has made no public key")?.trim();
    let server = format!(
        "[server.transport]\ntype = \"noise\"\n[server.transport.noise]\nlocal_private_key = \"{private}\"\n"
    );
    let client = format!(
        "[client.transport]\ntype = \"noise\"\n[client.transport.noise]\nremote_public_key = \"{public}\"\n"
    );
    raise(places, folder, [&server, &client])
}

fn raise(places: &Places, folder: &Path, transport: [&str; 2]) -> Result<Vec<Process>> {
    let mut server = format!(
        "[server]\nbind_addr = \"127.0.0.1:7333\"\ndefault_token = \"bench\"\n{}",
        transport[0]
    );
    let mut client = format!(
        "[client]\nremote_addr = \"127.0.0.1:7333\"\ndefault_token = \"bench\"\n{}",
        transport[1]
    );
    for (place, (before, behind)) in BEFORE.iter().zip(BEHIND).enumerate() {
        server += &format!("[server.services.s{place}]\nbind_addr = \"127.0.0.1:{before}\"\n");
        client += &format!("[client.services.s{place}]\nlocal_addr = \"127.0.0.1:{behind}\"\n");
    }
    write(folder, &[("server.toml", &server), ("client.toml", &client)])?;
    let rathole = places.word("rathole")?;
    Ok(vec![
        Process::start("server", folder, &[&rathole, "--server", "server.toml"])?,
        Process::start("client", folder, &[&rathole, "--client", "client.toml"])?,
    ])
}

/// A root and a certificate of it for `localhost`, in the forms that peers want.
pub(super) fn certify(folder: &Path) -> Result<()> {
    write(folder, &[("names", "subjectAltName=DNS:localhost,IP:127.0.0.1")])?;
    let openssl = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        make(folder, &[&["openssl"], &words[..]].concat())
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout root.key -out root.pem -days 30 -subj /CN=root"))?;
    openssl(&format!("req -new {key} -keyout own.key -out own.csr -subj /CN=localhost"))?;
    openssl(
        "x509 -req -in own.csr -CA root.pem -CAkey root.key -CAcreateserial -days 30 -extfile names -out own.pem",
    )?;
    openssl(
        "pkcs12 -export -inkey own.key -in own.pem -certfile root.pem -passout pass:bench -out own.p12",
    )?;
    Ok(())
}
