//! Turns the tests into `libtest-mimic` trials: skips those whose needs are not met, with the reason,
//! runs the rest, then the guard, and prints `N passed, N failed, N skipped` as the very last line.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::guard::Guard;
use super::need::{self, Need};
use super::session;

/// One test: a sentence, what it needs of the machine, and the function that proves it.
pub struct Test {
    name: String,
    needs: Vec<Need>,
    body: fn(),
}

/// What a test panics with when it finds, on its way, that something it needs is missing.
struct Skip(String);

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Test {
    /// `module` is the file's `module_path!()`; only its last part is shown.
    pub fn new(module: &str, name: &str, needs: Vec<Need>, body: fn()) -> Test {
        let file = module.rsplit("::").next().unwrap_or(module);
        Test { name: format!("{file}::{name}"), needs, body }
    }

    /// Whether the name has one of the words of `ISOLATE_TEST_ONLY`, `a,b,…`; without that, every one.
    fn is_asked_for(&self) -> bool {
        let words = std::env::var("ISOLATE_TEST_ONLY").unwrap_or_default();
        words.is_empty() || words.split(',').any(|word| self.name.contains(word))
    }

    fn into_trial(self) -> Trial {
        Trial::ignorable_test(self.name, move || match need::first_missing(&self.needs) {
            Some(reason) => reason.into_completion(),
            None => attempt(self.body),
        })
    }
}

/// Ends the calling test as skipped; `why` names the kernel feature or program that is missing.
pub fn skip(why: impl Into<String>) -> ! {
    panic_any(Skip(why.into()))
}

fn attempt(body: fn()) -> Result<Completion, Failed> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => Ok(Completion::Completed),
        Err(payload) => match payload.downcast::<Skip>() {
            Ok(reason) => need::Missing::found(reason.0).into_completion(),
            Err(payload) => Err(Failed::from(failure(&*payload))),
        },
    }
}

fn failure(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text");
    format!("{text}\n    at {}", PLACE.with_borrow(String::clone))
}

/// Keeps the default hook from writing into the middle of the list; the place is kept for the report.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with_borrow_mut(|kept| *kept = place);
    }));
}

/// Runs the suite as the command line asks; the exit code fails if any test or the guard did.
pub fn main(tests: Vec<Test>) -> ExitCode {
    main_with(tests, Vec::new)
}

/// The same for a suite that shares something between its tests: `finish` removes it after the last one,
/// before the session closes, and tells what should not have been there any more.
pub fn main_with(tests: Vec<Test>, finish: fn() -> Vec<String>) -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = tests.into_iter().filter(Test::is_asked_for).map(Test::into_trial).collect();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials).exit_code();
    }
    quiet_panics();
    super::child::hear_keys();
    session::open();
    let guard = Guard::look();
    let result = libtest_mimic::run(&arguments, trials);
    let mut left = finish();
    session::close();
    left.extend(guard.what_is_left());
    report_guard(&left);
    let failed = result.num_failed + u64::from(!left.is_empty());
    let passed = result.num_passed + u64::from(left.is_empty());
    println!("{passed} passed, {failed} failed, {} skipped", result.num_ignored);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report_guard(left: &[String]) {
    let verdict = if left.is_empty() { "ok" } else { "FAILED" };
    println!("test guard::the_host_is_as_it_was_before_the_suite ... {verdict}");
    for line in left {
        println!("    left behind: {line}");
    }
}
