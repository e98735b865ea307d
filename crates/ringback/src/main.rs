//! The `ringback` binary: order of events only.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ringback::cli::{Cli, Command, Enrol, File, Key, Proof};
use ringback::config::{Config, Mistakes};
use ringback::enrol::{self, Redemption, Shown};
use ringback::limits::{LAST_THREADS, ONE_WISH};
use ringback::reload::Reload;
use ringback::{
    budget, buffer, connect, demo, doctor, keys, operator, private, prompt, public, ring,
    telemetry, users,
};
use ringback_proto::gate::Identity;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// The exit code of bad usage or a bad configuration (sysexits.h, EX_USAGE).
const BAD_USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { BAD_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    telemetry::start(cli.log, cli.command.usually_logs());
    // What decides is on one thread; what carries sessions has its own.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    if cli.command.is_role() {
        buffer::keep_freed();
        keys::warm_up();
        runtime.on_thread_start(keys::warm_up);
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&anyhow::Error::new(error).context("cannot start")),
    };
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::select! {
            outcome = run(cli.command, stop.clone()) => outcome,
            impatience = signals(stop, cli.with_parent) => Err(impatience),
        }
    });
    // A name that is still being looked up, or a line that is still being read, is not waited for long;
    // but a thread that seeds its randomness while the process ends would abort it.
    runtime.shutdown_timeout(LAST_THREADS);
    outcome.unwrap_or_else(|error| complain(&error))
}

async fn run(command: Command, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(wanted) => return demo::run(wanted, stop).await,
        Command::Public(file) => serve(&file, "public", stop).await?,
        Command::Private(file) => serve(&file, "private", stop).await?,
        Command::Responder(file) => serve(&file, "responder", stop).await?,
        Command::Operator(file) => serve(&file, "operator", stop).await?,
        Command::Check(file) => {
            let config = Config::load(&file.config)?;
            config.notes().iter().for_each(|note| println!("note: {note}"));
            println!("{}: no mistakes", file.config.display());
        }
        Command::Doctor(wanted) => {
            return doctor::run(&wanted, &stop).await;
        }
        Command::Ring(wanted) => return ring::run(wanted, stop).await,
        Command::Budget(wanted) => budget::run(&wanted)?,
        Command::Connect(wanted) => return connect::run(wanted, stop).await,
        Command::Contact(wanted) => print!("{}", connect::contact(&wanted)?),
        Command::Key { of: Key::Identity { out } | Key::Client { out } } => {
            told(keys::make_identity(&out), &out)?
        }
        Command::Key { of: Key::Terminal { out, suite } } => {
            told(keys::make_terminal(&out, suite), &out)?;
        }
        Command::Key { of: Key::User { name, by } } => {
            println!("{}", &*user(&name, by, &stop).await.context("RB-KEY: no line for a user")?);
        }
        Command::Key { of: Key::List { file, json } } => {
            print!("{}", enrol::list(&file.config, json)?);
        }
        Command::Enrol { step } => enrol_step(step).await?,
        Command::Revoke { whom, file, json } => enrol::revoke(&file.config, &whom, json).await?,
        Command::Visit { dns, port, host } => {
            println!("{}", serde_json::to_string(&demo::visit(dns, &host, port, "/").await?)?);
        }
        Command::Direct { to } => println!("{}", demo::direct(to).await),
        Command::Readings { listen } => {
            let listener = TcpListener::bind(listen).await?;
            tracing::info!(role = "readings", "ready");
            readings::serve(listener, stop).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn enrol_step(step: Enrol) -> anyhow::Result<()> {
    match step {
        Enrol::Offer { name, file, valid, json, qr } => {
            let terminal = std::io::stdout().is_terminal();
            let shown = Shown { json, qr, terminal };
            print!("{}", enrol::offer(&file.config, &name, valid, shown)?);
            Ok(())
        }
        Enrol::Redeem { file, code_file, allow_address, service } => {
            let (file, allowed, services) = (file.config, allow_address, service);
            let wanted = Redemption { file, code_file, allowed, services };
            enrol::redeem(wanted).await
        }
        Enrol::Prove { name, file } => enrol::prove(&file.config, &name).await,
    }
}

/// Runs the role that the file is for, if it is the one asked for.
async fn serve(file: &File, role: &str, stop: CancellationToken) -> anyhow::Result<()> {
    let reload = Reload::new(file.config.clone()).context("cannot hear signals")?;
    let config = Config::load(&file.config)?;
    match (config, role) {
        (Config::Public(config), "public") => public::run(*config, reload, stop).await,
        (Config::Private(config), "private") => private::run(*config, reload, stop).await,
        (Config::Operator(config), "operator") => {
            let listener = TcpListener::bind(config.listen).await.with_context(|| {
                format!("RB-BIND: cannot listen on {} (operator)", config.listen)
            })?;
            tracing::info!(role = "operator", "ready");
            tokio::select! {
                ended = operator::run(listener, config, stop) => ended,
                () = reload.decline() => Ok(()),
            }
        }
        (Config::Responder(config), "responder") => public::answer_dns(config, reload, stop).await,
        (
            other @ (Config::Public(_)
            | Config::Private(_)
            | Config::Operator(_)
            | Config::Responder(_)),
            role,
        ) => Err(Mistakes::of_role(&file.config, role, &other).into()),
    }
}

/// The first SIGINT or SIGTERM, or the parent's end, asks everything to stop; a second signal does not
/// wait for it.
async fn signals(stop: CancellationToken, with_parent: bool) -> anyhow::Error {
    use tokio::signal::unix::{SignalKind, signal};

    let handlers = signal(SignalKind::interrupt())
        .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match handlers {
        Ok(handlers) => handlers,
        Err(error) => return anyhow::Error::new(error).context("cannot hear signals"),
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = orphaned(), if with_parent && !stop.is_cancelled() => {}
        }
        if stop.is_cancelled() {
            break;
        }
        stop.cancel();
        // A terminal or `timeout` signals a process and its group: that is one wish, said twice.
        let said_twice = async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
        };
        let Err(_over) = tokio::time::timeout(ONE_WISH, said_twice).await;
    }
    anyhow::anyhow!("stopped at once: running sessions were cut")
}

/// Resolves when whoever holds the other end of our standard input is gone.
async fn orphaned() {
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut tokio::io::sink()).await;
}

/// A line for a users file.
async fn user(
    name: &Identity,
    by: Proof,
    stop: &CancellationToken,
) -> anyhow::Result<Zeroizing<String>> {
    if by.bearer {
        let (line, token) = users::token_line(name)?;
        eprintln!("the token, shown this once: {}", &*token);
        return Ok(line);
    }
    let password = prompt::new_password(stop).await?;
    match by.digest {
        Some(realm) => Ok(users::digest_line(name, &realm, &password)),
        None => Ok(users::password_line(name, &password)?),
    }
}

fn told(
    made: Result<Vec<std::path::PathBuf>, keys::KeyFault>,
    name: &std::path::Path,
) -> anyhow::Result<()> {
    for file in made.with_context(|| format!("RB-KEY: keys named {}", name.display()))? {
        println!("wrote {}", file.display());
    }
    Ok(())
}

fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let usage = error.is::<Mistakes>();
    if usage { BAD_USAGE.into() } else { ExitCode::FAILURE }
}
