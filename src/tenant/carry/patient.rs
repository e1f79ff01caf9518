//! Reading and writing that a signal ends, however long the other side takes: who is inside can let a file wait for
//! ever. The runtime process, no privilege.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::poll::PollFlags;

use crate::tenant::interrupt::Interrupt;

/// A stream, waited for together with signals.
pub struct Patient<'a, F> {
    stream: F,
    interrupt: &'a Interrupt,
}

impl<'a, F: AsFd> Patient<'a, F> {
    /// Of a stream; to write, it has not to block.
    pub fn new(stream: F, interrupt: &'a Interrupt) -> Patient<'a, F> {
        Patient { stream, interrupt }
    }

    fn wait(&self, what: PollFlags) -> io::Result<()> {
        self.interrupt.wait_for(&self.stream, what).map_err(|error| io::Error::other(error.to_string()))
    }
}

impl<F: AsFd + Read> Read for Patient<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLIN)?;
        self.stream.read(buffer)
    }
}

impl<F: AsFd + Write> Write for Patient<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait(PollFlags::POLLOUT)?;
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
