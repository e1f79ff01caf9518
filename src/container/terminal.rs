//! The relay between the caller's standard streams and the master of a container's terminal.
//!
//! The runtime process of a foreground `run` or `exec` runs this, with the caller's privilege. It copies
//! bytes and window sizes; it never looks at what the bytes say. The caller's streams are never made
//! non-blocking: others share them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use nix::unistd::{read, write};

use crate::error::{Call, Result};
use crate::sys::pty::{self, SavedTermios, Size};

/// A write of this size does not block where `poll` has seen room: it is a pipe's PIPE_BUF.
const CHUNK: usize = 4096;

/// After the end of the init another process may keep the terminal and write for ever. What the init
/// itself had written is long through by then: the kernel holds less than 64 KiB of it.
const MOST_AFTER_THE_END: usize = 1 << 20;

/// How often a terminal that nobody has open is looked at, or our place in front of the caller's: there is
/// no event for either.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A descriptor that the relay waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The caller's standard input.
    Input,
    /// The caller's standard output.
    Output,
    /// The container's terminal, both ways.
    Master,
}

/// Whether the container's init still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Init {
    /// It does.
    Runs,
    /// It has ended: what is left of its output is copied, and nothing else is done.
    HasEnded,
}

/// Where a shell's job control has put us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The input is ours to read.
    Front,
    /// The caller's terminal is somebody else's for now.
    Background,
}

/// The relay. Dropping it gives the caller's terminal its modes back.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    input: OwnedFd,
    output: OwnedFd,
    /// The caller's terminal, if it has one: where sizes come from.
    host: Option<OwnedFd>,
    raw: Option<SavedTermios>,
    to_container: Pump,
    from_container: Pump,
    /// Set while nobody has the container's terminal open: when to look again.
    away_until: Option<Instant>,
    place: Place,
    copied_after_the_end: usize,
}

impl Terminal {
    /// Connects `master` to the standard streams: call it *before* the user's program runs, so that this
    /// finds size and modes as they will be, and after `Signals::block_early`, which keeps SIGTTOU away.
    /// Raw mode is set when standard input is a terminal.
    ///
    /// No other copy of the master, and none of the slave, may stay open in the runtime: the end of the
    /// output is seen by the closing of the last slave.
    ///
    /// # Errors
    /// When `master` is no terminal, or the modes of the caller's cannot be changed.
    pub fn attach(master: OwnedFd) -> Result<Terminal> {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        Terminal::between(master, input.as_fd(), output.as_fd())
    }

