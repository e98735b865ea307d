//! The installation whose services are reached over IPsec, and servers on the terminal.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{sleep, timeout};

use crate::charon::{Known, known};
use crate::field::{Field, NAME, Wishes, charon_is_there};

/// How long anything may take to come true.
const PATIENCE: Duration = Duration::from_secs(40);

/// The terminal's page.
pub(crate) fn url() -> String {
    format!("http://{NAME}/")
}

/// The installation, whose only service is reached as each side's table has it.
pub(crate) async fn set_up(public: &str, private: &str, wishes: Wishes) -> Result<Option<Field>> {
    let Some(mut field) = set_up_without(public, private, wishes).await? else { return Ok(None) };
    for role in ["private", "public"] {
        field.process(role).says("IPsec is ready").await?;
    }
    Ok(Some(field))
}

/// The same, where nobody waits for a charon. Further lines of either file end in its `[ipsec]` table.
pub(crate) async fn set_up_without(
    public: &str,
    private: &str,
    wishes: Wishes,
) -> Result<Option<Field>> {
    if !charon_is_there()? {
        return Ok(None);
    }
    let table = |lines: &str| match lines.contains("[ipsec]") {
        true => lines.to_owned(),
        false => format!("{lines}\n[ipsec]"),
    };
    let wishes = Wishes {
        public_services: format!("id = 1\nport = 80\nhttp = true\ntunnel = \"{public}\""),
        private_services: format!("id = 1\naddress = \"{{terminal}}:80\"\ntunnel = \"{private}\""),
        // The tables that follow in the files are others.
        public: table(&wishes.public),
        private: table(&wishes.private),
        ..wishes
    };
    Field::set_up(&wishes).await
}

/// The same with strict IPsec and a web server.
pub(crate) async fn with_web(wishes: Wishes) -> Result<Option<Field>> {
    let Some(mut field) = set_up("ipsec", "ipsec", wishes).await? else { return Ok(None) };
    start_web(&mut field).await?;
    Ok(Some(field))
}

/// A web server from Python's standard library, on the terminal's port 80.
pub(crate) async fn start_web(field: &mut Field) -> Result<()> {
    std::fs::create_dir(field.path("web"))?;
    std::fs::write(field.path("web/index.html"), "<p>5.4 mmol/l</p>")?;
    let words = ["-u", "-m", "http.server", "--bind", "0.0.0.0", "--directory", "web", "80"];
    field.start("web", "python3", &words, "Serving HTTP").await
}

/// The control socket of a proxy's charon.
pub(crate) fn socket(field: &Field, role: &str) -> PathBuf {
    field.path(&format!("{role}-state/ipsec/charon.vici"))
}

/// Waits until something is so.
pub(crate) async fn comes_true(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let waiting = async {
        while !is_so()? {
            sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, waiting).await.with_context(|| format!("it did not come true: {what}"))?
}

/// Waits until both charons know nothing of any session.
pub(crate) async fn all_is_forgotten(field: &Field) -> Result<()> {
    forgotten_by([socket(field, "private"), socket(field, "public")]).await
}

/// Waits until the private and the public proxy's charons at these sockets know nothing of any session.
pub(crate) async fn forgotten_by(sockets: [PathBuf; 2]) -> Result<()> {
    for (role, socket) in ["private", "public"].into_iter().zip(sockets) {
        let empty = || Ok(known(&socket)? == Known::default());
        comes_true(&format!("the {role} proxy's charon has forgotten all"), empty)
            .await
            .with_context(|| format!("{:?}", known(&socket)))?;
    }
    Ok(())
}

/// A server that says half of its answer, and the rest when the file `go` is there; it serves several
/// at once. An answer has so many octets, the same in every run, and no length is told.
const HALVES: &str = "import os,socket,sys,threading,time\n\
    half=(bytes(range(251))*(int(sys.argv[1])//502+1))[:int(sys.argv[1])//2]\n\
    l=socket.create_server(('0.0.0.0',80),backlog=64)\nprint('up',flush=True)\n\
    def serve(c):\n \
     c.recv(4096); c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n'+half)\n \
     while not os.path.exists('go'): time.sleep(0.02)\n \
     c.sendall(half); c.close()\n\
    while True: threading.Thread(target=serve,args=(l.accept()[0],),daemon=True).start()\n";

/// Starts that server.
pub(crate) async fn start_halves(field: &mut Field, octets: usize) -> Result<()> {
    std::fs::write(field.path("halves.py"), HALVES)?;
    let octets = octets.to_string();
    field.start("halves", "python3", &["-u", "halves.py", &octets], "up").await
}

/// What it says, whole.
pub(crate) fn both_halves(octets: usize) -> Vec<u8> {
    let half: Vec<u8> = (0..octets / 2).map(|it| (it % 251) as u8).collect();
    [half.clone(), half].concat()
}

/// Waits until so many octets of a file are there.
pub(crate) async fn has_come(field: &Field, file: &str, octets: u64) -> Result<()> {
    let path = field.path(file);
    let come = || Ok(std::fs::metadata(&path).is_ok_and(|it| octets <= it.len()));
    let come = comes_true(&format!("{octets} octets of {file}"), come).await;
    come.with_context(|| {
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    })
}
