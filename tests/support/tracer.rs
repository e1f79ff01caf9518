//! A tracer that kills a process of the runtime when it enters its Nth system call, or makes that call fail: the
//! suite's own binary, called by another name. A process of its own, because a tracer gets the ends of all children.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What the binary is called as.
const NAME: &str = "isolate-tracer";

/// The exit code for a command that did not end.
pub const HUNG: i32 = 99;

/// How long a command may take, in seconds.
const PATIENCE: u32 = 100;

/// What happens to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; the calls are only listed.
    None,
    /// The process is killed.
    Kill,
    /// The call fails with this errno, and is not made.
    Fail(i32),
}

/// One system call of a command: which of its processes makes it (0: the runtime, 1: its child, …), as which of that
/// process's calls, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The process, in the order of their births.
    pub role: usize,
    /// Counts from 0.
    pub index: usize,
    /// The number of the call.
    pub number: i64,
}

/// `command`, so that `fault` happens at `call`; calls are listed in `log`.
pub fn traced(command: &Command, call: Call, fault: Fault, log: &Path) -> Command {
    let mut tracer = Command::new(std::env::current_exe().unwrap());
    let fault = match fault {
        Fault::None => 0,
        Fault::Kill => -1,
        Fault::Fail(errno) => errno,
    };
    tracer.arg0(NAME).args([call.role.to_string(), call.index.to_string(), fault.to_string()]);
    tracer.arg(log).arg(call.number.to_string()).arg(command.get_program()).args(command.get_args());
    tracer
}

/// The calls that a tracer has listed.
pub fn listed(log: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(log).unwrap();
    let parse = |line: &str| {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        Call { role: numbers[0] as usize, index: numbers[1] as usize, number: numbers[2] }
    };
    text.lines().map(parse).collect()
}

/// Is the tracer, if it was called as that, and ends as the command does.
pub fn act_if_called() {
    let args: Vec<String> = std::env::args().collect();
    if args.first().map(String::as_str) != Some(NAME) {
        return;
    }
    let number = |at: usize| args[at].parse::<i64>().unwrap();
    let fault = match number(3) {
        0 => Fault::None,
        -1 => Fault::Kill,
        errno => Fault::Fail(errno as i32),
    };
    let mut command = Command::new(&args[6]);
    command.args(&args[7..]);
    let log = (fault == Fault::None).then(|| File::create(&args[4]).unwrap());
    let call = Call { role: number(1) as usize, index: number(2) as usize, number: number(5) };
    let tracer = Tracer { wanted: call, fault, log, known: BTreeMap::new() };
    // SAFETY: alarm only sets a timer; its signal ends this process, and its tracees go on.
    unsafe { libc::alarm(PATIENCE) };
    // SAFETY: the handler only calls _exit, which is async-signal-safe.
    unsafe { libc::signal(libc::SIGALRM, hung as *const () as libc::sighandler_t) };
    tracer.run(command);
}

extern "C" fn hung(_: i32) {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(HUNG) }
}

#[derive(Default, Clone, Copy)]
struct Seen {
    role: usize,
    calls: usize,
    /// The call under way is to fail.
    fails: bool,
    /// The stop that every tracee begins with is over.
    has_begun: bool,
}

struct Tracer {
    /// The call that the fault is for, or, where a command makes others this time, the next one of that number.
    wanted: Call,
    fault: Fault,
    log: Option<File>,
    known: BTreeMap<i32, Seen>,
}

