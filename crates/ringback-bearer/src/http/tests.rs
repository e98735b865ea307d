//! The bearer against strict stubs of providers, written from their documentation, and against
//! whoever posts what they should not.

use std::collections::BTreeMap;

use ringback_proto::sms_api::post::Fields;
use ringback_proto::sms_api::preset;
use ringback_proto::terminal::{CallNumber, Callee};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::*;
use crate::{Bearer, Body, Message, Receiver, Submission, Transmitter, limits};

/// A request as a stub has read it.
struct Asked {
    line: String,
    head: BTreeMap<String, String>,
    body: String,
    stream: TcpStream,
}

impl Asked {
    async fn read(listener: &TcpListener) -> Self {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut octets = Vec::new();
        let end = loop {
            let end = octets.windows(4).position(|it| it == b"\r\n\r\n");
            if let Some(end) = end {
                break end;
            }
            assert_ne!(stream.read_buf(&mut octets).await.unwrap(), 0, "a cut head");
        };
        let head = String::from_utf8(octets[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let field = |it: &str| {
            let (name, value) = it.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let head: BTreeMap<_, _> = lines.map(field).collect();
        let length = head.get("content-length").map_or(0, |it| it.parse().unwrap());
        let mut body = octets.split_off(end + 4);
        while body.len() < length {
            assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0, "a cut body");
        }
        Self { line, head, body: String::from_utf8(body).unwrap(), stream }
    }

    async fn answer(mut self, status: &str, fields: &str, body: &str) {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }
}

struct House {
    transmitter: Transmitter,
    receiver: Receiver,
    health: Health,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl House {
    fn open(config: Config) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let (transmitter, receiver, health) = Bearer::Http(config).start(&tasks, shutdown.clone());
        Self { transmitter, receiver, health, shutdown, tasks }
    }

    async fn api(api: preset::Api, path: &str) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}{path}", listener.local_addr().unwrap());
        let cancel = |(method, behind)| (method, Url::parse(&format!("{base}{behind}")).unwrap());
        let house = Self::open(Config {
            api: Some(Box::new(Api {
                url: Url::parse(&base).unwrap(),
                tls: None,
                manner: api.manner().unwrap(),
                cancel: api.cancel().map(cancel),
                from: "+15017122661".to_owned(),
                udh: Vec::new(),
                user: "AC1".to_owned(),
                password: Zeroizing::new("canary".to_owned()),
                per_second: 1000,
                window: 4,
                patience: Duration::from_secs(5),
            })),
            webhook: None,
        });
        // The knock that says whether the API is there.
        drop(listener.accept().await.unwrap());
        (house, listener)
    }

    fn text(&self, seconds: u64) -> Submission {
        self.ring(Body::Text("RB0-9*A".to_owned()), seconds)
    }

    fn ring(&self, body: Body, seconds: u64) -> Submission {
        let to = Callee::Number(CallNumber::parse("+15558675310").unwrap());
        self.transmitter.ring(Message { to, body, valid_for: Duration::from_secs(seconds) })
    }