    pub(super) fn between(
        master: OwnedFd,
        input: BorrowedFd<'_>,
        output: BorrowedFd<'_>,
    ) -> Result<Terminal> {
        let flags = fcntl(&master, FcntlArg::F_GETFL).call(|| "fcntl(F_GETFL)")?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&master, FcntlArg::F_SETFL(flags)).call(|| "fcntl(F_SETFL, O_NONBLOCK)")?;
        // A raw terminal prints "\r\n" as it comes. For any other output the bare "\n" is right, as in runc.
        if !(pty::is_terminal(input) && pty::is_terminal(output)) {
            pty::clear_onlcr(&master)?;
        }
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().call(|| "dup(standard stream)");
        let host = [input, output].into_iter().find(|fd| pty::is_terminal(fd)).map(copy).transpose()?;
        let mut terminal = Terminal {
            master,
            input: copy(input)?,
            output: copy(output)?,
            host,
            raw: None,
            to_container: Pump::new(),
            from_container: Pump::new(),
            away_until: None,
            place: Place::Front,
            copied_after_the_end: 0,
        };
        terminal.copy_size();
        terminal.come_to_the_front()?;
        Ok(terminal)
    }

    /// Gives the container's terminal the size of the caller's (at the start, and on SIGWINCH). A terminal
    /// that has just gone has no size worth an error.
    pub(super) fn copy_size(&self) {
        // Zeroes: nobody has ever set one; what the config asks for is better then.
        let known = |size: &Size| size.rows > 0 && size.columns > 0;
        if let Some(size) = self.host.as_ref().and_then(|host| pty::size(host).ok()).filter(known) {
            let _ = pty::set_size(&self.master, size);
        }
    }

    /// Sets raw mode, unless we are in the background of a shell: there the terminal is somebody else's.
    /// Called again on SIGCONT, because a shell that has stopped us changes the modes.
    pub(super) fn come_to_the_front(&mut self) -> Result<()> {
        if !pty::is_terminal(&self.input) {
            return Ok(());
        }
        self.place = if pty::is_in_front(&self.input) { Place::Front } else { Place::Background };
        if self.place == Place::Background {
            return Ok(());
        }
        // A read from the background ends with EIO; that was no end of the input.
        self.to_container.reopen_source();
        match &self.raw {
            Some(saved) => saved.make_raw_again(),
            None => {
                self.raw = Some(pty::make_raw(&self.input)?);
                Ok(())
            }
        }
    }

    /// What to wait for, and how.
    pub(super) fn interests(&self, init: Init) -> Vec<(Side, BorrowedFd<'_>, PollFlags)> {
        let runs = init == Init::Runs;
        let is_here = !runs || self.away_until.is_none();
        let mut master = PollFlags::empty();
        master.set(PollFlags::POLLIN, is_here && self.from_container.wants_more());
        master.set(PollFlags::POLLOUT, runs && is_here && self.to_container.has_some());
        let mut interests = Vec::with_capacity(3);
        if !master.is_empty() {
            interests.push((Side::Master, self.master.as_fd(), master));
        }
        if runs && self.to_container.wants_more() && self.place == Place::Front {
            interests.push((Side::Input, self.input.as_fd(), PollFlags::POLLIN));
        }
        if self.from_container.has_some() {
            interests.push((Side::Output, self.output.as_fd(), PollFlags::POLLOUT));
        }
        interests
    }

    /// Until when to wait for them: `None` for ever.
    pub(super) fn deadline(&self, init: Init) -> Option<Instant> {
        match init {
            Init::Runs if self.place == Place::Front => self.away_until,
            Init::Runs => Some(Instant::now() + LOOK_AGAIN),
            Init::HasEnded if self.from_container.has_some() => None,
            // What the init had written is there now, so nothing now is nothing ever.
            Init::HasEnded => Some(Instant::now()),
        }
    }

    /// Copies what the sides that are ready allow.
    ///
    /// # Errors
    /// When the modes of the caller's terminal cannot be changed.
    pub(super) fn copy(&mut self, ready: &[Side], init: Init) -> Result<()> {
        if self.place == Place::Background {
            self.come_to_the_front()?;
        }
        if self.away_until.is_some_and(|time| time <= Instant::now()) {
            self.away_until = None;
        }
        for side in ready {
            match side {
                Side::Input => self.to_container.fill(self.input.as_fd()),
                Side::Output => self.copy_output(),
                Side::Master => self.copy_master(init),
            }
        }
        Ok(())
    }

    /// Without a reader (EPIPE) the bytes are thrown away, so that the program does not stop on a full
    /// terminal: its end still has to be seen.
    fn copy_output(&mut self) {
        self.from_container.empty(self.output.as_fd());
        if self.from_container.sink_has_ended() {
            self.from_container.discard();
        }
    }

    fn copy_master(&mut self, init: Init) {
        if self.from_container.wants_more() {
            self.from_container.fill(self.master.as_fd());
        }
        if init == Init::HasEnded {
            self.copied_after_the_end += self.from_container.pending();
            return;
        }
        // EIO: nobody has the slave open now; but somebody may open it again (an init and its console).
        // A write would succeed meanwhile, and the last close throw the bytes away.
        if self.from_container.reopen_source() {
            self.away_until = Some(Instant::now() + LOOK_AGAIN);
            return;
        }
        if self.to_container.has_some() {
            self.to_container.empty(self.master.as_fd());
        }
        if self.to_container.reopen_sink() {
            self.away_until = Some(Instant::now() + LOOK_AGAIN);
        }
    }

    /// Whether all output has been copied, judged by what a wait since the init's end has found ready.
    pub(super) fn is_drained(&self, ready: &[Side]) -> bool {
        let may_give_more = ready.contains(&Side::Master)
            && !self.from_container.source_has_ended()
            && !self.from_container.sink_has_ended();
        let is_endless = self.copied_after_the_end >= MOST_AFTER_THE_END;
        !self.from_container.has_some() && (is_endless || !may_give_more && !ready.contains(&Side::Output))
    }
}

