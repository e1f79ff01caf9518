//! The tests: each candidate in turn, round after round. Nothing is left behind: orphans come to this process, and a
//! container of a failed test is deleted.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use isolate::sys::attributes::{SchedAttr, set_scheduler};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::Result;
use super::bundle::Bundles;
use super::runtime::{Runtime, Verb, end_of};

/// What is measured.
pub struct Plan {
    /// Rounds of each test, after one that is not counted.
    pub rounds: usize,
    /// Containers made at once.
    pub parallel: usize,
    /// The pause of the cold tests; zero for none.
    pub pause: Duration,
    /// Whether it all runs at real-time priority.
    pub real_time: bool,
}

/// Times of each test and candidate, peaks of memory in KiB, and what failed.
#[derive(Default)]
pub struct Measurements {
    /// By the test's name, in the order of the tests, then by candidate.
    pub times: Vec<(String, BTreeMap<String, Vec<Duration>>)>,
    /// By verb and candidate.
    pub peaks: BTreeMap<(String, String), u64>,
    /// A sentence for each candidate that dropped out of a test.
    pub failed: Vec<String>,
}

impl Measurements {
    fn put(&mut self, test: &str, runtime: &Runtime, time: Duration) {
        let index = self.times.iter().position(|(name, _)| name == test).unwrap_or_else(|| {
            self.times.push((test.to_owned(), BTreeMap::new()));
            self.times.len() - 1
        });
        self.times[index].1.entry(runtime.name.clone()).or_default().push(time);
    }
}

/// Makes all tests.
pub fn all(plan: &Plan, runtimes: &[Runtime], bundles: &Bundles) -> Result<Measurements> {
    let mut stage = Stage { plan, runtimes, bundles, out: Measurements::default(), count: 0 };
    let pauses = if plan.pause.is_zero() { vec![Duration::ZERO] } else { vec![Duration::ZERO, plan.pause] };
    for pause in pauses {
        stage.rounds(pause, "run", Stage::run)?;
        stage.rounds(pause, "lifecycle", Stage::lifecycle)?;
        stage.exec(pause)?;
    }
    stage.peaks()?;
    if plan.parallel > 0 {
        stage.parallel()?;
    }
    Ok(stage.out)
}

struct Stage<'a> {
    plan: &'a Plan,
    runtimes: &'a [Runtime],
    bundles: &'a Bundles,
    out: Measurements,
    count: usize,
}

/// Times of one candidate in one round, by verb.
type Round = Vec<(Verb, Duration)>;

