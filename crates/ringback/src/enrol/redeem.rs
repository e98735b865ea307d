//! Redeeming a code at the private proxy: agree on keys, keep them, have the route proved.
//!
//! The order is the protocol's: everything is on the disk before the public proxy is told, so that
//! whatever breaks, either both have their keys or the same code can be redeemed again.

use std::io::{IsTerminal, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use ringback_proto::access_request::{Kid, Ratchet, Sid, hpke_public};
use ringback_proto::dialer::forbidden;
use ringback_proto::enrolment::{Code, Offer, OfferKey, Redeem, Word};
use ringback_proto::hello::Exporter;
use ringback_proto::secret::Secret;
use ringback_proto::terminal::{ServiceId, TerminalName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::starter;
use crate::config::{Places, Side};
use crate::keyring::Keyring;
use crate::keys::{self, Enrolment, TerminalKeys};
use crate::limits::{
    ANSWER_PATIENCE, CODE_OCTETS, DIAL_PATIENCE, HELLO_PATIENCE, KEEP_PATIENCE, PROOF_PATIENCE,
};
use crate::reload::{self, Reread};
use crate::tunnel::{Asks, Dialer, Identity, Talk};
use crate::{clock, state};

/// How a code is redeemed.
#[derive(Debug)]
pub struct Redemption {
    /// The private proxy's configuration; begun if it is not there.
    pub file: PathBuf,
    /// The file that holds the code; standard input without.
    pub code_file: Option<PathBuf>,
    /// Addresses that are dialed although they are not reachable ones.
    pub allowed: Vec<IpAddr>,
    /// Services that are to be reached from now on, and where each listens; no other is.
    pub services: Vec<(ServiceId, String)>,
}

/// What has been agreed on.
struct Agreed {
    talk: Talk,
    name: TerminalName,
    kid: Kid,
    /// Whether its services are yet to be filled in.
    unserved: bool,
}

/// Redeems a code to the end; says what is done as it is done.
pub async fn redeem(wanted: Redemption) -> anyhow::Result<()> {
    let code = read_code(wanted.code_file.as_deref())?;
    check_address(code.address, &wanted.allowed)?;
    starter::begin(&wanted.file)?;
    let places = Places::read(&wanted.file)?;
    if places.side != Side::Private {
        bail!("a code is redeemed with a private proxy's file; this is a public proxy's");
    }
    let keyring = places.keyring.clone();
    let keyring = keyring.context("RB-KEYRING: add keyring = \"private-keyring\" to [private]")?;
    keyring.make().context("RB-KEYRING")?;
    let identity = identity(&places.identity)?;

    let agreed = agree(&wanted, &places, &keyring, &code, identity).await?;
    let Agreed { mut talk, name, kid, unserved } = agreed;
    println!("the keys of {name} are kept at both ends (kid {kid})");
    if unserved {
        let file = wanted.file.display();
        println!(
            "decide in {file} which of its services are reached, and where: none is by itself"
        );
    }
    match reload::ask(&places.state).await {
        Ok(Reread::TakenOver) => println!("the running private proxy has taken them over"),
        Ok(Reread::NotRunning) => {
            println!("now fill in what {} lacks, and start", wanted.file.display());
            println!("  ringback private --config {}", wanted.file.display());
            println!("then prove the route at the public proxy: ringback enrol prove {name}");
            return Ok(());
        }
        Ok(Reread::Kept) => bail!(
            "RB-UNPROVED: the running private proxy keeps its old configuration: `ringback check` \
             tells why; then run `ringback enrol prove {name}` at the public proxy"
        ),
        Ok(Reread::Silent) | Err(_) => bail!(
            "RB-UNPROVED: the running private proxy cannot be told to read its keys: restart it, then \
             run `ringback enrol prove {name}` at the public proxy"
        ),
    }
    prove(&mut talk, &name).await?;
    if unserved {
        println!(
            "it serves nobody until its services are filled in, and `ringback check` is content"
        );
    }
    Ok(())
}

/// Says the code nowhere but on the tunnel, and there only proves it.
async fn agree(
    wanted: &Redemption,
    places: &Places,
    keyring: &Keyring,
    code: &Code,
    identity: Identity,
) -> anyhow::Result<Agreed> {
    let key = OfferKey::of(&code.secret);
    let hpke_private = Secret::new(keys::random()?);
    let (mut talk, exporter) = dial(code, identity, &key).await?;
    let hpke = hpke_public(&hpke_private);
    let redeem = Redeem {
        id: key.id,
        mac: key.confirm_redeem(Some(&hpke), &exporter),
        hpke_public: Some(hpke),
    };
    talk.say(&redeem.encode()).await?;
    let heard = talk.frame(|octets| Offer::decode(octets, &key, &exporter));
    let Some(offer) = timeout(ANSWER_PATIENCE, heard).await.context("no answer in time")?? else {
        return Err(refused(keyring, &key));
    };
    for address in &offer.addresses {
        check_address(*address, &wanted.allowed)?;
    }
    let decided = wanted.services.iter().cloned().collect();
    let draft =
        starter::draft(&wanted.file, places, keyring, &code.public_key, (&offer, &decided))?;
    let keys = terminal_keys(&offer, &key, &exporter, hpke_private);
    draft.write()?;
    for added in &draft.added {
        println!("added to {}: {added}", wanted.file.display());
    }
    keyring.hold().and_then(|it| it.redeemed(keys)).context("RB-KEYRING: keys cannot be kept")?;

    talk.say(&[Word::Kept as u8]).await?;
    let heard = hear(&mut talk, KEEP_PATIENCE).await;
    if !matches!(heard, Ok(Word::Kept)) {
        bail!(
            "RB-CODE: the public proxy has not confirmed: redeem the same code again; if it is refused \
             then, both have their keys"
        );
    }
    Ok(Agreed { talk, name: offer.name, kid: offer.kid, unserved: draft.unserved })
}

fn terminal_keys(
    offer: &Offer,
    key: &OfferKey,
    exporter: &Exporter,
    hpke_private: Secret<32>,
) -> TerminalKeys {
    let now = clock::unix_seconds();
    TerminalKeys {
        kid: offer.kid,
        psk: Ratchet::new(0, key.psk(offer.kid, exporter)),
        since: now,
        hpke_public: None,
        hpke_private: Some(hpke_private),
        enrolment: Some(Enrolment {
            name: offer.name.clone(),
            offer: key.id,
            at: now,
            private_proxy: None,
            proved: None,
            probes: Vec::new(),
            asked: None,
            retire: None,
        }),
    }
}

async fn dial(code: &Code, identity: Identity, key: &OfferKey) -> anyhow::Result<(Talk, Exporter)> {
    let address = code.address;
    let stream = timeout(DIAL_PATIENCE, TcpStream::connect(address)).await;
    let stream = stream.ok().and_then(Result::ok);
    let stream = stream.with_context(|| format!("the public proxy at {address} is not reached"))?;
    let dialer = Dialer::new(identity);
    let dialed = dialer.dial(stream, &code.public_key, Asks::Enrolment);
    let tunnel = timeout(HELLO_PATIENCE, dialed).await.context("no handshake in time")?;
    let tunnel = tunnel.map_err(|fault| {
        let told = if fault.is_permanent() {
            format!(
                "RB-PEER: who answers at {address} is not the public proxy that has made the code"
            )
        } else {
            format!("the public proxy at {address} has hung up: try again")
        };
        anyhow::Error::new(fault).context(told)
    })?;
    let talk = Talk::new(tunnel);
    let exporter = talk.tunnel().exporter(&Sid(key.id.0));
    Ok((talk, exporter))
}

/// Has the terminal rung, and tells what comes of it.
async fn prove(talk: &mut Talk, name: &TerminalName) -> anyhow::Result<()> {
    talk.say(&[Word::Prove as u8]).await?;
    loop {
        match hear(talk, PROOF_PATIENCE).await.context("the public proxy says nothing any more")? {
            Word::Rung => println!("the terminal is being rung …"),
            Word::Proved => {
                println!("it has dialed back: {name} is enrolled");
                return Ok(());
            }
            Word::NoAnswer => bail!(
                "RB-UNPROVED: the ring was not answered: see that the bearer works and the \
                 number or mail address is the terminal's, then run `ringback enrol prove {name}` at the public proxy"
            ),
            Word::TooOften => bail!(
                "RB-UNPROVED: it may not be rung now: too often, or a budget or the breaker stands \
                 against it: try later with `ringback enrol prove {name}` at the public proxy"
            ),
            Word::Unringable => bail!("RB-UNPROVED: the public proxy cannot ring it: see its log"),
            Word::Kept | Word::Prove => bail!("RB-PEER: the public proxy says what it should not"),
        }
    }
}

async fn hear(talk: &mut Talk, patience: Duration) -> anyhow::Result<Word> {
    let said = timeout(patience, talk.exactly::<1>()).await??;
    Ok(Word::decode(said)?)
}

/// A code that was redeemed here before is over; that it succeeded is worth telling.
fn refused(keyring: &Keyring, key: &OfferKey) -> anyhow::Error {
    let contents = keyring.read().unwrap_or_default();
    let here = contents.keys().iter().filter_map(|it| it.enrolment.as_ref());
    match here.into_iter().find(|it| it.offer == key.id) {
        Some(known) => anyhow::anyhow!(
            "RB-CODE: it was redeemed here before, and its keys are kept: run `ringback enrol prove {}` \
             at the public proxy, or redeem another code",
            known.name
        ),
        None => anyhow::anyhow!(
            "RB-CODE: the code is refused: it is over, was redeemed before, or was tried too often; \
             make another with `ringback enrol offer`"
        ),
    }
}

/// Where a public proxy may send us: nowhere inside, unless we are told to.
fn check_address(address: SocketAddr, allowed: &[IpAddr]) -> anyhow::Result<()> {
    if forbidden(address.ip(), None).is_none() || allowed.contains(&address.ip()) {
        return Ok(());
    }
    bail!(
        "RB-ADDRESS: {address} lies inside somebody's network, where a public proxy has no place; if \
         it is right, add --allow-address {}",
        address.ip()
    )
}

fn read_code(file: Option<&Path>) -> anyhow::Result<Code> {
    let mut text = Zeroizing::new(String::new());
    match file {
        Some(file) => {
            let read = keys::read_secret(file).with_context(|| file.display().to_string())?;
            *text = read;
        }
        None if std::io::stdin().is_terminal() => {
            print!("Code: ");
            std::io::stdout().flush()?;
            std::io::stdin().read_line(&mut text)?;
        }
        None => {
            std::io::stdin().lock().take(CODE_OCTETS).read_to_string(&mut text)?;
        }
    }
    Code::parse(&text).context("RB-CODE: the code")
}

/// The private proxy's own identity, made unless it is there.
fn identity(file: &Path) -> anyhow::Result<Identity> {
    if !file.try_exists()? {
        let public = file.with_extension("pub");
        let secret = Identity::generate()?;
        let made = Identity::from_pem(&secret)?;
        let pem = keys::public_key_text(made.public_key());
        state::replace(file, secret.as_bytes())?;
        state::replace_as(&public, pem.as_bytes(), 0o644)?;
        println!("wrote {}", file.display());
    }
    keys::read_identity(file).with_context(|| format!("RB-KEY: {}", file.display()))
}
