//! The private proxy runs on the terminal itself, whose address changes: where TCP is cut, the session
//! goes on. And what becomes of clients where UDP does not get through.

use tokio::time::Instant;

use anyhow::Result;
use ringback_lab::addresses;

use crate::field::{Field, NAME, Wishes};

/// Sends or takes four megabytes in about two seconds, and says when half of them have passed.
const SERVER: &str = "
import hashlib, socket, time
listener = socket.create_server(('127.0.0.1', 80))
print('up', flush=True)
PIECE = bytes(range(256)) * 256
while True:
    client = listener.accept()[0]
    head = b''
    while b'\\r\\n\\r\\n' not in head: head += client.recv(4096)
    head, taken = head.split(b'\\r\\n\\r\\n', 1)
    if head.startswith(b'GET'):
        client.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 4194304\\r\\n\\r\\n')
        for number in range(64):
            if number == 32: print('half', flush=True)
            client.sendall(PIECE)
            time.sleep(0.03)
    else:
        if b'100-continue' in head: client.sendall(b'HTTP/1.1 100 Continue\\r\\n\\r\\n')
        octets, half = len(taken), False
        while octets < 4194304:
            some = client.recv(65536)
            if not some: break
            octets += len(some)
            if not half and 2097152 <= octets:
                half = True
                print('half', flush=True)
        client.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n%d taken' % octets)
    client.close()
";

async fn field() -> Result<Option<Field>> {
    let wishes = Wishes {
        public_services: "id = 1\nport = 80\nhttp = true\ntunnel = \"quic\"".into(),
        private_services: "id = 1\naddress = \"127.0.0.1:80\"\ntunnel = \"quic\"".into(),
        public: "linger_seconds = 0".into(),
        on_terminal: true,
        ..Wishes::default()
    };
    let Some(mut field) = Field::set_up(&wishes).await? else { return Ok(None) };
    std::fs::write(field.path("server.py"), SERVER)?;
    field.start("server", "python3", &["-u", "server.py"], "up").await?;
    Ok(Some(field))
}

fn url() -> String {
    format!("http://{NAME}/")
}

/// Gives the terminal another address in the middle of a transfer.
async fn move_in_the_middle(field: &mut Field) -> Result<()> {
    field.process("server").says("half").await?;
    let before = field.lab.terminal.address();
    let after = field.lab.terminal.attach(&field.lab.gateway).await?;
    assert_ne!(before, after);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_when_the_terminals_address_changes() -> Result<()> {
    let Some(mut field) = field().await? else { return Ok(()) };
    let download = field.begin("curl", &["-sS", "--max-time", "40", "-o", "got", &url()])?;
    move_in_the_middle(&mut field).await?;
    let download = download.output().await?;
    assert!(download.status.success(), "{download:?}");
    let expected = (0..=255).collect::<Vec<u8>>().repeat(16_384);
    assert!(std::fs::read(field.path("got"))? == expected, "every octet, once and in order");
    assert_eq!(field.process("private").count("connected by QUIC"), 1, "and no second connection");
    assert_eq!(field.sms(), 1, "and no second ring");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_though_only_the_public_proxy_has_something_to_say() -> Result<()> {
    let Some(mut field) = field().await? else { return Ok(()) };
    std::fs::write(field.path("sent"), vec![7; 4_194_304])?;
    let words = ["-sS", "--max-time", "40", "--limit-rate", "2M", "-T", "sent", &url()];
    let upload = field.begin("curl", &words)?;
    move_in_the_middle(&mut field).await?;
    let upload = upload.output().await?;
    assert!(upload.status.success(), "{upload:?}");
    assert_eq!(String::from_utf8_lossy(&upload.stdout), "4194304 taken");
    assert_eq!(field.process("private").count("the connection moves to another address"), 1);
    assert_eq!(field.process("private").count("connected by QUIC"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_udp_does_not_get_through_the_client_is_told_by_name_and_soon() -> Result<()> {
    let Some(mut field) = field().await? else { return Ok(()) };
    let rule = format!("ip daddr {} meta l4proto udp drop", addresses::PUBLIC);
    field.lab.gateway.host.nft(&format!("add rule inet plmn fault {rule}")).await?;
    let begun = Instant::now();
    let page = field.curl(&["-H", "Accept: application/json", &url()]).await?;
    assert!(page.contains("RB-NO-TUNNEL"), "{page}");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(field.sms(), 1, "and nobody is rung again");
    let private = field.process("private");
    assert_eq!(private.count("RB-QUIC: no QUIC tunnel"), 1, "{}", private.words());

    // And once it does, the service is reached.
    field.lab.gateway.heal().await?;
    let download = field.client("curl", &["-sS", "--max-time", "40", "-o", "got", &url()]).await?;
    assert!(download.status.success(), "{download:?}");
    Ok(())
}
