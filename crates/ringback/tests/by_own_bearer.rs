//! Signals that the client itself sends by what it has: a modem of its own, and a mail account. The
//! public proxy has no way to ring; what it seals goes from the client straight to the private proxy.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod airwaves;
#[path = "../../ringback-bearer/tests/modem/brain.rs"]
#[allow(dead_code, reason = "the bearer's own tests use the rest")]
mod brain;
mod pair;
#[path = "../../ringback-bearer/tests/mail/post.rs"]
#[allow(dead_code, reason = "the bearer's own tests use all of it")]
mod post;
#[path = "../../ringback-bearer/tests/modem/simulator.rs"]
#[allow(dead_code, reason = "the bearer's own tests use the rest")]
mod simulator;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use airwaves::{Fate, carry};
use anyhow::{Result, ensure};
use brain::Traits;
use pair::{House, converse};
use post::Post;
use simulator::Simulator;
use tokio::time::timeout;

/// What whoever looks for secrets in our files finds, if it is in the wrong ones.
const PASSWORD: &str = "canary-of-mail";
const NUMBER: &str = "number = \"+15550100777\"\n";
const TO: &str = "car7.fleet.example:2";

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("within sixty seconds")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_modem_rings_by_itself() -> Result<()> {
    let (sender, hearer) = (Simulator::new(Traits::modern()), Simulator::new(Traits::modern()));
    let house = house(NUMBER, &modem(&hearer), &modem(&sender)).await?;
    let words = ["--contacts", ".", "--ring-with", "modem", "--bearer", "own.toml", TO];
    let asked = converse(house.connect("lee", &words), b"by modem");
    let (answered, sent) = tokio::try_join!(asked, carry(&sender, &hearer, Fate::Arrives))?;
    assert_eq!(answered.stdout, b"by modem", "{answered:?}");
    assert_eq!(sent.tp_destination_address.unwrap().address, "15550100777");
    is_unpaid(&house)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_mail_account_rings_by_itself() -> Result<()> {
    let Some(post) = Post::open().await else { return Ok(()) };
    let (submission, mailbox) = (post.submissions, post.imap);
    let hears = format!(
        "kind = \"mail\"\ntls_roots = \"mail.pem\"\nmailbox = \"localhost:{mailbox}\"\n\
         mailbox_security = \"starttls\"\nmailbox_user = \"car-7\"\n\
         mailbox_password_file = \"mail.password\"\n"
    );
    let sends = format!(
        "kind = \"mail\"\ntls_roots = \"mail.pem\"\nsubmission = \"localhost:{submission}\"\n\
         submission_user = \"proxy\"\nsubmission_password_file = \"mail.password\"\n\
         from = \"lee@operator.example\"\n"
    );
    let address = format!("{NUMBER}mail = \"car-7@mail.test\"\n");
    let house = house(&address, &hears, &sends).await?;
    let words = ["--contacts", ".", "--ring-with", "mail", "--bearer", "own.toml", TO];
    let answered = converse(house.connect("lee", &words), b"by mail").await?;
    assert_eq!(answered.stdout, b"by mail", "{answered:?}");
    let mails = ["new", "cur"].map(|it| post.path("mail/car-7").join(it));
    let mails = mails.iter().flat_map(|it| fs::read_dir(it).into_iter().flatten()).count();
    assert_eq!(mails, 1, "one mail, of the client's");
    is_unpaid(&house)
}

/// Both proxies: one terminal of such an address, a private proxy that hears so besides, and `lee`,
/// who may ring by itself and sends so. The operator that the public proxy would ring by is away.
async fn house(address: &str, hears: &str, sends: &str) -> Result<House> {
    let mut house = House::open(&["lee"], &[]).await?;
    let public = fs::read_to_string(house.path("public.toml"))?
        .replace("name = \"lee\"\n", "name = \"lee\"\nmay_ring = true\n")
        .replace(NUMBER, address);
    ensure!(public.contains("may_ring") && public.contains(address));
    fs::write(house.path("public.toml"), public)?;
    let private = fs::read_to_string(house.path("private.toml"))?
        .replace(NUMBER, address)
        .replacen("[[public_proxy]]", &format!("{}[[public_proxy]]", own(hears)), 1);
    fs::write(house.path("private.toml"), private)?;
    fs::write(house.path("own.toml"), own(sends))?;
    let roots = "../ringback-bearer/tests/peers/center.cert.pem";
    fs::copy(roots, house.path("mail.pem"))?;
    fs::write(house.path("mail.password"), PASSWORD)?;
    fs::set_permissions(house.path("mail.password"), fs::Permissions::from_mode(0o600))?;
    for role in ["private", "public"] {
        house.start(role).await?;
    }
    Ok(house)
}

fn own(bearer: &str) -> String {
    format!("[[bearer]]\nname = \"own\"\n{bearer}")
}

fn modem(simulator: &Simulator) -> String {
    format!("kind = \"modem\"\ndevice = \"{}\"\n", simulator.device().display())
}

/// The public proxy has sent nothing, and one signal was heard.
fn is_unpaid(house: &House) -> Result<()> {
    assert_eq!(house.count("public", "submitted")?, 0);
    assert_eq!(house.count("private", "heard")?, 1);
    Ok(())
}
