//! Plain proxies: no tunnels, but the limit of passing bytes on, by one hop and by two.

use std::path::Path;

use anyhow::Result;

use super::{Places, write};
use crate::figure::{BEFORE, BEHIND};
use crate::process::Process;

/// Where the first of two hops hands over to the second.
const BETWEEN: [u16; 3] = [9001, 9002, 9003];

/// One haproxy.
pub(super) fn haproxy(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    Ok(vec![hop(places, folder, "first", BEFORE, BEHIND)?])
}

/// One haproxy behind another.
pub(super) fn haproxy_two(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    Ok(vec![
        hop(places, folder, "second", BETWEEN, BEHIND)?,
        hop(places, folder, "first", BEFORE, BETWEEN)?,
    ])
}

fn hop(
    places: &Places,
    folder: &Path,
    name: &'static str,
    before: [u16; 3],
    behind: [u16; 3],
) -> Result<Process> {
    let mut config = "global\n  maxconn 9000\ndefaults\n  mode tcp\n  timeout connect 5s\n  \
        timeout client 1h\n  timeout server 1h\n  maxconn 9000\n  option splice-auto\n"
        .to_owned();
    for (before, behind) in before.iter().zip(behind) {
        config += &format!(
            "listen s{before}\n  bind 127.0.0.1:{before}\n  server it 127.0.0.1:{behind}\n"
        );
    }
    let file = format!("{name}.cfg");
    write(folder, &[(&file, &config)])?;
    Process::start(name, folder, &[&places.word("haproxy")?, "-db", "-f", &file])
}

/// One nginx.
pub(super) fn nginx(places: &Places, folder: &Path) -> Result<Vec<Process>> {
    let mut config = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\n\
        worker_processes 1;\npid nginx.pid;\nerror_log stderr;\n\
        events { worker_connections 20000; }\nstream {\n"
        .to_owned();
    for (before, behind) in BEFORE.iter().zip(BEHIND) {
        config += &format!(
            "server {{ listen 127.0.0.1:{before} backlog=4096; proxy_pass 127.0.0.1:{behind}; }}\n"
        );
    }
    config += "}\n";
    let file = write(folder, &[("nginx.conf", &config)])?;
    let own = format!("{}/", folder.display());
    let words = [&places.word("nginx")?, "-p", &own, "-c", &file];
    Ok(vec![Process::start("nginx", folder, &words)?])
}
