//! The words between the runtime and the child. Both processes use it, each its own end.
//!
//! A message is one letter and its content: `t` a token (which may carry descriptors), `m` the master of a
//! terminal, `p` the pid of the process that takes the child's place, `l` the listener of a seccomp filter
//! (or the number it will have), `e` an error. End of file means that the other process is dead.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Call, Error, Result};
use crate::plan::Token;
use crate::sys::channel;

const NO_FDS: &[OwnedFd] = &[];

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What comes in.
#[derive(Debug)]
pub enum Message {
    /// A word, and the descriptors that go with it.
    Token(Token, Vec<OwnedFd>),
    /// The master of the program's terminal.
    Master(OwnedFd),
    /// The process that takes the child's place.
    Replaced(i32),
    /// The number that the listener of the child's filter will have in the child.
    ListenerNumber(i32),
    /// The listener itself.
    Listener(OwnedFd),
    /// The other process failed.
    Failed(Error),
    /// The other process is gone.
    Closed,
}

impl Channel {
    /// One end of a pair.
    pub fn new(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    /// The number of its descriptor.
    pub fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Says a word.
    ///
    /// # Errors
    /// When the other process is gone: its own last words, if it left any; else EPIPE.
    pub fn tell(&self, token: Token, fds: &[OwnedFd]) -> Result<()> {
        match self.send(b't', &encode(&token)?, fds) {
            Err(error) if is_gone(&error) => Err(self.last_words().unwrap_or(error)),
            result => result,
        }
    }

    /// Why the other process, which is gone, has failed.
    fn last_words(&self) -> Option<Error> {
        loop {
            match self.receive() {
                Ok(Message::Failed(error)) => return Some(error),
                Ok(Message::Closed) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Hands the terminal's master over.
    ///
    /// # Errors
    /// When the other process is gone.
    pub fn hand_over(&self, master: OwnedFd) -> Result<()> {
        self.send(b'm', b"", &[master])
    }

    /// Says which process takes the child's place.
    ///
    /// # Errors
    /// When the other process is gone.
    pub fn replaced_by(&self, pid: i32) -> Result<()> {
        self.send(b'p', &encode(&pid)?, NO_FDS)
    }

    /// Tells of the listener of a filter: the number it will have, or itself.
    ///
    /// # Errors
    /// When the other process is gone.
    pub fn listener(&self, number: Option<i32>, fd: Option<BorrowedFd<'_>>) -> Result<()> {
        self.send(b'l', &encode(&number)?, fd.as_slice())
    }

    /// The lowest number that no descriptor of this process has.
    ///
    /// # Errors
    /// EMFILE.
    pub fn next_number(&self) -> Result<i32> {
        Ok(self.0.try_clone().call(|| "dup")?.as_raw_fd())
    }

    /// Reports a failure; when nobody is left to hear it, there is nothing more to do.
    pub fn fail(&self, error: &Error) {
        let mut content = error.to_wire();
        if content.len() >= channel::LARGEST {
            let text: String = error.to_string().chars().take(channel::LARGEST / 8).collect();
            content = Error::new(format!("{text}…")).to_wire();
        }
        let _ = self.send(b'e', &content, NO_FDS);
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the message is none of ours.
    pub fn receive(&self) -> Result<Message> {
        let (bytes, mut fds) =
            channel::receive(&self.0).map_err(|errno| Error::sys("recvmsg(child)", errno))?;
        let unknown = || Error::new("the other process said something that is not part of the protocol");
        match bytes.split_first() {
            None => Ok(Message::Closed),
            Some((b't', token)) => Ok(Message::Token(decode(token)?, fds)),
            Some((b'm', _)) => fds.pop().map(Message::Master).ok_or_else(unknown),
            Some((b'p', pid)) => Ok(Message::Replaced(decode(pid)?)),
            Some((b'l', number)) => match (decode::<Option<i32>>(number)?, fds.pop()) {
                (Some(number), _) => Ok(Message::ListenerNumber(number)),
                (None, fd) => fd.map(Message::Listener).ok_or_else(unknown),
            },
            Some((b'e', error)) => Ok(Message::Failed(Error::from_wire(error))),
            Some(_) => Err(unknown()),
        }
    }

    fn send(&self, letter: u8, content: &[u8], fds: &[impl AsRawFd]) -> Result<()> {
        let message: Vec<u8> = std::iter::once(letter).chain(content.iter().copied()).collect();
        channel::send(&self.0, &message, fds).map_err(|errno| Error::sys("sendmsg(child)", errno))
    }
}

/// Whether an error of [`Channel::tell`] says that nobody is there to hear, and nobody has said why.
pub fn is_gone(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EPIPE | Errno::ECONNRESET))
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::new(error.to_string()))
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::new(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::seqpacket_pair;

    fn pair() -> (Channel, Channel) {
        let (one, other) = seqpacket_pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[test]
    fn who_tells_a_process_that_has_failed_hears_why() {
        let (runtime, child) = pair();
        child.fail(&Error::new("no such sysctl"));
        drop(child);
        let error = runtime.tell(Token::Cgroup, &[]).unwrap_err();
        assert_eq!(error.to_string(), "no such sysctl");
    }

    #[test]
    fn last_words_are_heard_though_something_was_left_unread() {
        let (runtime, child) = pair();
        runtime.tell(Token::Maps, &[]).unwrap();
        child.fail(&Error::new("no such sysctl"));
        drop(child);
        let Message::Failed(error) = runtime.receive().unwrap() else { panic!("no words") };
        assert_eq!(error.to_string(), "no such sysctl");
        assert!(matches!(runtime.receive().unwrap(), Message::Closed));
    }

    #[test]
    fn who_has_left_without_a_word_is_gone() {
        let (runtime, child) = pair();
        drop(child);
        assert!(is_gone(&runtime.tell(Token::Cgroup, &[]).unwrap_err()));
    }
}
