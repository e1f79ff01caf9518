//! Compares OCI runtimes with each other and with the kernel's floor (`benches/floor.c`), as root. `benches/run`
//! builds what it needs and calls it; `--help` tells the options.
//!
//! All candidates take turns within each round, so that drift and other work on the machine hit all alike: quote
//! the ratios of one run, never the times. With `--cold` each test is also made after a pause: after one the kernel's
//! way of moving a process into a cgroup from outside takes a whole RCU grace period, which a hot loop hides.
#![allow(clippy::expect_used)]

mod bundle;
mod crowd;
mod least;
mod measure;
mod plot;
mod report;
mod runtime;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};

use measure::{Measurements, Plan};
use runtime::Runtime;

/// What everything here fails with.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("compare")
        .about("Compare OCI runtimes with each other and with the kernel's floor")
        .arg(option("floor", "FILE", "The floor program, built from benches/floor.c").required(true))
        .arg(option("rounds", "N", "Rounds of each test").short('n').default_value("40"))
        .arg(
            option("parallel", "K", "Containers made at once in the parallel test; 0 for none")
                .default_value("100"),
        )
        .arg(option("cold", "MS", "Also with this pause before each command").default_value("0"))
        .arg(option("json", "FILE", "Write all figures"))
        .arg(option("svg", "FILE", "Draw medians and spread"))
        .arg(option(
            "crowd",
            "N",
            "Instead: N idle containers, what each costs the host, and commands among them",
        ))
        .arg(
            Arg::new("least-memory")
                .long("least-memory")
                .action(ArgAction::SetTrue)
                .help("Instead: the smallest memory limit under which /bin/true runs"),
        )
        .arg(Arg::new("rt").long("rt").action(ArgAction::SetTrue).help(
            "Real-time priority for what is measured; not for runtimes in Go, which the budget throttles",
        ))
        .arg(Arg::new("bench").long("bench").action(ArgAction::SetTrue).hide(true))
        .arg(
            Arg::new("runtime")
                .value_name("RUNTIME")
                .num_args(1..)
                .help("A program, or NAME=PROGRAM OPTION…, quoted"),
        )
        .after_help("Example:\n    benches/run compare --cold 50 crun 'runc=/usr/sbin/runc --debug'")
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let matches = command().get_matches();
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let number = |name: &str| {
        text(name).unwrap_or("0").parse::<usize>().map_err(|_| format!("--{name}: not a number"))
    };
    if !nix::unistd::geteuid().is_root() {
        return Err("only root can compare: the floor knows no user namespaces".into());
    }
    let plan = Plan {
        rounds: number("rounds")?,
        parallel: number("parallel")?,
        pause: Duration::from_millis(number("cold")? as u64),
        real_time: matches.get_flag("rt"),
    };
    // Containers' orphans come to us: no zombie outlives its test.
    nix::sys::prctl::set_child_subreaper(true)?;
    let bundles = bundle::Bundles::make()?;
    let floor = PathBuf::from(text("floor").unwrap_or_default());
    let mut runtimes = vec![Runtime::floor(&floor, &bundles)];
    if !matches.get_flag("least-memory") && text("crowd").is_none() {
        runtimes.push(Runtime::waiting_floor(&floor, &bundles));
    }
    for words in matches.get_many::<String>("runtime").into_iter().flatten() {
        runtimes.push(Runtime::parse(words, &bundles)?);
    }
    if matches.get_flag("least-memory") {
        return least::find(&runtimes, &bundles);
    }
    if text("crowd").is_some() {
        return crowd::measure(&runtimes, &bundles, number("crowd")?);
    }
    let measurements: Measurements = measure::all(&plan, &runtimes, &bundles)?;
    let report = report::Report::new(&plan, &runtimes, &measurements);
    print!("{}", report.table());
    if let Some(path) = text("json") {
        std::fs::write(path, report.json()?)?;
    }
    if let Some(path) = text("svg") {
        plot::draw(&report, path.as_ref())?;
    }
    Ok(())
}
