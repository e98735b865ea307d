//! A terminal that is rung by e-mail, through Exim and Dovecot, whatever becomes of them meanwhile.
//!
//! `cargo xtask peers` installs them; without them these tests say that they were skipped, or fail
//! if `RINGBACK_PEERS=require`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod house;
#[path = "../../ringback-bearer/tests/mail/post.rs"]
#[allow(dead_code, reason = "the bearer's own tests use all of it")]
mod post;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result};
use house::House;
use post::Post;
use tokio::time::{sleep, timeout};

const SERVICE: &str = "id = 1\nport = 80\nhttp = true\n";
/// What whoever looks for secrets in our files finds, if it is in the wrong ones.
const PASSWORD: &str = "canary-of-mail";

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("within sixty seconds")
}

/// Both proxies, and no way to ring but e-mail to `folder`.
async fn open(post: &Post, folder: &str) -> Result<House> {
    let mut house = prepare(post, folder).await?;
    house.fill(SERVICE).await?;
    Ok(house)
}

async fn prepare(post: &Post, folder: &str) -> Result<House> {
    let mut house = House::empty().await?;
    fs::copy(post.path("cert.pem"), house.path("mail.pem"))?;
    fs::write(house.path("mail.password"), PASSWORD)?;
    fs::set_permissions(house.path("mail.password"), fs::Permissions::from_mode(0o600))?;
    let (submission, mailbox) = (post.submissions, post.imap);
    house.rung_by = "mail = \"car-7@mail.test\"".to_owned();
    house.carried.operator = false;
    house.carried.public = format!(
        "[[bearer]]\nname = \"mail\"\nkind = \"mail\"\ntls_roots = \"mail.pem\"\n\
         submission = \"localhost:{submission}\"\nsubmission_user = \"proxy\"\n\
         submission_password_file = \"mail.password\"\nfrom = \"proxy@operator.example\"\n"
    );
    house.carried.private = format!(
        "[[bearer]]\nname = \"mail\"\nkind = \"mail\"\ntls_roots = \"mail.pem\"\n\
         mailbox = \"localhost:{mailbox}\"\nmailbox_security = \"starttls\"\n\
         mailbox_user = \"car-7\"\nmailbox_password_file = \"mail.password\"\n\
         folders = \"{folder}\"\n"
    );
    house.carried.routes = "[[terminal.route]]\nbearer = \"mail\"\n".to_owned();
    Ok(house)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_brings_one_session_however_often_it_comes() -> Result<()> {
    let Some(post) = Post::open().await else { return Ok(()) };
    let mut house = open(&post, "INBOX").await?;
    house.visit().await?;
    house.says("private", "session ended", 1).await?;

    let (_, mail) = inbox(&post)?.pop().context("no mail")?;
    post.deliver("", "copy", &mail);
    house.says("private", "not obeyed", 1).await?;
    soon(remembered(&post, "copy")).await;
    // And once more to whoever has forgotten everything but its state folder.
    house.restart("private").await?;
    post.deliver("", "another", &mail);
    house.says("private", "not obeyed", 1).await?;
    assert_eq!(house.count("private", "heard")?, 1, "what was heard before is not heard again");
    assert!(fs::read_to_string(house.path("private-state/mail.mailbox"))?.contains("INBOX"));
    house.visit().await?;
    assert_eq!(house.count("public", "session ended")?, 2);
    house.assert_quiet_logs()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_that_is_away_when_the_mail_comes_delays_the_session_only() -> Result<()> {
    let Some(mut post) = Post::open().await else { return Ok(()) };
    let house = open(&post, "INBOX").await?;
    house.visit().await?;
    post.kill_dovecot();
    let come_back = async {
        house.says("public", "submitted", 2).await?;
        post.start_dovecot().await;
        Ok(())
    };
    tokio::try_join!(house.visit(), come_back)?;
    house.says("public", "session ended", 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_server_that_is_away_is_tried_while_the_ring_is_worth_it() -> Result<()> {
    let Some(mut post) = Post::open().await else { return Ok(()) };
    let house = open(&post, "INBOX").await?;
    house.says("public", "logged in", 1).await?;
    post.kill_exim();
    let come_back = async {
        house.says("public", "a mail server cannot be used now", 1).await?;
        post.start_exim().await;
        Ok(())
    };
    tokio::try_join!(house.visit(), come_back)?;
    house.says("public", "session ended", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_puts_strangers_off_is_asked_again() -> Result<()> {
    let Some(post) = Post::open().await else { return Ok(()) };
    let house = open(&post, "INBOX").await?;
    fs::write(post.path("grey"), "")?;
    let relent = async {
        soon(async {
            let log = post.path("exim-mainlog");
            let put_off =
                || fs::read_to_string(&log).is_ok_and(|it| it.contains("you are new here"));
            while !put_off() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        Ok(fs::remove_file(post.path("grey"))?)
    };
    tokio::try_join!(house.visit(), relent)?;
    house.says("public", "session ended", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_a_filter_moves_is_heard_in_its_folder() -> Result<()> {
    let Some(post) = Post::open().await else { return Ok(()) };
    for folder in ["", ".Filed"] {
        post.deliver(folder, "old", "From: a@example.com\n\nnothing\n");
    }
    let house = open(&post, "Filed").await?;
    let filter = async {
        let mail = soon(async {
            loop {
                let mails = inbox(&post)?;
                if let Some((_, mail)) = mails.into_iter().find(|(name, _)| name != "old") {
                    return anyhow::Ok(mail);
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        post.deliver(".Filed", "moved", &mail.await?);
        Ok(())
    };
    tokio::try_join!(house.visit(), filter)?;
    house.says("public", "session ended", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_sms_falls_back_to_mail() -> Result<()> {
    let Some(post) = Post::open().await else { return Ok(()) };
    let mut house = prepare(&post, "INBOX").await?;
    let operator = |role: &str| {
        format!(
            "[[bearer]]\nname = \"sms\"\nkind = \"smpp\"\naddress = \"{}\"\n\
             system_id = \"{role}\"\npassword_file = \"smpp.password\"\n",
            house.operator
        )
    };
    let (public, private) = (operator("public"), operator("private"));
    house.carried.public.push_str(&public);
    house.carried.private.push_str(&private);
    house.carried.operator = true;
    house.loss = 1.0;
    house.rung_by = "number = \"+15550100777\"\nmail = \"car-7@mail.test\"".to_owned();
    let first = "[[terminal.route]]\nbearer = \"sms\"\npatience_seconds = 2\n";
    house.carried.routes.insert_str(0, first);
    house.fill(SERVICE).await?;

    house.visit().await?;
    house.says("public", "session ended", 1).await?;
    assert_eq!(house.sms()?, 1);
    let log = fs::read_to_string(house.path("public.log"))?;
    assert!(log.contains("\"over\":\"mail\""), "{log}");
    Ok(())
}

/// Waits until a mail is marked as read: then it was written down before that it was heard.
async fn remembered(post: &Post, name: &str) {
    let is_marked = || {
        let mut files = fs::read_dir(post.path("mail/car-7/cur")).into_iter().flatten().flatten();
        let mark = format!("{name}:2,");
        files.any(|it| {
            let file = it.file_name().into_string().unwrap_or_default();
            file.strip_prefix(&mark).is_some_and(|flags| flags.contains('S'))
        })
    };
    while !is_marked() {
        sleep(Duration::from_millis(10)).await;
    }
}

/// The mails of the inbox: name and text.
fn inbox(post: &Post) -> Result<Vec<(String, String)>> {
    let mut mails = Vec::new();
    for part in ["new", "cur"] {
        let Ok(files) = fs::read_dir(post.path("mail/car-7").join(part)) else { continue };
        for file in files {
            let file = file?.path();
            let name = file.file_name().and_then(|it| it.to_str()).context("a strange name")?;
            let name = name.split(':').next().unwrap_or_default().to_owned();
            // It may have been moved from one to the other meanwhile.
            mails.extend(fs::read_to_string(&file).ok().map(|it| (name, it)));
        }
    }
    Ok(mails)
}