/// Bytes on their way in one direction.
#[derive(Debug)]
struct Pump {
    buffer: Box<[u8; CHUNK]>,
    start: usize,
    end: usize,
    source: Stream,
    sink: Stream,
}

/// What is known of one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    IsOpen,
    HasEnded,
}

impl Pump {
    fn new() -> Pump {
        let buffer = Box::new([0; CHUNK]);
        Pump { buffer, start: 0, end: 0, source: Stream::IsOpen, sink: Stream::IsOpen }
    }

    fn has_some(&self) -> bool {
        self.start < self.end
    }

    fn pending(&self) -> usize {
        self.end - self.start
    }

    fn wants_more(&self) -> bool {
        self.source == Stream::IsOpen && !self.has_some()
    }

    /// Reads once; for a sink that has ended, to throw the bytes away.
    fn fill(&mut self, from: BorrowedFd<'_>) {
        match read(from, self.buffer.as_mut_slice()) {
            Ok(0) => self.source = Stream::HasEnded,
            Ok(_) if self.sink == Stream::HasEnded => {}
            Ok(count) => (self.start, self.end) = (0, count),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.source = Stream::HasEnded,
        }
    }

    /// Writes once; what was not taken stays.
    fn empty(&mut self, to: BorrowedFd<'_>) {
        match write(to, self.buffer.get(self.start..self.end).unwrap_or_default()) {
            Ok(count) => self.start += count,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.sink = Stream::HasEnded,
        }
    }

    fn discard(&mut self) {
        self.start = self.end;
    }

    fn source_has_ended(&self) -> bool {
        self.source == Stream::HasEnded
    }

    fn sink_has_ended(&self) -> bool {
        self.sink == Stream::HasEnded
    }

    /// Takes an end of the source back; whether there was one.
    fn reopen_source(&mut self) -> bool {
        std::mem::replace(&mut self.source, Stream::IsOpen) == Stream::HasEnded
    }

    /// The same for the sink.
    fn reopen_sink(&mut self) -> bool {
        std::mem::replace(&mut self.sink, Stream::IsOpen) == Stream::HasEnded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, OpenOptions};
    use std::io::Write;

    /// A relay from a file to another, and the slave of its terminal.
    fn stage(input: &File, output: &File) -> (Terminal, File) {
        let ends = nix::pty::openpty(None, None).unwrap();
        let terminal = Terminal::between(ends.master, input.as_fd(), output.as_fd()).unwrap();
        (terminal, File::from(ends.slave))
    }

    #[test]
    fn what_others_write_after_the_end_is_copied_up_to_a_bound() {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        let (mut terminal, mut slave) = stage(&null, &null);
        let mut written = 0;
        while !terminal.is_drained(&[Side::Master]) {
            assert!(written <= MOST_AFTER_THE_END + CHUNK, "there is no bound");
            written += slave.write(&[b'y'; 2048]).unwrap();
            terminal.copy(&[Side::Master], Init::HasEnded).unwrap();
            terminal.copy(&[Side::Output], Init::HasEnded).unwrap();
        }
        assert!(written >= MOST_AFTER_THE_END, "{written}");
    }

    #[test]
    fn what_a_closed_output_does_not_take_is_thrown_away_and_the_rest_too() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let (mut terminal, mut slave) = stage(&File::open("/dev/null").unwrap(), &File::from(writer));
        for _ in 0..100 {
            assert_eq!(slave.write(&[b'y'; 2048]).unwrap(), 2048);
            terminal.copy(&[Side::Master], Init::Runs).unwrap();
            terminal.copy(&[Side::Output], Init::Runs).unwrap();
        }
        assert!(terminal.is_drained(&[Side::Master]));
    }

    #[test]
    fn input_for_a_terminal_that_nobody_has_open_is_kept() {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(b"kept").unwrap();
        std::io::Seek::rewind(&mut input).unwrap();
        let (mut terminal, slave) = stage(&input, &File::open("/dev/null").unwrap());
        drop(slave);
        terminal.copy(&[Side::Input, Side::Master], Init::Runs).unwrap();
        assert!(terminal.away_until.is_some());
        assert!(terminal.interests(Init::Runs).iter().all(|(side, ..)| *side != Side::Master));
        assert_eq!(terminal.to_container.pending(), 4);
    }
}
