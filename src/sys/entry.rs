//! The first instructions of the program. The kernel jumps to `isolate_entry` (`build.rs` names it to the linker)
//! before the C library has begun: a command that joins a container executes itself once more, from a read-only clone
//! of its mount, and is thereby spared one whole start of the C library. What is not done here, for whatever
//! reason, does [`super::executable::protect`], which looks again.
//!
//! It is assembly from end to end, because nothing that a compiler may put into a function is there yet: no
//! `memcmp` (the C library chooses one when it begins), no thread-local storage. It only reads its own stack and makes
//! system calls. Other processors than x86-64 begin as usual.

#![allow(unsafe_code)]

/// Names of commands that join containers: a word of theirs anywhere in the arguments is enough, since executing
/// ourselves needlessly does no harm.
pub const JOINING: [&str; 6] = ["create", "run", "exec", "try", "tenant", "t"];

/// [`JOINING`] for the assembly: each word with its NUL, an empty one at the end.
#[cfg(target_arch = "x86_64")]
static WORDS: [u8; 30] = *b"create\0run\0exec\0try\0tenant\0t\0\0";

/// Writes the binary's `main`. `$main` is a function from the arguments (without the program's name) to the exit code.
/// Rust's own start is left out: it reads `/proc/self/maps` and installs handlers for a message on overflow of
/// the stack.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        /// Called by the C library once it has begun.
        #[unsafe(no_mangle)]
        pub extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
            $crate::sys::entry::settle();
            $main(::std::env::args_os().skip(1))
        }
    };
}

/// What Rust's start would have done and the program relies on: the standard streams are open, so that no file of
/// ours becomes one, and writing to a closed pipe is an error and not the end. Beside that, freed memory stays with the
/// process, which is over in a moment: to give it back and fetch it again costs a page fault for every page.
pub fn settle() {
    // SAFETY: the call takes two numbers, and no other thread is there to allocate meanwhile.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX) };
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_TOP_PAD, 256 << 10) };
    for fd in 0..3 {
        // SAFETY: F_GETFD takes a number and touches no memory.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            // SAFETY: the path is NUL-terminated. The lowest free number is this one, and stays open.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

// On entry rsp points to the number of arguments; behind it lie the pointers to them, a null, those to the
// environment, a null (System V ABI for x86-64, 3.4.1). rdx may hold a function for atexit(3), so it is handed on.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl isolate_entry",
    "isolate_entry:",
    "mov r15, rsp",
    "mov r14, rdx",
    "cmp qword ptr [r15], 1",
    "jbe 9f",
    // Does one of the words stand among the arguments?
    "lea r8, [r15 + 16]",
    "2:", // the next argument
    "mov rsi, [r8]",
    "test rsi, rsi",
    "jz 9f",
    "add r8, 8",
    "lea rdi, [rip + {words}]",
    "3:", // the next word
    "cmp byte ptr [rdi], 0",
    "je 2b",
    "mov rax, rsi",
    "4:", // the next letter
    "mov cl, [rax]",
    "cmp cl, [rdi]",
    "jne 5f",
    "inc rax",
    "inc rdi",
    "test cl, cl",
    "jnz 4b",
    "jmp 6f",
    "5:", // to the end of this word
    "inc rdi",
    "cmp byte ptr [rdi - 1], 0",
    "jne 5b",
    "jmp 3b",
    // statfs("/proc/self/exe"): nothing to do on a read-only mount, such as the clone.
    "6:",
    "sub rsp, 128", // struct statfs has 120 bytes
    "mov eax, {statfs}",
    "lea rdi, [rip + {own}]",
    "mov rsi, rsp",
    "syscall",
    "test rax, rax",
    "jnz 9f",
    "test byte ptr [rsp + 80], {read_only}", // f_flags
    "jnz 9f",
    // open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    "mov eax, {open_tree}",
    "mov rdi, {cwd}",
    "lea rsi, [rip + {own}]",
    "mov edx, {clone}",
    "syscall",
    "test rax, rax",
    "js 9f",
    "mov r13, rax",
    // mount_setattr(clone, "", AT_EMPTY_PATH, {attr_set: MOUNT_ATTR_RDONLY}, 32)
    "mov qword ptr [rsp], {set_read_only}",
    "mov qword ptr [rsp + 8], 0",
    "mov qword ptr [rsp + 16], 0",
    "mov qword ptr [rsp + 24], 0",
    "mov eax, {mount_setattr}",
    "mov rdi, r13",
    "lea rsi, [rip + {empty}]",
    "mov edx, {empty_path}",
    "mov r10, rsp",
    "mov r8d, 32",
    "syscall",
    "test rax, rax",
    "jnz 7f",
    // execveat(clone, "", arguments, environment, AT_EMPTY_PATH)
    "mov eax, {execveat}",
    "mov rdi, r13",
    "lea rsi, [rip + {empty}]",
    "lea rdx, [r15 + 8]",
    "mov r10, [r15]",
    "lea r10, [r15 + r10 * 8 + 16]",
    "mov r8d, {empty_path}",
    "syscall",
    "7:",
    "mov eax, {close}",
    "mov rdi, r13",
    "syscall",
    "9:",
    "mov rsp, r15",
    "mov rdx, r14",
    "xor ebp, ebp",
    "jmp _start",
    words = sym WORDS,
    own = sym OWN,
    empty = sym EMPTY,
    statfs = const libc::SYS_statfs,
    open_tree = const libc::SYS_open_tree,
    mount_setattr = const libc::SYS_mount_setattr,
    execveat = const libc::SYS_execveat,
    close = const libc::SYS_close,
    read_only = const libc::ST_RDONLY,
    cwd = const libc::AT_FDCWD,
    clone = const libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC,
    set_read_only = const libc::MOUNT_ATTR_RDONLY,
    empty_path = const libc::AT_EMPTY_PATH,
);

#[cfg(target_arch = "x86_64")]
static OWN: [u8; 15] = *b"/proc/self/exe\0";

#[cfg(target_arch = "x86_64")]
static EMPTY: [u8; 1] = *b"\0";

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_assembly_knows_the_same_words() {
        let text = JOINING.map(|word| format!("{word}\0")).concat() + "\0";
        assert_eq!(text.as_bytes(), WORDS);
    }
}
