//! The command line: a flag for each field of [`Limits`] and [`SocketOptions`], named after it, and how each kind of
//! value is written.

use std::error::Error;
use std::time::Duration;

use packetpeer::limits::{AfterClose, IpPrefix, WhenFull};
use packetpeer::{Limits, SocketOptions};

use crate::support::{self, OptionValue};

pub(crate) struct Options {
    pub(crate) listen: String,
    /// Frames a second; 0 = as fast as it can.
    pub(crate) hz: u32,
    pub(crate) seconds: f64,
    /// A frame's answers leave together.
    pub(crate) send_on_flush: bool,
    pub(crate) limits: Limits,
    pub(crate) socket: SocketOptions,
}

impl Options {
    pub(crate) fn from_command_line() -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            listen: String::from("127.0.0.1:4433"),
            hz: 60,
            seconds: f64::INFINITY,
            send_on_flush: false,
            // As many from one address: clients of a test all come from there.
            limits: Limits::new().max_pending_connections(64).max_pending_per_ip(64).max_peers_per_ip(None),
            socket: SocketOptions::new(),
        };
        let Self { listen, hz, seconds, send_on_flush, limits, socket } = &mut options;
        support::read_options(
            "Sends every datagram back to where it came from. --hz 0 = as fast as it can.\n\
             What the others mean is in the documentation of `Limits` and `SocketOptions`; times are in seconds.",
            &mut [
                ("listen", listen),
                ("hz", hz),
                ("seconds", seconds),
                ("send-on-flush", send_on_flush),
                ("max-pending", &mut limits.max_pending_connections),
                ("max-pending-per-ip", &mut limits.max_pending_per_ip),
                ("max-peers-per-ip", &mut limits.max_peers_per_ip),
                ("exempt-from-per-ip", &mut limits.exempt_from_per_ip),
                ("pending-lifetime", &mut limits.pending_lifetime),
                ("max-peers", &mut limits.max_peers),
                ("idle-timeout", &mut limits.idle_timeout),
                ("after-close", &mut limits.after_close),
                ("max-refused-addresses", &mut limits.max_refused_addresses),
                ("queue-packets", &mut limits.queue.packets),
                ("queue-bytes", &mut limits.queue.bytes),
                ("queue-when-full", &mut limits.queue.when_full),
                ("send-queue-packets", &mut limits.send_queue.packets),
                ("send-queue-bytes", &mut limits.send_queue.bytes),
                ("send-queue-when-full", &mut limits.send_queue.when_full),
                ("max-queued-bytes", &mut limits.max_queued_bytes),
                ("max-known-per-poll", &mut limits.max_known_per_poll),
                ("max-unknown-per-poll", &mut limits.max_unknown_per_poll),
                ("max-replies-per-poll", &mut limits.max_replies_per_poll),
                ("quota-per-poll", &mut limits.quota_per_poll),
                ("receive-buffer", &mut socket.receive_buffer),
                ("send-buffer", &mut socket.send_buffer),
                ("max-packet-size", &mut socket.max_packet_size),
                ("pin-reply-address", &mut socket.pin_reply_address),
                ("traffic-class", &mut socket.traffic_class),
                ("device", &mut socket.device),
                ("dont-fragment", &mut socket.dont_fragment),
                ("share-port", &mut socket.share_port),
            ],
        )?;
        Ok(options)
    }
}

/// Seconds; 0 = never.
impl OptionValue for Option<Duration> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let time = seconds(text)?;
        *self = (!time.is_zero()).then_some(time);
        Ok(())
    }

    fn show(&self) -> String {
        self.map_or("0 = never".into(), |time| format!("{} (0 = never)", time.as_secs_f64()))
    }
}

/// A count or a size; 0 = not set.
impl OptionValue for Option<usize> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut number = 0;
        number.read(text)?;
        *self = (number > 0).then_some(number);
        Ok(())
    }

    fn show(&self) -> String {
        self.map_or("0 = not set".into(), |number| format!("{number} (0 = not set)"))
    }
}

/// A differentiated services code point; 0 = not set, which is what systems send anyway.
impl OptionValue for Option<u8> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut number = 0;
        number.read(text)?;
        *self = (number > 0).then_some(number);
        Ok(())
    }

    fn show(&self) -> String {
        self.map_or("0 = not set".into(), |number| format!("{number} (0 = not set)"))
    }
}

/// A name; empty = none.
impl OptionValue for Option<String> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = (!text.is_empty()).then(|| text.to_owned());
        Ok(())
    }

    fn show(&self) -> String {
        self.clone().unwrap_or("any".into())
    }
}

/// Separated by commas, such as `10.1.0.0/16,2001:db8::7`.
impl OptionValue for Vec<IpPrefix> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let prefixes = text.split(',').filter(|prefix| !prefix.is_empty());
        *self = prefixes
            .map(|prefix| {
                prefix.parse().map_err(|_| format!("{prefix:?} is no address and no range such as 10.1.0.0/16"))
            })
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self) -> String {
        let prefixes: Vec<_> = self.iter().map(IpPrefix::to_string).collect();
        if prefixes.is_empty() { "none (separated by commas)".into() } else { prefixes.join(",") }
    }
}

/// Seconds for which the address is refused; 0 = it is forgotten.
impl OptionValue for AfterClose {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let time = seconds(text)?;
        *self = if time.is_zero() { Self::Forget } else { Self::Refuse(time) };
        Ok(())
    }

    fn show(&self) -> String {
        match self {
            Self::Refuse(time) => format!("{} (0 = forget)", time.as_secs_f64()),
            _ => "0 = forget, else refuse for so long".into(),
        }
    }
}

impl OptionValue for WhenFull {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = match text {
            "drop-newest" => Self::DropNewest,
            "drop-oldest" => Self::DropOldest,
            _ => return Err(format!("{text:?}: drop-newest or drop-oldest")),
        };
        Ok(())
    }

    fn show(&self) -> String {
        match self {
            Self::DropOldest => "drop-oldest (or drop-newest)".into(),
            _ => "drop-newest (or drop-oldest)".into(),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let mut seconds = 0.0;
    seconds.read(text)?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("{text:?}: {error}"))
}
