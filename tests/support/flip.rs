//! An attacker that exchanges two names for ever, as fast as it can: a folder and a link that leads to the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// Exchanges until it is dropped.
pub struct Flipper {
    enough: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flipper {
    /// Exchanges the names of each pair in turn.
    pub fn start(pairs: Vec<(PathBuf, PathBuf)>) -> Flipper {
        let (enough, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, counter) = (enough.clone(), count.clone());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                for (one, other) in &pairs {
                    exchange(one, other);
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                // On one core the victim would hardly ever run.
                std::thread::yield_now();
            }
        });
        Flipper { enough, count, thread: Some(thread) }
    }

    /// How often it has exchanged names.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

fn exchange(one: &Path, other: &Path) {
    let _ = renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE);
}

impl Drop for Flipper {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
