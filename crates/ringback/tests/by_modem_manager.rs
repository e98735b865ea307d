//! From a client to the terminal's server where ModemManager looks after a proxy's modem, the real
//! daemon on a bus of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod airwaves;
#[path = "../../ringback-bearer/tests/modem/brain.rs"]
#[allow(dead_code, reason = "the bearer's own tests use the rest")]
mod brain;
#[path = "../../ringback-bearer/tests/modem_manager/daemon.rs"]
#[allow(dead_code, reason = "the bearer's own tests use the rest")]
mod daemon;
mod house;
#[path = "../../ringback-bearer/tests/modem/simulator.rs"]
#[allow(dead_code, reason = "the bearer's own tests use the rest")]
mod simulator;

use airwaves::{Fate, carry};
use anyhow::Result;
use brain::Traits;
use daemon::Daemon;
use house::{Carried, House};
use simulator::Simulator;

/// A second signal follows when the first is not answered soon.
const TWICE: &str = "[[terminal.route]]\nbearer = \"sms\"\npatience_seconds = 2\n\
                     [[terminal.route]]\nbearer = \"sms\"\n";

async fn open(public: String, private: String, routes: &str) -> Result<House> {
    let mut house = House::empty().await?;
    house.carried = Carried { public, private, routes: routes.to_owned(), operator: false };
    house.fill("id = 1\nport = 80\nhttp = true\n").await?;
    Ok(house)
}

fn modem(simulator: &Simulator) -> String {
    let device = simulator.device();
    format!("[[bearer]]\nname = \"sms\"\nkind = \"modem\"\ndevice = \"{}\"\n", device.display())
}

fn managed(daemon: &Daemon) -> String {
    let bus = daemon.address();
    format!("[[bearer]]\nname = \"sms\"\nkind = \"modem-manager\"\nbus = \"{bus}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_where_modem_manager_hears_by_text_and_by_octets() -> Result<()> {
    for form in ["text", "binary"] {
        let sender = Simulator::new(Traits::modern());
        let Some(hearer) = Daemon::start(Traits::modern()).await else { return Ok(()) };
        let routes = format!("[[terminal.route]]\nbearer = \"sms\"\nform = \"{form}\"\n");
        let house = open(modem(&sender), managed(&hearer), &routes).await?;
        tokio::try_join!(house.visit(), carry(&sender, &hearer.modem, Fate::Doubled))?;
        // A message that comes twice is one session.
        house.says("private", "not obeyed", 1).await?;
        assert_eq!(house.count("private", "dialed back")?, 1, "{form}");
        house.assert_quiet_logs()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_where_modem_manager_sends() -> Result<()> {
    let hearer = Simulator::new(Traits::modern());
    let Some(sender) = Daemon::start(Traits::modern()).await else { return Ok(()) };
    let routes = "[[terminal.route]]\nbearer = \"sms\"\n";
    let house = open(managed(&sender), modem(&hearer), routes).await?;
    tokio::try_join!(house.visit(), carry(&sender.modem, &hearer, Fate::Arrives))?;
    assert_eq!(sender.modem.with(|it| it.sent.len()), 0, "one signal was enough");
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_comes_while_modem_manager_is_gone_is_heard_when_it_is_back() -> Result<()> {
    let sender = Simulator::new(Traits::modern());
    let Some(mut hearer) = Daemon::start(Traits::modern()).await else { return Ok(()) };
    let house = open(modem(&sender), managed(&hearer), TWICE).await?;
    let restarting = async {
        hearer.end_manager().await;
        house.says("private", "lost the modem", 1).await?;
        carry(&sender, &hearer.modem, Fate::Arrives).await?;
        carry(&sender, &hearer.modem, Fate::Lost).await?;
        hearer.start_manager_again().await;
        Ok(())
    };
    tokio::try_join!(house.visit(), restarting)?;
    house.assert_quiet_logs()
}