impl Tracer {
    fn run(mut self, mut command: Command) -> ! {
        // SAFETY: ptrace(PTRACE_TRACEME) is async-signal-safe.
        unsafe { command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from)) };
        let first = Pid::from_raw(command.spawn().unwrap().id() as i32);
        waitpid(first, Some(WaitPidFlag::__WALL)).unwrap();
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC;
        ptrace::setoptions(first, options).unwrap();
        self.known.insert(first.as_raw(), Seen { has_begun: true, ..Seen::default() });
        let _ = ptrace::syscall(first, None);
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL)).unwrap() {
                WaitStatus::Exited(pid, code) if pid == first => self.leave(code),
                WaitStatus::Signaled(pid, signal, _) if pid == first => self.leave(128 + signal as i32),
                WaitStatus::PtraceSyscall(pid) => {
                    self.call(pid);
                    let _ = ptrace::syscall(pid, None);
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    let role = self.known.get(&pid.as_raw()).map_or(0, |seen| seen.role);
                    if event == libc::PTRACE_EVENT_EXEC && role > 0 {
                        // The container's program is none of ours, nor is what it starts.
                        let _ = ptrace::detach(pid, None);
                        continue;
                    }
                    if event != libc::PTRACE_EVENT_EXEC
                        && let Ok(born) = ptrace::getevent(pid)
                    {
                        self.seen(Pid::from_raw(born as i32));
                    }
                    let _ = ptrace::syscall(pid, None);
                }
                WaitStatus::Stopped(pid, signal) => {
                    let seen = self.seen(pid);
                    let begins = !seen.has_begun && signal == Signal::SIGSTOP;
                    seen.has_begun |= begins;
                    let _ = ptrace::syscall(pid, Some(signal).filter(|_| !begins));
                }
                _ => {}
            }
        }
    }

    fn seen(&mut self, pid: Pid) -> &mut Seen {
        let role = self.known.len();
        self.known.entry(pid.as_raw()).or_insert(Seen { role, ..Seen::default() })
    }

    /// Ends, and the kernel lets all tracees go. One that has just been born has to be waited for: the stop that it
    /// begins with would come after that, and last for ever.
    fn leave(&self, code: i32) -> ! {
        for (pid, _) in self.known.iter().filter(|(_, seen)| !seen.has_begun) {
            let pid = Pid::from_raw(*pid);
            if let Ok(WaitStatus::Stopped(..)) = waitpid(pid, Some(WaitPidFlag::__WALL)) {
                let _ = ptrace::detach(pid, None);
            }
        }
        exit(code)
    }

    fn call(&mut self, pid: Pid) {
        let Ok(info) = ptrace::syscall_info(pid) else { return };
        let (wanted, fault) = (self.wanted, self.fault);
        let seen = self.seen(pid);
        if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
            // SAFETY: for this kind of stop the kernel has filled `entry`.
            let number = unsafe { info.u.entry.nr };
            let place = (seen.role, seen.calls);
            seen.calls += 1;
            let is_it = seen.role == wanted.role && place.1 >= wanted.index && number == wanted.number as u64;
            seen.fails = is_it && matches!(fault, Fault::Fail(_));
            if is_it {
                self.fault_at(pid);
            }
            if let Some(log) = &mut self.log {
                writeln!(log, "{} {} {number}", place.0, place.1).unwrap();
            }
        } else if info.op == libc::PTRACE_SYSCALL_INFO_EXIT && seen.fails {
            seen.fails = false;
            if let Fault::Fail(errno) = fault {
                answer(pid, errno);
            }
        }
    }
}

impl Tracer {
    /// It happens, and once.
    fn fault_at(&mut self, pid: Pid) {
        match self.fault {
            Fault::Kill => {
                let _ = kill(pid, Signal::SIGKILL);
                self.wanted.role = usize::MAX;
            }
            Fault::Fail(_) => {
                leave_out(pid);
                self.wanted.role = usize::MAX;
            }
            Fault::None => {}
        }
    }
}

/// The kernel makes no call of this number.
fn leave_out(pid: Pid) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.orig_rax = u64::MAX;
        let _ = ptrace::setregs(pid, registers);
    }
}

fn answer(pid: Pid, errno: i32) {
    if let Ok(mut registers) = ptrace::getregs(pid) {
        registers.rax = i64::from(-errno) as u64;
        let _ = ptrace::setregs(pid, registers);
    }
}
