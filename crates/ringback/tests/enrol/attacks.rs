//! Codes that are wrong, over, used, guessed or replayed; public proxies that are not; crashes.

use anyhow::{Context, Result, ensure};
use ringback::tunnel::{Acceptor, Asks, Dialer, Identity, Talk};
use ringback_proto::access_request::{Kid, Sid};
use ringback_proto::enrolment::{Code, Offer, OfferKey, Redeem, Word};
use ringback_proto::hello::Exporter;
use tokio::net::{TcpListener, TcpStream};

use super::house::{House, REDEEM};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_an_expired_and_a_used_code_are_refused() -> Result<()> {
    let house = House::open("").await?;
    let code = house.offer().await?;
    let typo = if code.ends_with('Z') { "Y" } else { "Z" };
    let typo = format!("{}{typo}", &code[..code.len() - 1]);
    let refused = house.failed(house.redeem(&typo).await?)?;
    ensure!(refused.contains("a wrong letter"), "{refused}");
    ensure!(!refused.contains(&code[..20]), "a complaint tells the code: {refused}");
    ensure!(!house.path("private/private.toml").exists(), "a slip begins a file");

    // Over: as an hour later.
    let offer = house.ring("public", "offer")?.remove(0);
    let text = std::fs::read_to_string(&offer)?;
    let (before, _) = text.split_once("until = ").context("no end")?;
    std::fs::write(&offer, format!("{before}until = 1700000000\n"))?;
    let refused = house.failed(house.redeem(&code).await?)?;
    ensure!(refused.contains("RB-CODE"), "{refused}");
    ensure!(house.ring("public", "keys")?.is_empty());

    // Another for the same terminal ends it for good.
    let newer = house.offer().await?;
    std::fs::write(&offer, &text)?;
    let newest = house.offer().await?;
    for old in [&code, &newer] {
        ensure!(house.failed(house.redeem(old).await?)?.contains("RB-CODE"));
    }
    house.said(house.redeem(&newest).await?)?;
    let again = house.failed(house.redeem(&newest).await?)?;
    ensure!(again.contains("redeemed here before"), "{again}");
    assert_eq!(house.ring("public", "keys")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_inside_somebodys_network_is_not_dialed_unless_it_is_allowed() -> Result<()> {
    let house = House::open("").await?;
    let code = house.offer().await?;
    let refused = house.failed(house.run(&REDEEM[..4], &code).await?)?;
    ensure!(refused.contains("RB-ADDRESS") && refused.contains("--allow-address 127.0.0.1"));
    ensure!(!house.path("private/private.toml").exists());
    assert_eq!(house.ring("public", "offer")?.len(), 1, "the code is still good");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_and_replays_get_nothing_and_spoil_nothing() -> Result<()> {
    let house = House::open("").await?;
    let text = house.offer().await?;
    let code = Code::parse(&text)?;
    let key = OfferKey::of(&code.secret);

    // A good word of one tunnel is none on another.
    let one = dial(&house, &code).await?;
    let good = one.redeem(&key);
    let mut other = dial(&house, &code).await?;
    ensure!(other.say(&good, &key).await?.is_none(), "a replayed code is taken");
    // Knowing the offer's id is not knowing the code.
    for octet in 0..5u8 {
        let mut guess = dial(&house, &code).await?;
        let mac = [octet; 32];
        let guessed = Redeem { id: key.id, mac, hpke_public: Some([1; 32]) };
        ensure!(guess.say(&guessed, &key).await?.is_none(), "a guess is taken");
    }
    // Beyond its share a source is refused even the right code, for a minute; nobody else is.
    let mut late = 0;
    for _ in 0..10 {
        let mut tries = dial(&house, &code).await?;
        let mac = [9; 32];
        let guessed = Redeem { id: key.id, mac, hpke_public: None };
        late += usize::from(tries.say(&guessed, &key).await?.is_none());
    }
    assert_eq!(late, 10);
    let refused = house.failed(house.redeem(&text).await?)?;
    ensure!(refused.contains("RB-CODE"), "{refused}");
    assert_eq!(house.ring("public", "offer")?.len(), 1, "guesses have used the code up");
    assert_eq!(house.ring("public", "keys")?.len(), 0);
    assert_eq!(house.sms()?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_at_a_time_redeems_a_code() -> Result<()> {
    let house = House::open("").await?;
    let text = house.offer().await?;
    let code = Code::parse(&text)?;
    let key = OfferKey::of(&code.secret);
    let mut first = dial(&house, &code).await?;
    let good = first.redeem(&key);
    ensure!(first.say(&good, &key).await?.is_some());
    let mut second = dial(&house, &code).await?;
    let good = second.redeem(&key);
    ensure!(second.say(&good, &key).await?.is_none(), "two redeem at once");
    // Whoever gives up gives it back.
    first.talk.close().await;
    house.says("public", "an enrolment was broken off", 1).await?;
    house.said(house.redeem(&text).await?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_proxy_with_another_key_gets_nothing() -> Result<()> {
    let house = House::open("").await?;
    let text = house.offer().await?;
    let rogue = Identity::from_pem(&Identity::generate()?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let code = Code { address: listener.local_addr()?, ..Code::parse(&text)? };
    let acceptor = Acceptor::new(&rogue);
    let text = code.to_text();
    let (redeemed, accepted) = tokio::join!(house.redeem(&text), async {
        let (stream, _) = listener.accept().await?;
        anyhow::Ok(acceptor.accept(stream).await)
    });
    let refused = house.failed(redeemed?)?;
    ensure!(refused.contains("RB-PEER"), "{refused}");
    ensure!(accepted?.is_err(), "the rogue has a tunnel");
    ensure!(house.ring("private", "keys")?.is_empty());
    let file = std::fs::read_to_string(house.path("private/private.toml"))?;
    ensure!(!file.contains("\n[[public_proxy]]"), "{file}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_keys_at_both_ends_or_a_code_that_is_good() -> Result<()> {
    let mut house = House::open("").await?;
    let text = house.offer().await?;
    let code = Code::parse(&text)?;
    let key = OfferKey::of(&code.secret);
    let offer = house.ring("public", "offer")?.remove(0);
    let kept = std::fs::read(&offer)?;

    // The private side ends before it has said what it wants, and after it was offered it.
    dial(&house, &code).await?.talk.close().await;
    let mut ends = dial(&house, &code).await?;
    let good = ends.redeem(&key);
    ends.say(&good, &key).await?.context("refused")?;
    drop(ends);
    house.says("public", "an enrolment was broken off", 1).await?;
    assert_eq!(house.ring("public", "keys")?.len(), 0);

    // The public side is killed after the offer: its restart takes the same code.
    let mut cut = dial(&house, &code).await?;
    let good = cut.redeem(&key);
    cut.say(&good, &key).await?.context("refused")?;
    house.kill("public").await?;
    house.start("public", &["--config", "public/public.toml"]).await?;
    assert_eq!(house.ring("public", "offer")?.len(), 1);

    // The private side ends after it has kept its keys, without hearing that the other has too.
    let mut deaf = dial(&house, &code).await?;
    let good = deaf.redeem(&key);
    let offered = deaf.say(&good, &key).await?.context("refused")?;
    let psk = key.psk(offered.kid, &deaf.exporter);
    deaf.talk.say(&[Word::Kept as u8]).await?;
    drop(deaf);
    house.says("public", "a code was redeemed", 1).await?;
    let keys = ringback::keys::TerminalKeys::read(&house.ring("public", "keys")?[0])?;
    assert_eq!((keys.kid, keys.psk.psk()), (offered.kid, &psk), "both have the same");
    ensure!(house.ring("public", "offer")?.is_empty());

    // The public side was killed between the two files: the offer is there, and over all the same.
    std::fs::write(&offer, kept)?;
    std::fs::set_permissions(&offer, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    ensure!(house.failed(house.redeem(&text).await?)?.contains("RB-CODE"));
    assert_eq!(house.ring("public", "keys")?.len(), 1);
    Ok(())
}

/// One enrolment under way, played by hand.
struct Played {
    talk: Talk,
    exporter: Exporter,
}

async fn dial(house: &House, code: &Code) -> Result<Played> {
    let identity = Identity::from_pem(&Identity::generate()?)?;
    let stream = TcpStream::connect(house.dial_back).await?;
    let tunnel = Dialer::new(identity).dial(stream, &code.public_key, Asks::Enrolment).await?;
    let talk = Talk::new(tunnel);
    let exporter = talk.tunnel().exporter(&Sid(OfferKey::of(&code.secret).id.0));
    Ok(Played { talk, exporter })
}

impl Played {
    fn redeem(&self, key: &OfferKey) -> Redeem {
        let hpke_public = Some([7; 32]);
        let mac = key.confirm_redeem(hpke_public.as_ref(), &self.exporter);
        Redeem { id: key.id, mac, hpke_public }
    }

    /// The offer, unless this is refused.
    async fn say(&mut self, redeem: &Redeem, key: &OfferKey) -> Result<Option<Offer>> {
        self.talk.say(&redeem.encode()).await?;
        let exporter = self.exporter;
        let offer = self.talk.frame(|octets| Offer::decode(octets, key, &exporter)).await?;
        if let Some(offer) = &offer {
            assert_ne!(offer.kid, Kid(0));
        }
        Ok(offer)
    }
}
