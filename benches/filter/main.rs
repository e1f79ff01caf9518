//! What a seccomp filter costs its program, for each system call: no filter, ours, and those of other compilers.
//! `benches/run filter` calls it with libseccomp's; `--help` tells more.
//!
//! Each program is loaded by a process of its own, which then times calls that the profile allows without and with a
//! look at their arguments, and calls that it denies in both ways. All take turns within a round.

use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use isolate::plan::seccomp::compile;
use isolate::sys::bpf::Instruction;
use isolate::sys::seccomp;
use nix::sched::CloneFlags;
use nix::sys::personality::{self, Persona};
use oci_spec::runtime::LinuxSeccomp;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HELP: &str = "filter PROFILE.json [NAME=PROGRAM.bpf …]

Times system calls under the filter that isolate makes of the `linux.seccomp` object, under other programs as the kernel
takes them, and under none: nanoseconds a call, the median of 30 rounds and the tenth percentile. As root.";

/// How the kernel is asked, and what for.
const CALLS: [(&str, fn()); 4] = [
    ("allowed", || _ = black_box(nix::unistd::getppid())),
    ("allowed by its argument", || _ = black_box(personality::get())),
    ("denied by its argument", || _ = black_box(personality::set(Persona::ADDR_NO_RANDOMIZE))),
    ("denied", || _ = black_box(nix::sched::unshare(CloneFlags::empty()))),
];

const ROUNDS: usize = 30;
const BATCH: u32 = 20_000;
const MEASURE: &str = "--measure";
const NO_FILTER: &str = "-";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [MEASURE, program] => measure(program),
        ["--help" | "-h"] | [] => writeln!(std::io::stdout(), "{HELP}").map_err(Into::into),
        [profile, others @ ..] => compare(Path::new(profile), others),
    };
    result.map_or_else(
        |error| {
            eprintln!("filter: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// In the process that has the filter: nanoseconds for loading it, and for each kind of call.
fn measure(program: &str) -> Result<()> {
    let program = if program == NO_FILTER { Vec::new() } else { read(Path::new(program))? };
    let begin = Instant::now();
    if !program.is_empty() {
        seccomp::load(&program, seccomp::SPEC_ALLOW)?;
    }
    print!("{} ", begin.elapsed().as_nanos());
    for (_, call) in CALLS {
        let begin = Instant::now();
        (0..BATCH).for_each(|_| call());
        print!("{} ", begin.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
    }
    println!();
    Ok(())
}

fn compare(profile: &Path, others: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config: LinuxSeccomp = serde_json::from_slice(&std::fs::read(profile)?)?;
    let own = folder.path().join("isolate.bpf");
    write(&own, &compile(&config)?.program)?;
    let mut candidates = vec![("none".to_owned(), PathBuf::from(NO_FILTER)), ("isolate".to_owned(), own)];
    for other in others {
        let (name, path) =
            other.split_once('=').ok_or_else(|| format!("{other:?} is not NAME=PROGRAM.bpf"))?;
        candidates.push((name.to_owned(), path.into()));
    }
    let mut figures = vec![vec![Vec::new(); CALLS.len() + 1]; candidates.len()];
    for _ in 0..ROUNDS {
        for ((_, path), figures) in candidates.iter().zip(&mut figures) {
            for (figure, all) in run(path)?.into_iter().zip(figures) {
                all.push(figure);
            }
        }
    }
    print!("{:14} {:>12} {:>16}", "", "instructions", "load, µs");
    CALLS.iter().for_each(|(name, _)| print!(" {name:>24}"));
    println!();
    for ((name, path), figures) in candidates.iter().zip(&mut figures) {
        let length = if path.as_os_str() == NO_FILTER { 0 } else { read(path)?.len() };
        print!("{name:14} {length:>12}");
        for (index, all) in figures.iter_mut().enumerate() {
            let (width, unit) = if index == 0 { (16, 1000.0) } else { (24, 1.0) };
            let text = format!("{:.0} ({:.0})", percentile(all, 50) / unit, percentile(all, 10) / unit);
            print!(" {text:>width$}");
        }
        println!();
    }
    Ok(())
}

fn run(program: &Path) -> Result<Vec<f64>> {
    let output = Command::new(std::env::current_exe()?).arg(MEASURE).arg(program).output()?;
    let text = String::from_utf8(output.stdout)?;
    let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
    match figures.len() == CALLS.len() + 1 {
        true => Ok(figures),
        false => Err(format!("{program:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn percentile(all: &mut [f64], percent: usize) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all[(all.len() * percent / 100).min(all.len() - 1)]
}

/// As `struct sock_filter` lies in memory.
fn read(path: &Path) -> Result<Vec<Instruction>> {
    let bytes = std::fs::read(path)?;
    let word = |bytes: &[u8]| u16::from_ne_bytes([bytes[0], bytes[1]]);
    let number = |bytes: &[u8]| u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let instruction =
        |bytes: &[u8]| Instruction { code: word(bytes), jt: bytes[2], jf: bytes[3], k: number(bytes) };
    Ok(bytes.chunks_exact(8).map(instruction).collect())
}

fn write(path: &Path, program: &[Instruction]) -> Result<()> {
    let bytes = program.iter().flat_map(|instruction| {
        let (code, k) = (instruction.code.to_ne_bytes(), instruction.k.to_ne_bytes());
        [code[0], code[1], instruction.jt, instruction.jf, k[0], k[1], k[2], k[3]]
    });
    Ok(std::fs::write(path, bytes.collect::<Vec<_>>())?)
}
