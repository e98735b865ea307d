//! The demo's server over real connections, as a browser and as a machine use it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A running server and one connection to it, used for one request after the other.
struct Visit {
    stream: TcpStream,
    shutdown: CancellationToken,
    server: JoinSet<Result<()>>,
}

/// An answer, head and body.
struct Answer {
    head: String,
    body: String,
}

impl Visit {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shutdown = CancellationToken::new();
        let mut server = JoinSet::new();
        server.spawn(readings::serve(listener, shutdown.clone()));
        Ok(Self { stream: TcpStream::connect(address).await?, shutdown, server })
    }

    async fn ask(&mut self, line: &str, headers: &str, body: &str) -> Result<Answer> {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: t\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;

        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(self.stream.read_u8().await?));
        }
        let length = header(&head, "content-length").context("no length")?.parse()?;
        let mut body = vec![0; if line.starts_with("HEAD") { 0 } else { length }];
        self.stream.read_exact(&mut body).await?;
        Ok(Answer { head, body: String::from_utf8(body)? })
    }

    async fn json(&mut self, body: &str) -> Result<Answer> {
        self.ask("POST /readings", "content-type: application/json\r\n", body).await
    }

    async fn form(&mut self, body: &str) -> Result<Answer> {
        let headers = "content-type: application/x-www-form-urlencoded\r\n";
        self.ask("POST /readings", headers, body).await
    }
}

impl Answer {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head.lines().filter_map(|it| it.split_once(": "));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

#[tokio::test]
async fn a_reading_entered_by_form_is_on_the_page_and_in_the_json() -> Result<()> {
    let mut visit = Visit::start().await?;
    let answer = visit.form("value=12%2C3&note=%3Cb%3Epie%3C%2Fb%3E").await?;
    ensure!(answer.status() == "303", "{}", answer.head);
    ensure!(header(&answer.head, "location") == Some("/"));

    let page = visit.ask("GET /", "", "").await?;
    ensure!(page.status() == "200" && page.body.contains("<strong>12.3</strong>"));
    ensure!(page.body.contains("&lt;b&gt;pie&lt;/b&gt;") && !page.body.contains("<b>pie"));
    ensure!(header(&page.head, "cache-control") == Some("no-store"));
    let listing = visit.ask("GET /readings.json", "", "").await?;
    ensure!(listing.body.contains(r#""mmol_per_l":12.3"#), "{}", listing.body);
    Ok(())
}

#[tokio::test]
async fn a_machine_enters_json_and_is_told_what_was_kept() -> Result<()> {
    let mut visit = Visit::start().await?;
    let answer = visit.json(r#"{"mmol_per_l": 3.1, "note": "dizzy"}"#).await?;
    ensure!(answer.status() == "201", "{}", answer.head);
    ensure!(answer.body.contains(r#""level":"below""#), "{}", answer.body);
    Ok(())
}

#[tokio::test]
async fn what_is_no_reading_is_explained_and_not_kept() -> Result<()> {
    let mut visit = Visit::start().await?;
    let before = visit.ask("GET /readings.json", "", "").await?.body;

    let page = visit.form("value=560&note=oops").await?;
    ensure!(page.status() == "422" && page.body.contains("from 0.6 to 33.3"), "{}", page.head);
    ensure!(page.body.contains(r#"value="560""#) && page.body.contains(r#"value="oops""#));
    let answer = visit.json(r#"{"mmol_per_l": 560}"#).await?;
    ensure!(answer.status() == "422" && answer.body.contains("error"), "{}", answer.body);
    ensure!(visit.json("{").await?.status() == "400");
    ensure!(visit.ask("POST /readings", "", "value=5.6").await?.status() == "415");

    let after = visit.ask("GET /readings.json", "", "").await?.body;
    ensure!(before == after, "something was kept");
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_connection_closed() -> Result<()> {
    let mut visit = Visit::start().await?;
    let answer = visit.form(&format!("value=5.6&note={}", "a".repeat(5000))).await?;
    ensure!(answer.status() == "413", "{}", answer.head);
    ensure!(header(&answer.head, "connection") == Some("close"));
    Ok(())
}

#[tokio::test]
async fn another_sites_page_cannot_enter_a_reading() -> Result<()> {
    let mut visit = Visit::start().await?;
    let headers =
        "content-type: application/x-www-form-urlencoded\r\nsec-fetch-site: cross-site\r\n";
    ensure!(visit.ask("POST /readings", headers, "value=5.6").await?.status() == "403");
    Ok(())
}

#[tokio::test]
async fn head_tells_the_length_without_the_body_and_the_connection_goes_on() -> Result<()> {
    let mut visit = Visit::start().await?;
    let head = visit.ask("HEAD /", "", "").await?;
    let get = visit.ask("GET /", "", "").await?;
    ensure!(head.status() == "200" && get.status() == "200");
    ensure!(header(&head.head, "content-length") == header(&get.head, "content-length"));
    Ok(())
}

#[tokio::test]
async fn unknown_paths_and_methods_are_named_as_such() -> Result<()> {
    let mut visit = Visit::start().await?;
    ensure!(visit.ask("GET /elsewhere", "", "").await?.status() == "404");
    let answer = visit.ask("DELETE /", "", "").await?;
    ensure!(answer.status() == "405" && header(&answer.head, "allow") == Some("GET, HEAD"));
    let answer = visit.ask("GET /readings", "", "").await?;
    ensure!(answer.status() == "405" && header(&answer.head, "allow") == Some("POST"));
    Ok(())
}

#[tokio::test]
async fn told_to_stop_it_ends_even_with_an_idle_client() -> Result<()> {
    let mut visit = Visit::start().await?;
    visit.ask("GET /", "", "").await?;
    visit.shutdown.cancel();
    // Well before the time that requests under way are given.
    let ended = timeout(Duration::from_secs(3), visit.server.join_next()).await;
    ended.context("it waits for the idle client")?.context("no server")???;
    let rest = visit.stream.read(&mut [0; 1]).await?;
    ensure!(rest == 0, "the connection is still open");
    Ok(())
}
