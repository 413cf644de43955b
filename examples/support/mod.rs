//! What the example programs share and a game would have already: options, Ctrl-C, a frame clock.
#![allow(dead_code, reason = "no example uses all of it")]

pub(crate) mod streams;

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::sim::Link;

/// Reads the command line into variables: `--name VALUE`, or `--name` alone for a `bool`.
///
/// `about` is the first line of `--help`; each option is its name and the variable, which holds the default.
pub(crate) fn read_options(about: &str, options: &mut [(&str, &mut dyn OptionValue)]) -> Result<(), Box<dyn Error>> {
    use lexopt::Arg;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        if matches!(arg, Arg::Long("help") | Arg::Short('h')) {
            println!("{about}\n");
            for (name, value) in options.iter() {
                println!("  --{name:<24} default: {}", value.show());
            }
            std::process::exit(0);
        }
        let Arg::Long(given) = arg else { return Err(arg.unexpected().into()) };
        let Some((name, value)) = options.iter_mut().find(|(name, _)| *name == given) else {
            return Err(arg.unexpected().into());
        };
        let name = *name;
        if value.is_flag() { value.read("true") } else { value.read(&parser.value()?.to_string_lossy()) }
            .map_err(|why| format!("--{name}: {why}"))?;
    }
    Ok(())
}

/// A variable that an option can be read into.
pub(crate) trait OptionValue {
    fn read(&mut self, text: &str) -> Result<(), String>;
    fn show(&self) -> String;
    fn is_flag(&self) -> bool {
        false
    }
}

macro_rules! option_values {
    ($($type:ty)*) => {$(
        impl OptionValue for $type {
            fn read(&mut self, text: &str) -> Result<(), String> {
                *self = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
                Ok(())
            }

            fn show(&self) -> String {
                self.to_string()
            }

            fn is_flag(&self) -> bool {
                std::any::TypeId::of::<$type>() == std::any::TypeId::of::<bool>()
            }
        }
    )*};
}

option_values! { bool u8 u16 u32 u64 usize f64 String SocketAddr }

/// Largest payload that an example sends: what a datagram over IPv4 carries, in bytes.
pub(crate) const MAX_SIZE: usize = packetpeer::socket::MAX_PAYLOAD_V4;

/// Refuses a value that is out of range, by the option's name.
pub(crate) fn check<T: PartialOrd + Display>(name: &str, value: T, range: RangeInclusive<T>) -> Result<(), String> {
    let (least, most) = (range.start(), range.end());
    if range.contains(&value) { Ok(()) } else { Err(format!("--{name}: {value} is not within {least} to {most}")) }
}

/// The ready-made link of this name.
pub(crate) fn link_of_name(name: &str) -> Result<Link, String> {
    Link::preset(name).ok_or_else(|| {
        let known: Vec<_> = Link::PRESETS.iter().map(|(name, _)| *name).collect();
        format!("--link: {name:?} is none of {}", known.join(", "))
    })
}

/// Becomes true when the user presses Ctrl-C.
pub(crate) fn ctrl_c() -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let pressed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&pressed);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    Ok(pressed)
}

/// Sleeps from frame to frame.
pub(crate) struct FrameClock {
    frame: Duration,
    next: Instant,
}

impl FrameClock {
    /// `hz` frames a second.
    pub(crate) fn new(hz: u32) -> Self {
        Self { frame: Duration::from_secs(1) / hz.max(1), next: Instant::now() }
    }

    /// Sleeps until the next frame is due. A frame that took too long is not made up for by several short ones.
    pub(crate) fn sleep(&mut self) {
        self.next += self.frame;
        let now = Instant::now();
        match self.next.checked_duration_since(now) {
            Some(left) => thread::sleep(left),
            None => self.next = now,
        }
    }
}

/// The value that `percent` of all values are no greater than; sorts them for it. Zero where there are none.
pub(crate) fn percentile<T: Copy + Default + Ord>(values: &mut [T], percent: usize) -> T {
    values.sort_unstable();
    let index = values.len().saturating_sub(1) * percent / 100;
    values.get(index).copied().unwrap_or_default()
}
