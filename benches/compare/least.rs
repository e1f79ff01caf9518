//! The smallest memory limit under which a container's `/bin/true` runs: what a runtime uses of it after it has joined.

use super::Result;
use super::bundle::Bundles;
use super::runtime::{Runtime, Verb, end_of};

/// In KiB, ascending.
const LIMITS: [u64; 16] = [64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024, 2048, 4096, 8192];

/// How often it has to run under a limit.
const TRIES: usize = 5;

/// Prints the limit for each candidate.
pub fn find(runtimes: &[Runtime], bundles: &Bundles) -> Result<()> {
    println!("smallest memory limit under which /bin/true runs {TRIES} times of {TRIES}");
    for (index, runtime) in runtimes.iter().enumerate() {
        let mut least = None;
        for limit in LIMITS {
            let bundle = bundles.limited(limit << 10)?;
            let id =
                |attempt: usize| format!("isolate-least-{}-{index}-{limit}-{attempt}", std::process::id());
            let runs = |attempt: &usize| runs(runtime, &id(*attempt), &bundle, limit << 10);
            if (0..TRIES).filter(runs).count() == TRIES {
                least = Some(limit);
                break;
            }
        }
        let told = least.map_or("none that was tried".to_owned(), |limit| format!("{limit} KiB"));
        println!("{:12} {told}", runtime.name);
    }
    Ok(())
}

fn runs(runtime: &Runtime, id: &str, bundle: &std::path::Path, bytes: u64) -> bool {
    let mut command = runtime.command(Verb::Run, id, bundle);
    let child = command.env("FLOOR_MEMORY", bytes.to_string()).spawn();
    let end = child.map_err(Into::into).and_then(|mut child| end_of(&mut child));
    let succeeded = matches!(end, Ok(Some(status)) if status.success());
    if !succeeded {
        runtime.clean(id);
        super::measure::reap();
    }
    succeeded
}
