//! Records for a log daemon of the host: systemd's journal or syslog, as datagrams to the socket it listens on.
//! The runtime process. A daemon that is slow or full loses the record, and never holds a container up.

use std::io;
use std::os::unix::net::UnixDatagram;

use super::Level;

/// Which daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// systemd's journal, <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>.
    Journal,
    /// syslog(3), facility `user`.
    Syslog,
}

/// A socket of the daemon, and the name that records go by.
#[derive(Debug)]
pub struct Daemon {
    protocol: Protocol,
    socket: UnixDatagram,
    identifier: String,
}

impl Protocol {
    /// Where the daemon listens.
    pub fn socket(self) -> &'static str {
        match self {
            Protocol::Journal => "/run/systemd/journal/socket",
            Protocol::Syslog => "/dev/log",
        }
    }
}

impl Daemon {
    /// Connects to the daemon; `identifier` is what records are found by later (`journalctl -t`).
    ///
    /// # Errors
    /// Of socket(2) and connect(2): no daemon listens at `path`.
    pub fn connect(protocol: Protocol, path: &str, identifier: &str) -> io::Result<Daemon> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        socket.set_nonblocking(true)?;
        // A line end would begin another field.
        let identifier = identifier.replace(|letter: char| letter.is_control(), "_");
        Ok(Daemon { protocol, socket, identifier })
    }

    /// Sends one record.
    ///
    /// # Errors
    /// Of send(2).
    pub fn send(&self, level: Level, message: &str) -> io::Result<()> {
        let record = match self.protocol {
            Protocol::Journal => journal_record(level, &self.identifier, message),
            Protocol::Syslog => syslog_record(level, &self.identifier, message).into_bytes(),
        };
        self.socket.send(&record).map(drop)
    }
}

/// The severity of syslog(3).
fn severity(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Debug => 7,
    }
}

/// Fields of one line each, but for the message, which may have several: it goes with its length.
fn journal_record(level: Level, identifier: &str, message: &str) -> Vec<u8> {
    let mut record =
        format!("PRIORITY={}\nSYSLOG_IDENTIFIER={identifier}\nMESSAGE\n", severity(level)).into_bytes();
    record.extend((message.len() as u64).to_le_bytes());
    record.extend(message.as_bytes());
    record.push(b'\n');
    record
}

fn syslog_record(level: Level, identifier: &str, message: &str) -> String {
    const USER: u8 = 1 << 3;
    format!("<{}>{identifier}[{}]: {message}", USER | severity(level), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(protocol: Protocol, identifier: &str, message: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let daemon = Daemon::connect(protocol, path.to_str().unwrap(), identifier).unwrap();
        daemon.send(Level::Error, message).unwrap();
        let mut buffer = [0; 1000];
        let length = listener.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn the_journal_gets_a_message_of_several_lines_whole() {
        let record = received(Protocol::Journal, "web1", "first\nPRIORITY=0");
        let expected = b"PRIORITY=3\nSYSLOG_IDENTIFIER=web1\nMESSAGE\n\x10\0\0\0\0\0\0\0first\nPRIORITY=0\n";
        assert_eq!(record, expected);
    }

    #[test]
    fn an_identifier_cannot_bring_fields_of_its_own() {
        let record = received(Protocol::Journal, "x\nPRIORITY=0", "m");
        assert!(record.starts_with(b"PRIORITY=3\nSYSLOG_IDENTIFIER=x_PRIORITY=0\nMESSAGE\n"));
    }

    #[test]
    fn syslog_gets_facility_and_severity() {
        let record = received(Protocol::Syslog, "web1", "broken");
        assert_eq!(String::from_utf8(record).unwrap(), format!("<11>web1[{}]: broken", std::process::id()));
    }
}
