//! A connection to a message bus, or straight to the machine's service manager. The runtime process, with the
//! caller's privilege. No thread: reads and writes wait by poll(2), and none of them for ever.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use serde::Serialize;
use zvariant::DynamicType;

use super::super::unit::Bus;
use super::message::{self, Answer, Message, Method};
use crate::error::{Call, Error, Result};
use crate::sys::socket;

/// How long a call may take, as in other clients of D-Bus.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

/// The bus itself.
const BUS: Method<'_> = Method {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
    member: "",
};

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// A bus, which passes messages on.
    Bus,
    /// The service manager itself.
    Manager,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    peer: Peer,
    serial: u32,
    input: Vec<u8>,
    signals: Vec<Message>,
    patience: Duration,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The other side refuses: the error's name and its text.
    Refused(String, String),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for CallError {
    fn from(error: Error) -> CallError {
        CallError::Failed(error)
    }
}

impl CallError {
    /// The error to show, for a call of `what`.
    pub(super) fn into_error(self, what: &str) -> Error {
        match self {
            CallError::Refused(name, text) => Error::new(format!("systemd refuses {what}: {name}: {text}")),
            CallError::Failed(error) => error,
        }
    }
}

impl Connection {
    /// Connects to the bus on which the manager is.
    pub(super) fn open(bus: Bus) -> Result<Connection> {
        let hint = match bus {
            Bus::System => {
                "is systemd running here? otherwise use the cgroupfs driver (podman: --cgroup-manager cgroupfs)"
            }
            Bus::User => {
                "log in with a user session (package dbus-user-session, 'loginctl enable-linger'), or use the cgroupfs driver"
            }
        };
        let found = match bus {
            Bus::System => system().or_else(|error| private().ok_or(error)),
            Bus::User => user(),
        };
        let (socket, peer) = found.map_err(|error| error.hint(hint))?;
        Connection::start(socket, peer, PATIENCE).map_err(|error| error.hint(hint))
    }

    fn start(socket: OwnedFd, peer: Peer, patience: Duration) -> Result<Connection> {
        let (input, signals) = (Vec::new(), Vec::new());
        let mut connection = Connection { socket, peer, serial: 0, input, signals, patience };
        // Without a name: the other side takes that of the socket. Inside a user namespace it is not the one we know.
        let deadline = Instant::now() + patience;
        connection.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", deadline, "AUTH")?;
        let told = [connection.line(deadline)?, connection.line(deadline)?];
        if told[0] != "DATA" || !told[1].starts_with("OK ") {
            return Err(Error::new(format!("the message bus does not let us in: {}", told.join(", "))));
        }
        if peer == Peer::Bus {
            let hello = Method { member: "Hello", ..BUS };
            connection.call(hello, &()).map_err(|error| error.into_error("Hello"))?;
        }
        Ok(connection)
    }

    /// Asks the bus for signals; straight from the manager they come unasked.
    pub(super) fn subscribe(&mut self, rule: &str) -> Result<()> {
        if self.peer == Peer::Manager {
            return Ok(());
        }
        let deadline = Instant::now() + self.patience;
        self.write(Method { member: "AddMatch", ..BUS }, &(rule,), Answer::Unwanted, deadline).map(drop)
    }

    /// Calls a method and waits for its answer.
    pub(super) fn call<B>(&mut self, method: Method<'_>, body: &B) -> Result<Message, CallError>
    where
        B: Serialize + DynamicType,
    {
        let deadline = Instant::now() + self.patience;
        let serial = self.write(method, body, Answer::Wanted, deadline)?;
        loop {
            let message = self.receive(deadline, method.member)?;
            match message.kind {
                message::REPLY if message.reply_to == Some(serial) => return Ok(message),
                message::FAILURE if message.reply_to == Some(serial) => return Err(refusal(&message)),
                message::SIGNAL => self.signals.push(message),
                _ => {}
            }
        }
    }

    /// The next signal, also one that came before.
    pub(super) fn signal(&mut self, deadline: Instant, what: &str) -> Result<Message> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.receive(deadline, what)?;
            if message.kind == message::SIGNAL {
                return Ok(message);
            }
        }
    }

    fn write<B>(&mut self, method: Method<'_>, body: &B, answer: Answer, deadline: Instant) -> Result<u32>
    where
        B: Serialize + DynamicType,
    {
        self.serial += 1;
        let bytes = message::encode(method, body, self.serial, answer)?;
        self.send(&bytes, deadline, method.member)?;
        Ok(self.serial)
    }

    fn receive(&mut self, deadline: Instant, what: &str) -> Result<Message> {
        self.fill(message::PREFIX, deadline, what)?;
        let (header, body) = message::lengths(&self.input)?;
        self.fill(header + body, deadline, what)?;
        let rest = self.input.split_off(header + body);
        message::decode(&std::mem::replace(&mut self.input, rest))
    }

    /// A line of the greeting.
    fn line(&mut self, deadline: Instant) -> Result<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|two| two == b"\r\n") {
                let rest = self.input.split_off(end + 2);
                let line = std::mem::replace(&mut self.input, rest);
                return Ok(String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned());
            }
            let wanted = self.input.len() + 1;
            if wanted > 4096 {
                return Err(Error::new("the message bus speaks no D-Bus"));
            }
            self.fill(wanted, deadline, "AUTH")?;
        }
    }

    /// Reads until there are `wanted` bytes.
    fn fill(&mut self, wanted: usize, deadline: Instant, what: &str) -> Result<()> {
        let mut buffer = [0u8; 4096];
        while self.input.len() < wanted {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(Error::new(format!("the message bus hung up on {what}"))),
                Ok(length) => self.input.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLIN, deadline, what)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).call(|| format!("recv(message bus, {what})")),
            }
        }
        Ok(())
    }

    fn send(&self, mut bytes: &[u8], deadline: Instant, what: &str) -> Result<()> {
        while !bytes.is_empty() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), bytes, flags) {
                Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
                Err(Errno::EAGAIN) => self.wait(PollFlags::POLLOUT, deadline, what)?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).call(|| format!("send(message bus, {what})")),
            }
        }
        Ok(())
    }

    fn wait(&self, event: PollFlags, deadline: Instant, what: &str) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(format!("systemd did not answer in time: {what}"))
                .hint("look at the service manager: 'systemctl list-jobs', 'systemctl status'"));
        }
        let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.socket.as_fd(), event)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).call(|| "poll(message bus)"),
        }
    }
}

