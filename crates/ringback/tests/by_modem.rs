//! From a client to the terminal's server over two modems: the public proxy's, which sends, and the
//! private proxy's, which hears; and what may happen to either, and to a message between them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod airwaves;
#[path = "../../ringback-bearer/tests/modem/brain.rs"]
#[allow(dead_code, reason = "the bearer's own tests use the rest")]
mod brain;
mod house;
#[path = "../../ringback-bearer/tests/modem/simulator.rs"]
#[allow(dead_code, reason = "the bearer's own tests use the rest")]
mod simulator;

use airwaves::{Fate, carry, stray, until};
use anyhow::Result;
use brain::{Fault, Traits};
use house::{Carried, House};
use simulator::Simulator;

/// One way to ring, and so one signal a session.
const ONCE: &str = "[[terminal.route]]\nbearer = \"sms\"\n";
/// A second signal follows when the first is not answered soon.
const TWICE: &str = "[[terminal.route]]\nbearer = \"sms\"\npatience_seconds = 2\n\
                     [[terminal.route]]\nbearer = \"sms\"\n";

/// A house whose signals go from one modem to the other.
struct Scene {
    house: House,
    sender: Simulator,
    hearer: Simulator,
}

impl Scene {
    async fn open(hearer: Traits, routes: &str) -> Result<Self> {
        Self::with(Simulator::new(hearer), routes).await
    }

    async fn with(hearer: Simulator, routes: &str) -> Result<Self> {
        let sender = Simulator::new(Traits::modern());
        let mut house = House::empty().await?;
        house.carried = Carried {
            public: modem(&sender),
            private: modem(&hearer),
            routes: routes.to_owned(),
            operator: false,
        };
        house.fill("id = 1\nport = 80\nhttp = true\n").await?;
        Ok(Self { house, sender, hearer })
    }

    /// A client is served by one message of that fate.
    async fn serves(&self, fate: Fate) -> Result<()> {
        let carrying = carry(&self.sender, &self.hearer, fate);
        tokio::try_join!(self.house.visit(), carrying)?;
        self.is_settled()
    }

    /// Nothing else was sent, and nobody complained aloud.
    fn is_settled(&self) -> Result<()> {
        let (sent, strays) = self.sender.with(|it| (it.sent.len(), it.strays.clone()));
        assert_eq!((sent, strays.as_slice()), (0, [].as_slice()));
        self.house.assert_quiet_logs()
    }
}

fn modem(simulator: &Simulator) -> String {
    let device = simulator.device();
    format!("[[bearer]]\nname = \"sms\"\nkind = \"modem\"\ndevice = \"{}\"\n", device.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_from_modem_to_modem_by_text_and_by_octets() -> Result<()> {
    for (form, data_coding) in [("text", 0), ("binary", 4)] {
        let routes = format!("{ONCE}form = \"{form}\"\n");
        let scene = Scene::open(Traits::modern(), &routes).await?;
        let carrying = carry(&scene.sender, &scene.hearer, Fate::Arrives);
        let ((), sent) = tokio::try_join!(scene.house.visit(), carrying)?;
        assert_eq!(sent.tp_dcs & 0x0f, data_coding, "{form}");
        assert_eq!(sent.tp_destination_address.unwrap().address, "15550100777");
        scene.is_settled()?;
        until(&scene.hearer, "acknowledge", |it| it.asked.contains(&"AT+CNMA".to_owned())).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_senders_modem_that_is_unplugged_in_the_middle_sends_when_it_is_back() -> Result<()> {
    let Scene { house, mut sender, hearer } = Scene::open(Traits::modern(), ONCE).await?;
    sender.with(|it| it.faults.push_back(Fault::NoPrompt));
    let replugging = async {
        until(&sender, "begin", |it| it.asked.iter().any(|it| it.starts_with("AT+CMGS"))).await?;
        sender.unplug().await;
        house.says("public", "no port to the modem", 1).await?;
        sender.plug_in();
        carry(&sender, &hearer, Fate::Arrives).await
    };
    tokio::try_join!(house.visit(), replugging)?;
    Scene { house, sender, hearer }.is_settled()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hearers_modem_that_is_unplugged_in_the_middle_hears_when_it_is_back() -> Result<()> {
    let Scene { house, sender, mut hearer } = Scene::open(Traits::modern(), ONCE).await?;
    let replugging = async {
        hearer.unplug().await;
        carry(&sender, &hearer, Fate::Arrives).await?;
        house.says("private", "no port to the modem", 1).await?;
        hearer.plug_in();
        Ok(())
    };
    tokio::try_join!(house.visit(), replugging)?;
    Scene { house, sender, hearer }.is_settled()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_network_refuses_for_now_is_sent_again() -> Result<()> {
    let scene = Scene::open(Traits::modern(), ONCE).await?;
    // Congestion.
    scene.sender.with(|it| it.faults.push_back(Fault::Refused(42)));
    scene.serves(Fate::Arrives).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_message_costs_time_and_the_next_one_serves() -> Result<()> {
    let scene = Scene::open(Traits::modern(), TWICE).await?;
    let losing = async {
        carry(&scene.sender, &scene.hearer, Fate::Lost).await?;
        carry(&scene.sender, &scene.hearer, Fate::Arrives).await
    };
    tokio::try_join!(scene.house.visit(), losing)?;
    scene.is_settled()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_twice_is_one_session() -> Result<()> {
    let scene = Scene::open(Traits::modern(), ONCE).await?;
    scene.serves(Fate::Doubled).await?;
    scene.house.says("private", "not obeyed", 1).await?;
    assert_eq!(scene.house.count("private", "dialed back")?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_strangers_filled_is_drained_and_the_signal_comes_through() -> Result<()> {
    let hearer = Simulator::new(Traits { places: 3, ..Traits::storing() });
    hearer.with(|it| {
        for text in ["win a prize", "RB", "call me"] {
            it.store("SM", 0, &stray(text));
        }
    });
    let scene = Scene::with(hearer, ONCE).await?;
    scene.serves(Fate::Arrives).await?;
    until(&scene.hearer, "drain", |it| it.stores["SM"].is_empty()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_that_are_killed_find_their_modems_again() -> Result<()> {
    let mut scene = Scene::open(Traits::modern(), ONCE).await?;
    scene.serves(Fate::Arrives).await?;
    scene.house.restart("private").await?;
    scene.house.restart("public").await?;
    scene.serves(Fate::Arrives).await
}
