//! The service is reached through an association, and through nothing else.

use anyhow::Result;

use crate::charon::known;
use crate::field::Wishes;
use crate::scene::{all_is_forgotten, socket, url, with_web};

#[tokio::test(flavor = "multi_thread")]
async fn curl_reaches_the_terminal_by_ike_and_esp_and_nothing_else() -> Result<()> {
    let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
    let Some(mut field) = with_web(wishes).await? else { return Ok(()) };
    // What passes between the operator's network and the public proxy.
    let words = ["-Z", "root", "--immediate-mode", "-i", "eth0", "-n", "-l", "host", "203.0.113.1"];
    field.start("tap", "tcpdump", &words, "listening on").await?;
    let page = field.curl(&[&url()]).await?;
    assert!(page.contains("5.4 mmol/l"), "{page}");
    assert_eq!(field.sms(), 1, "one access, one SMS");
    all_is_forgotten(&field).await?;

    let seen = field.process("tap").words();
    let packets: Vec<&str> = seen.lines().filter(|it| it.contains(" IP ")).collect();
    let is_ike = |it: &&str| it.contains("isakmp") && it.contains(".4500");
    let is_esp = |it: &&str| it.contains("UDP-encap: ESP") && it.contains(".4500");
    let others: Vec<_> = packets.iter().filter(|it| !is_ike(it) && !is_esp(it)).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(4 <= packets.iter().filter(|it| is_ike(it)).count(), "{seen}");
    assert!(10 <= packets.iter().filter(|it| is_esp(it)).count(), "{seen}");
    let _ = known(&socket(&field, "public"))?;
    Ok(())
}
