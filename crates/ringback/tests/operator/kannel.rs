//! Kannel as an ESME of the simulated operator: it sends what its HTTP interface is given, and posts
//! what it hears. It shares no code with us.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use tokio::process::Child;
use tokio::time::sleep;

use super::*;

#[path = "../artefacts/mod.rs"]
mod artefacts;

#[tokio::test]
async fn kannel_sends_by_http_and_posts_what_it_hears() {
    let operator = Operator::open(quick()).await;
    let hook = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let Some(kannel) = Kannel::start(operator.port, port(&hook)).await else { return };
    let mut private = operator.party("private");

    // Text, and octets of which some mean something to HTTP and to SMPP.
    for (coding, content, octets) in
        [(0, "RB*-text", &b"RB*-text"[..]), (1, "%11%FF%00%80%2B", b"\x11\xff\x00\x80+")]
    {
        let told = kannel.send(coding, content).await;
        assert!(told.contains("202 Accepted") || told.contains("0: Accepted"), "{told}");
        let heard = soon(private.receiver.hear()).await.unwrap();
        assert_eq!((heard.octets.as_slice(), heard.from.as_str()), (octets, "70707"));
    }

    let to = Callee::Number(CallNumber::parse("+70707").unwrap());
    let text = "RB*-back ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789";
    let back = Message { to, ..message(Body::Text(text.into())) };
    let mut story = private.transmitter.ring(back);
    assert!(matches!(soon(story.next()).await, Some(Delivery::Submitted { .. })));
    let (mut stream, _) = soon(hook.accept()).await.unwrap();
    assert!(soon(posted(&mut stream)).await.ends_with(text));
    assert_eq!(soon(story.next()).await, Some(Delivery::Delivered), "Kannel has acknowledged it");
    drop(kannel);
    operator.close([private]).await;
}

/// Bearerbox and smsbox, running, in a folder of their own.
struct Kannel {
    _boxes: [Child; 2],
    _folder: artefacts::Folder,
    send: u16,
}

impl Kannel {
    /// `None` if Kannel is not installed.
    async fn start(operator: u16, hook: u16) -> Option<Self> {
        let programs = ["bearerbox", "smsbox"].map(|it| PathBuf::from("/usr/sbin").join(it));
        if programs.iter().any(|it| !it.exists()) {
            let required = std::env::var_os("RINGBACK_PEERS").is_some_and(|it| it == "require");
            assert!(!required, "kannel is missing: run `cargo xtask peers`");
            println!("skipped: kannel is missing: run `cargo xtask peers`");
            return None;
        }
        let [admin, boxes, send] = free_ports();
        let folder = artefacts::folder().unwrap();
        std::fs::write(
            folder.path().join("kannel.conf"),
            format!(
                "group = core\nadmin-port = {admin}\nadmin-password = admin\n\
                 smsbox-port = {boxes}\nbox-allow-ip = 127.0.0.1\nlog-level = 0\n\n\
                 group = smsc\nsmsc = smpp\nhost = 127.0.0.1\nport = {operator}\n\
                 transceiver-mode = true\nsmsc-username = public\nsmsc-password = secret\n\
                 system-type = \"\"\ninterface-version = 34\naddress-range = \"\"\n\
                 reconnect-delay = 1\n\n\
                 group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {send}\n\
                 global-sender = 70707\nlog-level = 0\n\n\
                 group = sendsms-user\nusername = ring\npassword = back\n\n\
                 group = sms-service\nkeyword = default\ncatch-all = true\n\
                 max-messages = 0\npost-url = \"http://127.0.0.1:{hook}/heard\"\n"
            ),
        )
        .unwrap();
        let start = |program: &PathBuf| {
            let mut command = Command::new(program);
            command.arg("kannel.conf").current_dir(folder.path()).kill_on_drop(true);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let bearerbox = start(&programs[0]);
        soon(connect(boxes)).await;
        let smsbox = start(&programs[1]);
        soon(connect(send)).await;
        Some(Self { _boxes: [smsbox, bearerbox], _folder: folder, send })
    }

    /// Sends to the private account's number; returns the answer.
    async fn send(&self, coding: u8, content: &str) -> String {
        let mut stream = connect(self.send).await;
        let request = format!(
            "GET /cgi-bin/sendsms?username=ring&password=back&from=70707&to=%2B15550100777\
             &coding={coding}&text={content} HTTP/1.0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Connects once somebody listens.
async fn connect(port: u16) -> TcpStream {
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(stream) => return stream,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The body of a request, which is answered with nothing to say.
async fn posted(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    loop {
        heard.push(stream.read_u8().await.unwrap());
        let text = String::from_utf8_lossy(&heard).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|it| {
            let (name, value) = it.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        if length.unwrap_or(0) <= body.len() {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            return body.to_owned();
        }
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    held.each_ref().map(|it| it.local_addr().unwrap().port())
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}