impl Stage<'_> {
    fn fresh(&mut self, runtime: &Runtime) -> String {
        self.count += 1;
        let id = format!("isolate-compare-{}-{}", std::process::id(), self.count);
        if self.plan.real_time {
            give_real_time(&runtime.cgroup(&id));
        }
        id
    }

    /// Rounds of a test that makes and ends a container of its own. The first warms the caches.
    fn rounds(
        &mut self,
        pause: Duration,
        test: &str,
        once: fn(&mut Self, &Runtime, Duration) -> Result<Round>,
    ) -> Result<()> {
        let mut out = vec![false; self.runtimes.len()];
        for round in 0..=self.plan.rounds {
            for (index, runtime) in self.runtimes.iter().enumerate() {
                if out[index] {
                    continue;
                }
                let result = in_real_time(self.plan, || once(self, runtime, pause));
                reap();
                match result {
                    Ok(times) if round > 0 => {
                        let name = |verb: Verb| format!("{}{}", verb.name(), heat(pause));
                        times.into_iter().for_each(|(verb, time)| self.out.put(&name(verb), runtime, time));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        out[index] = true;
                        self.out.failed.push(format!("{test}{}: {error}", heat(pause)));
                    }
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, runtime: &Runtime, pause: Duration) -> Result<Round> {
        let id = self.fresh(runtime);
        std::thread::sleep(pause);
        let time = runtime.time(Verb::Run, &id, &self.bundles.ending());
        self.end_failed(runtime, &id, time.is_err());
        Ok(vec![(Verb::Run, time?)])
    }

    fn lifecycle(&mut self, runtime: &Runtime, pause: Duration) -> Result<Round> {
        let id = self.fresh(runtime);
        let bundle = self.bundles.staying();
        let times: Result<Round> = [Verb::Create, Verb::Start, Verb::Delete]
            .into_iter()
            .map(|verb| {
                std::thread::sleep(pause);
                runtime.time(verb, &id, &bundle).map(|time| (verb, time))
            })
            .collect();
        self.end_failed(runtime, &id, times.is_err());
        times
    }

    fn end_failed(&self, runtime: &Runtime, id: &str, failed: bool) {
        if failed {
            runtime.clean(id);
        }
    }

    fn exec(&mut self, pause: Duration) -> Result<()> {
        let bundle = self.bundles.staying();
        let mut standing = Vec::new();
        for runtime in self.runtimes {
            let id = self.fresh(runtime);
            let made = runtime
                .time(Verb::Create, &id, &bundle)
                .and_then(|_| runtime.time(Verb::Start, &id, &bundle));
            match made {
                Ok(_) => standing.push((runtime, id)),
                Err(error) => self.out.failed.push(format!("exec: {error}")),
            }
        }
        for round in 0..=self.plan.rounds {
            for (runtime, id) in &standing {
                std::thread::sleep(pause);
                match in_real_time(self.plan, || runtime.time(Verb::Exec, id, &bundle)) {
                    Ok(time) if round > 0 => self.out.put(&format!("exec{}", heat(pause)), runtime, time),
                    Ok(_) => {}
                    Err(error) => self.out.failed.push(format!("exec{}: {error}", heat(pause))),
                }
            }
        }
        for (runtime, id) in &standing {
            let _ = runtime.time(Verb::Delete, id, &bundle);
        }
        reap();
        Ok(())
    }

    fn peaks(&mut self) -> Result<()> {
        let Some(floor) = self.runtimes.iter().find(|runtime| runtime.is_floor()) else { return Ok(()) };
        for runtime in self.runtimes {
            let id = self.fresh(runtime);
            for verb in [Verb::Create, Verb::Start, Verb::Exec, Verb::Delete] {
                let peak = runtime.peak(floor, verb, &id, &self.bundles.staying())?;
                self.out.peaks.insert((verb.name().into(), runtime.name.clone()), peak);
            }
            let id = self.fresh(runtime);
            let peak = runtime.peak(floor, Verb::Run, &id, &self.bundles.ending())?;
            self.out.peaks.insert(("run".into(), runtime.name.clone()), peak);
            reap();
        }
        Ok(())
    }

    /// Many at once, three times; the time of all divided by their number.
    fn parallel(&mut self) -> Result<()> {
        let number = self.plan.parallel;
        let bundle = self.bundles.staying();
        for _ in 0..3 {
            for runtime in self.runtimes {
                let ids: Vec<String> = (0..number).map(|_| self.fresh(runtime)).collect();
                for verb in [Verb::Create, Verb::Start, Verb::Delete] {
                    let begin = Instant::now();
                    let children: Result<Vec<_>> =
                        ids.iter().map(|id| runtime.start(verb, id, &bundle)).collect();
                    let ends = children?.into_iter().map(|mut child| end_of(&mut child));
                    let bad = ends.filter(|end| !matches!(end, Ok(Some(status)) if status.success())).count();
                    let time = begin.elapsed() / u32::try_from(number)?;
                    if bad == 0 {
                        self.out.put(&format!("{} {number} at once", verb.name()), runtime, time);
                    } else {
                        let what =
                            format!("{} {} at once: {bad} of {number} failed", runtime.name, verb.name());
                        self.out.failed.push(what);
                    }
                }
                reap();
                ids.iter().filter(|id| runtime.knows(id)).for_each(|id| runtime.clean(id));
            }
        }
        Ok(())
    }
}

fn heat(pause: Duration) -> &'static str {
    if pause.is_zero() { "" } else { " cold" }
}

/// Takes in what has ended below this process.
pub fn reap() {
    while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status != WaitStatus::StillAlive)
    {
    }
}

/// On v1, a real-time process may only be in a cpu cgroup with a budget; it is made before the runtime comes. More than
/// this would add up over the containers that are still being torn down.
fn give_real_time(cgroup: &str) {
    let folder = Path::new("/sys/fs/cgroup/cpu").join(cgroup);
    let given =
        std::fs::create_dir(&folder).and_then(|()| std::fs::write(folder.join("cpu.rt_runtime_us"), "20000"));
    if let Err(error) = given {
        eprintln!("compare: no real-time budget: {error}");
    }
}

fn in_real_time<T>(plan: &Plan, measured: impl FnOnce() -> T) -> T {
    let set = |policy: i32, priority: u32| {
        let wanted = SchedAttr { policy: policy.cast_unsigned(), priority, ..SchedAttr::default() };
        if let Err(errno) = set_scheduler(wanted) {
            eprintln!("compare: sched_setattr: {errno}");
        }
    };
    if plan.real_time {
        set(libc::SCHED_FIFO, 10);
    }
    let result = measured();
    if plan.real_time {
        set(libc::SCHED_OTHER, 0);
    }
    result
}