    fn says(&self, what: &str) -> String {
        let all = self.health.findings();
        all.iter().find(|it| it.what == what).unwrap().text.clone()
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn refused(step: Option<Delivery>) -> (String, bool, Option<Duration>) {
    let Some(Delivery::Failed(Failure::Refused { reason, permanent, retry_after })) = step else {
        panic!("{step:?}");
    };
    (reason, permanent, retry_after)
}

#[tokio::test]
async fn a_strict_stub_of_twilio_takes_a_text_and_nothing_else_is_sent() {
    let (house, stub) = House::api(preset::Api::Twilio, "/Accounts/{user}/Messages.json").await;
    let mut story = house.text(60);
    let asked = Asked::read(&stub).await;
    assert_eq!(asked.line, "POST /Accounts/AC1/Messages.json HTTP/1.1");
    assert_eq!(asked.head["authorization"], "Basic QUMxOmNhbmFyeQ==");
    assert_eq!(asked.head["content-type"], "application/x-www-form-urlencoded");
    let fields: Vec<&str> = asked.body.split('&').collect();
    assert_eq!(fields[..2], ["To=%2B15558675310", "From=%2B15017122661"]);
    let validity: u64 = fields[2].strip_prefix("ValidityPeriod=").unwrap().parse().unwrap();
    assert!((55..=60).contains(&validity));
    assert_eq!(fields[3..], ["Body=RB0-9%2AA"]);
    asked.answer("201 CREATED", "", r#"{"sid":"SM1","error_code":null}"#).await;
    assert_eq!(story.next().await, Some(Delivery::Submitted { message_id: "SM1".into() }));

    let mut story = house.ring(Body::Binary(vec![0; 110]), 60);
    assert!(matches!(story.next().await, Some(Delivery::Failed(Failure::Unsendable(_)))));
    house.close().await;
}

#[tokio::test]
async fn a_strict_stub_of_vonage_throttles_and_then_takes_octets() {
    let (house, stub) = House::api(preset::Api::Vonage, "/sms/json").await;
    let mut story = house.ring(Body::Binary(vec![0x11, 0, 0xFF]), 60);
    for (status, id) in [("1", ""), ("0", "0A0")] {
        let asked = Asked::read(&stub).await;
        assert_eq!(asked.line, "POST /sms/json HTTP/1.1");
        assert!(!asked.head.contains_key("authorization"));
        assert!(
            asked.body.starts_with(
                "api_key=AC1&api_secret=canary&from=%2B15017122661&to=15558675310&ttl="
            )
        );
        assert!(asked.body.ends_with("&type=binary&body=1100FF"), "no header of user data");
        let body = format!(r#"{{"messages":[{{"status":"{status}","message-id":"{id}"}}]}}"#);
        asked.answer("200 OK", "Retry-After: 0\r\n", &body).await;
    }
    assert_eq!(story.next().await, Some(Delivery::Submitted { message_id: "0A0".into() }));
    house.close().await;
}

#[tokio::test]
async fn a_strict_stub_of_emnify_is_asked_to_give_back_what_became_needless() {
    let (house, stub) = House::api(preset::Api::Emnify, "/api/v1/endpoint/166/sms").await;
    let mut story = house.text(60);
    let asked = Asked::read(&stub).await;
    assert_eq!(asked.head["authorization"], "Bearer canary");
    assert_eq!(asked.head["content-type"], "application/json");
    assert_eq!(asked.body, r#"{"payload":"RB0-9*A","source_address":"+15017122661"}"#);
    asked.answer("201 Created", "Location: /api/v1/endpoint/166/sms/4711\r\n", "").await;
    assert_eq!(story.next().await, Some(Delivery::Submitted { message_id: "4711".into() }));
    drop(story);
    let asked = Asked::read(&stub).await;
    assert_eq!(asked.line, "DELETE /api/v1/endpoint/166/sms/4711 HTTP/1.1");
    assert_eq!(asked.head["authorization"], "Bearer canary");
    asked.answer("204 No Content", "", "").await;
    house.close().await;
}

#[tokio::test]
async fn an_api_that_is_told_late_is_asked_again_and_no_sooner_than_it_says() {
    let (house, stub) = House::api(preset::Api::Twilio, "/m").await;
    let mut story = house.text(60);
    Asked::read(&stub).await.answer("429 Too Many", "Retry-After: 1\r\n", "").await;
    let throttled_at = Instant::now();
    let again = Asked::read(&stub).await;
    assert!(Duration::from_millis(900) <= throttled_at.elapsed());
    again.answer("503 Down", "Retry-After: 3000\r\n", "").await;
    // Longer than it is worth delivering: whoever rings takes another route.
    let told = refused(story.next().await);
    assert_eq!(told, ("status 503".to_owned(), false, Some(Duration::from_secs(3000))));

    // Nor is it held for so long that the bearer would count as down.
    let (mut story, since) = (house.text(60), Instant::now());
    Asked::read(&stub).await.answer("429 Too Many", "Retry-After: 5\r\n", "").await;
    let told = refused(story.next().await);
    assert_eq!(told, ("status 429".to_owned(), false, Some(Duration::from_secs(5))));
    assert!(since.elapsed() < Duration::from_secs(4), "at once");

    let mut story = house.text(60);
    let error = r#"{"code":21211,"message":"+15558675310 is no number, canary"}"#;
    Asked::read(&stub).await.answer("400 Bad", "", error).await;
    let told = refused(story.next().await);
    assert_eq!(told, ("status 400, code 21211".to_owned(), true, None));
    assert_eq!(house.says("api"), "refused the last message: status 400, code 21211");
    house.close().await;
}

#[tokio::test]
async fn what_an_api_may_have_is_never_sent_again() {
    let (house, stub) = House::api(preset::Api::Twilio, "/m").await;
    let mut story = house.text(60);
    drop(Asked::read(&stub).await);
    assert_eq!(story.next().await, Some(Delivery::Unknown));
    assert_eq!(story.next().await, None);
    let mut story = house.text(60);
    Asked::read(&stub).await.answer("504 Gateway", "", "").await;
    assert_eq!(story.next().await, Some(Delivery::Unknown));
    // The next request is the next message's.
    let mut story = house.ring(Body::Text("NEXT".to_owned()), 60);
    let asked = Asked::read(&stub).await;
    assert!(asked.body.ends_with("Body=NEXT"));
    asked.answer("302 Found", "Location: http://127.0.0.1:1/\r\n", "").await;
    assert_eq!(refused(story.next().await).0, "status 302", "no redirect is followed");
    house.close().await;
}

#[tokio::test]
async fn an_api_that_is_not_there_is_waited_for_and_then_told() {
    let (house, stub) = House::api(preset::Api::Twilio, "/m").await;
    let address = stub.local_addr().unwrap();
    drop(stub);
    let mut lost = house.text(1);
    assert_eq!(lost.next().await, Some(Delivery::Failed(Failure::Expired)));
    assert!(house.says("api").starts_with("no connection: "), "{}", house.says("api"));
    let mut story = house.text(60);
    let stub = TcpListener::bind(address).await.unwrap();
    Asked::read(&stub).await.answer("201 CREATED", "", r#"{"sid":"SM2"}"#).await;
    assert_eq!(story.next().await, Some(Delivery::Submitted { message_id: "SM2".into() }));
    house.close().await;
}

async fn webhook(proof: Proof, api: preset::Api) -> (House, String) {
    let mut house = House::open(Config {
        api: None,
        webhook: Some(Box::new(Webhook {
            listen: "127.0.0.1:0".parse().unwrap(),
            path: "/in".to_owned(),
            proof,
            names: api.names(),
            tls: None,
            twiml: api == preset::Api::Twilio,
        })),
    });
    house.health.settled().await;
    let text = house.says("webhook");
    let address = text.strip_prefix("listening on ").unwrap().split(';').next().unwrap();
    let address = address.to_owned();
    (house, address)
}

async fn say(address: &str, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Whoever is turned away early may close before all was said.
    let _ = stream.write_all(octets).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\
         {fields}\r\n{body}"
    )
    .into_bytes()
}

fn signed(body: &str) -> String {
    use base64::Engine as _;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"canary");
    let fields = Fields::of_form(body.as_bytes()).unwrap();
    let text = ringback_proto::sms_api::signature::twilio_text("https://a/in", &fields);
    let tag = aws_lc_rs::hmac::sign(&key, &text);
    let tag = base64::engine::general_purpose::STANDARD.encode(tag);
    format!("X-Twilio-Signature: {tag}\r\n")
}

#[tokio::test]
async fn a_signed_post_is_heard_once_however_often_it_comes() {
    let proof = Proof::twilio("canary", "https://a/in".to_owned());
    let (mut house, address) = webhook(proof, preset::Api::Twilio).await;
    let body = "From=%2B1401&To=%2B1555&Body=RB0&MessageSid=SM1";
    for _ in 0..2 {
        let answer = say(&address, &post("/in", &signed(body), body)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("content-type: text/xml") && answer.ends_with("<Response/>"));
    }
    let other = body.replace("RB0", "RB1").replace("SM1", "SM2");
    assert!(say(&address, &post("/in", &signed(&other), &other)).await.contains(" 200 "));
    let heard = house.receiver.hear().await.unwrap();
    assert_eq!(
        (&heard.octets[..], &heard.from[..], &heard.to[..]),
        (&b"RB0"[..], "+1401", "+1555")
    );
    assert_eq!(house.receiver.hear().await.unwrap().octets, b"RB1", "and not RB0 again");
    assert!(house.says("webhook").contains("3 posts"), "{}", house.says("webhook"));
    house.close().await;
}

#[tokio::test]
async fn whoever_cannot_prove_itself_gets_one_answer_and_nothing_is_heard() {
    let proof = Proof::twilio("canary", "https://a/in".to_owned());
    let (mut house, address) = webhook(proof, preset::Api::Twilio).await;
    let body = "From=1&Body=RB0&MessageSid=SM1";
    let right = signed(body);
    let long = format!("Body={}", "a".repeat(limits::HTTP_POST_OCTETS));
    let get = String::from_utf8(post(&format!("/in?{body}"), &right, "")).unwrap();
    let mut answers = Vec::new();
    for octets in [
        post("/in", "", body),
        post("/in", &right, &body.replace("RB0", "RB1")),
        post("/out", &right, body),
        post("/in", &right.replace(": ", ": A"), body),
        post("/in", &signed(&long), &long),
        get.replace("POST", "GET").into_bytes(),
    ] {
        let answer = say(&address, &octets).await;
        let undated: Vec<&str> = answer.lines().filter(|it| !it.starts_with("date")).collect();
        answers.push(undated.join("\n"));
    }
    assert!(answers[0].starts_with("HTTP/1.1 403 "), "{}", answers[0]);
    assert!(answers.iter().all(|it| *it == answers[0]), "{answers:#?}");
    for octets in [&b"\x16\x03\x01\x02\x00"[..], b"POST", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(octets).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert!(
        house.says("webhook").contains("6 rejected and none taken"),
        "{}",
        house.says("webhook")
    );
    // What is signed and says nothing is told apart, and a good post still comes through.
    assert!(say(&address, &post("/in", &signed("a=b"), "a=b")).await.contains(" 400 "));
    assert!(say(&address, &post("/in", &right, body)).await.contains(" 200 "));
    assert_eq!(house.receiver.hear().await.unwrap().octets, b"RB0");
    house.close().await;
}

#[tokio::test]
async fn a_post_that_finds_no_room_is_asked_to_come_again() {
    let token = Zeroizing::new("canary".to_owned());
    let (mut house, address) = webhook(Proof::TokenInPath(token), preset::Api::Kannel).await;
    let get = |id: usize| {
        format!(
            "GET /in/canary?from=1&text=RB%00&id={id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
    };
    for id in 0..limits::HEARD {
        assert!(say(&address, get(id).as_bytes()).await.contains(" 200 "), "{id}");
    }
    let late = get(limits::HEARD);
    assert!(say(&address, late.as_bytes()).await.contains(" 503 "));
    assert_eq!(house.receiver.hear().await.unwrap().octets, b"RB\0");
    assert!(say(&address, late.as_bytes()).await.contains(" 200 "), "it was not remembered");
    let stranger = late.replace("canary", "canarx");
    assert!(say(&address, stranger.as_bytes()).await.contains(" 403 "));
    house.close().await;
}

#[tokio::test]
async fn a_connection_may_bring_so_many_posts_and_no_more() {
    let token = Zeroizing::new("canary".to_owned());
    let (house, address) = webhook(Proof::TokenInPath(token), preset::Api::Kannel).await;
    let get = "GET /in/canary?text=RB&id=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let many = get.repeat(2 * usize::try_from(limits::HTTP_POSTS_PER_CONNECTION).unwrap());
    let answer = say(&address, many.as_bytes()).await;
    let answers = answer.matches(" 200 ").count();
    assert_eq!(u32::try_from(answers).unwrap(), limits::HTTP_POSTS_PER_CONNECTION);
    house.close().await;
}

#[tokio::test]
async fn strangers_who_say_nothing_do_not_keep_the_provider_waiting() {
    let token = Zeroizing::new("canary".to_owned());
    let (house, address) = webhook(Proof::TokenInPath(token), preset::Api::Kannel).await;
    let mut silent = Vec::new();
    for _ in 0..2 * limits::HTTP_CONNECTIONS {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    let get = "GET /in/canary?text=RB&id=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = tokio::time::timeout(limits::HTTP_READ / 2, say(&address, get.as_bytes())).await;
    assert!(answer.expect("an answer at once").contains(" 200 "));
    assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap_or_default(), 0, "the oldest has gone");
    house.close().await;
}

#[test]
fn no_secret_prints_itself() {
    let proof = Proof::TokenInPath(Zeroizing::new("canary".to_owned()));
    assert_eq!(format!("{proof:?}"), "Proof(…)");
    let url = Url::parse("http://localhost/canary").unwrap();
    let api = Api {
        url,
        tls: None,
        manner: preset::Api::Kannel.manner().unwrap(),
        cancel: None,
        from: String::new(),
        udh: Vec::new(),
        user: "canary".to_owned(),
        password: Zeroizing::new("canary".to_owned()),
        per_second: 1,
        window: 1,
        patience: Duration::from_secs(1),
    };
    assert!(!format!("{api:?}").contains("canary"), "{api:?}");
}
