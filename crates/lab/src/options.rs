//! The command line.

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use packetpeer::sim::Link;

/// Reads the command line into variables: `--name VALUE`, or `--name` alone for a `bool`.
///
/// `about` is the first line of `--help`; each option is its name and the variable, which holds the default.
pub fn read_options(about: &str, options: &mut [(&str, &mut dyn OptionValue)]) -> Result<(), Box<dyn Error>> {
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
pub trait OptionValue {
    /// Takes the value that was given, or returns why it is not valid.
    fn read(&mut self, text: &str) -> Result<(), String>;

    /// The value as `--help` shows it.
    fn show(&self) -> String;

    /// Whether the option stands alone, without a value.
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

/// Largest payload that a tool sends: what a datagram over IPv4 carries, in bytes.
pub const MAX_SIZE: usize = packetpeer::socket::MAX_PAYLOAD_V4;

/// Refuses a value that is out of range, naming the option.
pub fn check<T: PartialOrd + Display>(name: &str, value: T, range: RangeInclusive<T>) -> Result<(), String> {
    let (least, most) = (range.start(), range.end());
    if range.contains(&value) { Ok(()) } else { Err(format!("--{name}: {value} is not within {least} to {most}")) }
}

/// The link preset of this name; if there is none, the error lists all of them.
pub fn link_of_name(name: &str) -> Result<Link, String> {
    Link::preset(name).ok_or_else(|| {
        let known: Vec<_> = Link::PRESETS.iter().map(|(name, _)| *name).collect();
        format!("--link: {name:?} is none of {}", known.join(", "))
    })
}
