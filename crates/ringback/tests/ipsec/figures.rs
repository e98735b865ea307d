//! How fast a session is over IPsec, beside TLS and beside no tunnel at all, in one run.

use std::io::Write;

use anyhow::{Context, Result};

use crate::field::{Field, Wishes};
use crate::scene::{set_up, start_halves, url};

/// Octets of a download.
const OCTETS: usize = 256 * 1024 * 1024;
/// Downloads of each kind; the median is told.
const RUNS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures: cargo test --release -p ringback --test ipsec -- --ignored --nocapture figures"]
async fn figures() -> Result<()> {
    for tunnel in ["tls", "ipsec"] {
        let wishes = Wishes { public: "linger_seconds = 0".into(), ..Wishes::default() };
        let Some(mut field) = set_up(tunnel, tunnel, wishes).await? else { return Ok(()) };
        start_halves(&mut field, OCTETS).await?;
        std::fs::write(field.path("go"), "")?;
        let url = url();
        let through = measure(&field, &url, true).await?;
        writeln!(std::io::stderr(), "{tunnel}: {through:.0} Mbit/s")?;
        if tunnel == "tls" {
            let plain = format!("http://{}/", field.lab.terminal.address());
            let plain = measure(&field, &plain, false).await?;
            writeln!(std::io::stderr(), "plain, private proxy to terminal: {plain:.0} Mbit/s")?;
        }
    }
    Ok(())
}

async fn measure(field: &Field, url: &str, from_client: bool) -> Result<f64> {
    let host = if from_client { &field.lab.client } else { &field.lab.private };
    let mut speeds = Vec::new();
    for _ in 0..RUNS {
        let words = ["-sS", "--max-time", "60", "-o", "/dev/null", "-w"];
        // The wait for the first octet is the ring's, and not the tunnel's.
        let format = "%{size_download} %{time_total} %{time_starttransfer}";
        let output = field.from(host, "curl", &[&words[..], &[format, url]].concat()).await?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let told: Vec<f64> = told.split(' ').filter_map(|it| it.parse().ok()).collect();
        let [octets, total, first] = told[..] else { anyhow::bail!("{output:?}") };
        anyhow::ensure!(OCTETS as f64 <= octets, "cut: {output:?}");
        speeds.push(octets * 8.0 / 1e6 / (total - first));
    }
    speeds.sort_by(f64::total_cmp);
    speeds.get(RUNS / 2).copied().context("no figure")
}