fn refusal(message: &Message) -> CallError {
    let name = message.error_name.clone().unwrap_or_default();
    CallError::Refused(name, message.body::<(String,)>().map(|(text,)| text).unwrap_or_default())
}

fn system() -> Result<(OwnedFd, Peer)> {
    let address = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
    let default = || vec![PathBuf::from("/run/dbus/system_bus_socket")];
    connect_first(&paths(&address).unwrap_or_else(default))
}

/// A machine may run systemd without a bus; root then reaches it here.
fn private() -> Option<(OwnedFd, Peer)> {
    let socket = socket::connect_unix_within("/run/systemd/private".as_ref(), PATIENCE).ok()?;
    Some((socket, Peer::Manager))
}

fn user() -> Result<(OwnedFd, Peer)> {
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let folder = std::env::var("XDG_RUNTIME_DIR").unwrap_or_default();
    let mut places = paths(&address).unwrap_or_default();
    if places.is_empty() && !folder.is_empty() {
        places.push(PathBuf::from(folder).join("bus"));
    }
    if places.is_empty() {
        let text =
            "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where the user's message bus is";
        return Err(Error::new(text));
    }
    connect_first(&places)
}

fn connect_first(places: &[PathBuf]) -> Result<(OwnedFd, Peer)> {
    let mut result = Err(Error::new("no address of a message bus"));
    for place in places {
        result = socket::connect_unix_within(place, PATIENCE).map(|socket| (socket, Peer::Bus));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The socket files of an address list, `unix:path=/run/user/1000/bus;…`; none if it has none.
fn paths(addresses: &str) -> Option<Vec<PathBuf>> {
    let options = addresses.split(';').filter_map(|address| address.strip_prefix("unix:"));
    let values = options.flat_map(|options| options.split(',')).filter_map(|pair| pair.strip_prefix("path="));
    let found: Vec<PathBuf> = values.map(|value| PathBuf::from(unescaped(value))).collect();
    (!found.is_empty()).then_some(found)
}

/// `%2f` is `/`.
fn unescaped(value: &str) -> String {
    let mut parts = value.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            None => bytes.extend_from_slice(format!("%{part}").as_bytes()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(paths("unix:path=/run/user/1000/bus"), Some(vec![PathBuf::from("/run/user/1000/bus")]));
        let list = "tcp:host=x;unix:guid=1,path=/a%20b;unix:abstract=/c";
        assert_eq!(paths(list), Some(vec![PathBuf::from("/a b")]));
        assert_eq!(paths(""), None);
        assert_eq!(unescaped("%zz%"), "%zz%");
    }

    #[test]
    fn a_bus_that_says_nothing_is_not_waited_for_for_ever() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let error = Connection::start(ours.into(), Peer::Bus, Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("systemd did not answer in time: AUTH"), "{error}");
    }

    #[test]
    fn a_bus_that_falls_silent_after_the_greeting_is_told_with_the_call() {
        use std::io::Write;
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.write_all(b"DATA\r\nOK 0123\r\n").unwrap();
        let error = Connection::start(ours.into(), Peer::Bus, Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("in time: Hello"), "{error}");
    }

    #[test]
    fn whatever_else_listens_is_no_bus() {
        use std::io::Write;
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.write_all(b"REJECTED EXTERNAL\r\nERROR\r\n").unwrap();
        let error = Connection::start(ours.into(), Peer::Bus, Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("REJECTED"), "{error}");
    }
}
