//! Many idle containers at once: what each costs the host, and what commands cost among them.

use std::time::{Duration, Instant};

use super::Result;
use super::bundle::Bundles;
use super::runtime::{Runtime, Verb};

/// Containers of which the first and the last medians are made.
const SAMPLE: usize = 20;

/// How long the kernel may take to give back what ended.
const REST: Duration = Duration::from_secs(3);

/// Prints a line for each candidate, one after the other: they would not fit beside each other.
pub fn measure(runtimes: &[Runtime], bundles: &Bundles, number: usize) -> Result<()> {
    if number < 2 * SAMPLE {
        return Err(format!("a crowd is at least {}", 2 * SAMPLE).into());
    }
    println!(
        "{number} idle containers: memory of the host for each; create and start of the first {SAMPLE} and the last"
    );
    println!(
        "{:12} {:>9} {:>11} {:>11} {:>9} {:>9}",
        "", "KiB each", "first ms", "last ms", "list ms", "state ms"
    );
    for runtime in runtimes {
        println!("{:12} {}", runtime.name, one(runtime, bundles, number)?);
    }
    Ok(())
}

fn one(runtime: &Runtime, bundles: &Bundles, number: usize) -> Result<String> {
    let bundle = bundles.staying();
    let id = |index: usize| format!("isolate-crowd-{}-{index}", std::process::id());
    std::thread::sleep(REST);
    let before = available_kib()?;
    let mut times = Vec::new();
    let made: Result<()> = (0..number).try_for_each(|index| {
        let create = runtime.time(Verb::Create, &id(index), &bundle)?;
        times.push(create + runtime.time(Verb::Start, &id(index), &bundle)?);
        Ok(())
    });
    let line = made.and_then(|()| {
        std::thread::sleep(REST);
        let each = before.saturating_sub(available_kib()?) / number as u64;
        let asked = |verb, id: &str| -> Result<String> {
            if runtime.is_floor() {
                return Ok("-".to_owned());
            }
            let times: Result<Vec<_>> = (0..SAMPLE).map(|_| runtime.time(verb, id, &bundle)).collect();
            Ok(millis(median(&times?)))
        };
        let (first, last) = (median(&times[..SAMPLE]), median(&times[number - SAMPLE..]));
        let (list, state) = (asked(Verb::List, "")?, asked(Verb::State, &id(number / 2))?);
        Ok(format!("{each:>9} {:>11} {:>11} {list:>9} {state:>9}", millis(first), millis(last)))
    });
    let begin = Instant::now();
    for index in 0..number {
        if runtime.time(Verb::Delete, &id(index), &bundle).is_err() && runtime.knows(&id(index)) {
            runtime.clean(&id(index));
        }
    }
    super::measure::reap();
    let deleted = begin.elapsed() / u32::try_from(number)?;
    line.map(|line| format!("{line}   (delete {} ms each)", millis(deleted)))
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1000.0)
}

fn available_kib() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    Ok(line
        .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
        .ok_or("no MemAvailable")?)
}
