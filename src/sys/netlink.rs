//! Network devices of a network namespace, by rtnetlink(7). A socket stays with the namespace it was opened
//! in; changes need CAP_NET_ADMIN there.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

use crate::error::{Call, Error, Result};

/// A socket of one network namespace.
pub struct Route(Socket);

impl Route {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// EMFILE and the like.
    pub fn open() -> Result<Route> {
        let mut socket = Socket::new(NETLINK_ROUTE).call(|| "socket(NETLINK_ROUTE)")?;
        socket.bind_auto().call(|| "bind(NETLINK_ROUTE)")?;
        socket.connect(&SocketAddr::new(0, 0)).call(|| "connect(NETLINK_ROUTE)")?;
        Ok(Route(socket))
    }

    /// The permanent addresses of global scope that a device has, as they can be given to another.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let call = || format!("RTM_GETADDR({index})");
        let answers = self.ask(request, NLM_F_DUMP, call)?;
        Ok(answers.into_iter().filter_map(|answer| kept(answer, index)).collect())
    }

    /// Moves a device to the network namespace behind `namespace`, where it gets the name `name`, which may be
    /// a pattern with `%d`.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn move_device(&self, index: u32, namespace: impl AsFd, name: &str) -> Result<()> {
        let mut message = device(index);
        message.attributes.push(LinkAttribute::NetNsFd(namespace.as_fd().as_raw_fd()));
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let call = || format!("RTM_SETLINK(move to the container as {name:?})");
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, call).map(drop)
    }

    /// Brings a device up or down.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn set_state(&self, index: u32, state: State) -> Result<()> {
        let mut message = device(index);
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if state == State::Up { LinkFlags::Up } else { LinkFlags::empty() };
        self.ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, || format!("RTM_SETLINK({state:?})"))
            .map(drop)
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn add_address(&self, index: u32, mut address: AddressMessage) -> Result<()> {
        address.header.index = index;
        let call = || format!("RTM_NEWADDR({:?})", address.attributes);
        let message = RouteNetlinkMessage::NewAddress(address.clone());
        self.ask(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, call).map(drop)
    }

    /// Sends a request, and gathers the answers up to the last.
    fn ask(
        &self,
        request: RouteNetlinkMessage,
        flags: u16,
        call: impl Fn() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>> {
        let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = 1;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.0.send(&bytes, 0).call(&call)?;
        let mut answers = Vec::new();
        loop {
            let (bytes, _) = self.0.recv_from_full().call(&call)?;
            if gather(&bytes, &mut answers, &call)? == Answer::Last {
                return Ok(answers);
            }
        }
    }
}

/// What becomes of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It sends and receives.
    Up,
    /// It does not.
    Down,
}

#[derive(PartialEq, Eq)]
enum Answer {
    More,
    Last,
}

/// The messages of one datagram.
fn gather(
    mut bytes: &[u8],
    answers: &mut Vec<RouteNetlinkMessage>,
    call: &impl Fn() -> String,
) -> Result<Answer> {
    while !bytes.is_empty() {
        let unreadable =
            |error| Error::new(format!("{}: the kernel's answer is unreadable: {error}", call()));
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).map_err(unreadable)?;
        match message.payload {
            NetlinkPayload::Done(_) => return Ok(Answer::Last),
            NetlinkPayload::Error(error) => {
                return match error.raw_code() {
                    0 => Ok(Answer::Last),
                    code => Err(Error::sys(call(), Errno::from_raw(-code))),
                };
            }
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            _ => {}
        }
        // Messages start at multiples of four.
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(Answer::More)
}

fn device(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

/// An address without what belongs to the device it is on now: its label is the device's name, and its
/// lifetime begins anew.
fn kept(answer: RouteNetlinkMessage, index: u32) -> Option<AddressMessage> {
    let RouteNetlinkMessage::NewAddress(mut address) = answer else { return None };
    let is_permanent = address.header.flags.contains(AddressHeaderFlags::Permanent);
    let is_global = address.header.scope == AddressScope::Universe;
    if address.header.index != index || !is_permanent || !is_global {
        return None;
    }
    address.header.flags = AddressHeaderFlags::empty();
    address.attributes.retain(|attribute| {
        matches!(
            attribute,
            AddressAttribute::Address(_)
                | AddressAttribute::Local(_)
                | AddressAttribute::Broadcast(_)
                | AddressAttribute::RoutePriority(_)
        )
    });
    Some(address)
}
