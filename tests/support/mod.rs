//! The test harness: what a test needs, the bundle it runs, the runtime it drives, and the guard that
//! nothing stays behind. Runs as whoever starts the suite, and never decides what a test means.
#![allow(dead_code, unused_imports)]

pub mod agent;
pub mod attacker;
pub mod bundle;
pub mod cgroup;
pub mod child;
pub mod config;
pub mod console;
pub mod container;
pub mod deeds;
pub mod estate;
pub mod flip;
pub mod guard;
pub mod mark;
pub mod need;
pub mod nested;
pub mod process;
pub mod registry;
pub mod runner;
pub mod session;
pub mod tracer;
pub mod vanish;
pub mod weakness;

pub use bundle::Bundle;
pub use child::{Output, Run};
pub use container::Container;
pub use mark::Mark;
pub use need::Need;
pub use runner::{Test, skip};
pub use session::{repository, session};

/// What a test file opens with: `tests![first_sentence, second_sentence needs [Need::Root]]`.
#[macro_export]
macro_rules! tests {
    ($($name:ident $(needs [$($need:expr),* $(,)?])?),* $(,)?) => {
        pub fn tests() -> Vec<$crate::support::Test> {
            vec![$($crate::support::Test::new(
                module_path!(), stringify!($name), vec![$($($need),*)?], $name)),*]
        }
    };
}
