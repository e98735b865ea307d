//! Handshakes that somebody leaves half open from behind the private proxy's own NAT, while a session is
//! awaited: they do not lock the private proxy out.

use anyhow::{Context, Result, ensure};
use ringback_lab::addresses;

use crate::scene::Scene;

/// As many as several honest private proxies behind one NAT may have under way at once; charon alone
/// bears five from one address.
const HALF_OPEN: usize = 24;

/// Begins handshakes as a private proxy would, and never goes on: IKE_SA_INIT with a security association,
/// a public value and a nonce (RFC 7296, 1.2), behind four zeros as on UDP port 4500 (RFC 3948, 2.2). A cookie
/// that it is asked for it hands back (2.6).
const STRANGER: &str = "import os,socket,struct,sys\n\
    def transform(last,kind,number,attribute=b''):\n \
     return struct.pack('>BBHBBH',0 if last else 3,0,8+len(attribute),kind,0,number)+attribute\n\
    offer=transform(0,1,20,b'\\x80\\x0e\\x01\\x00')+transform(0,2,6)+transform(1,4,31)\n\
    offer=struct.pack('>BBHBBBB',0,0,8+len(offer),1,1,0,3)+offer\n\
    def payload(following,body): return struct.pack('>BBH',following,0,4+len(body))+body\n\
    answered=0\n\
    for _ in range(int(sys.argv[2])):\n \
     body=payload(34,offer)+payload(40,struct.pack('>HH',31,0)+os.urandom(32))+payload(0,os.urandom(32))\n \
     s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(2); spi=os.urandom(8)\n \
     def ask(first,body):\n  \
      head=spi+bytes(8)+struct.pack('>BBBBII',first,0x20,34,8,0,28+len(body))\n  \
      s.sendto(bytes(4)+head+body,(sys.argv[1],4500)); return s.recv(4096)[4:]\n \
     try:\n  \
      answer=ask(33,body)\n  \
      if answer[16]==41: answer=ask(41,bytes([33])+answer[29:]+body)\n  \
      answered+=answer[16]==33\n \
     except TimeoutError: pass\n\
    print(answered)\n";

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_left_half_open_behind_the_same_nat_do_not_lock_the_private_proxy_out()
-> Result<()> {
    let Some(mut scene) = Scene::over_ipsec().await? else { return Ok(()) };
    let access = scene.access()?;
    let signal = scene.overheard(1).await?;
    let (public, count) = (addresses::PUBLIC.to_string(), HALF_OPEN.to_string());
    let words = ["-c", STRANGER, &public, &count];
    let output = scene.field.from(&scene.field.lab.private, "python3", &words).await?;
    let answered = String::from_utf8_lossy(&output.stdout).into_owned();
    let answered: usize = answered.trim().parse().with_context(|| format!("{output:?}"))?;
    ensure!(answered == HALF_OPEN, "the tool does not work, or it is blocked: {output:?}");

    scene.deliver(std::slice::from_ref(&signal)).await?;
    scene.assert_served(access).await?;
    let heard = scene.field.process("public").events("a dial-back has said hello");
    ensure!(heard.len() == 1 && heard[0]["protocol"] == "Ipsec", "{heard:?}");
    Ok(())
}
