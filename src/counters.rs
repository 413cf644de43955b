//! Structs of numbers, each field declared once: one declaration makes the field, its documentation, its [`Stat`], the
//! difference of two copies and their sum.
//!
//! The first line of a field's documentation is its [`Stat::help`], so it is one plain sentence on one line; anything else
//! follows on further lines.

use std::fmt;

/// One number of a struct of counters, with its name and meaning: for exporters, dashboards and other languages.
///
/// ```
/// # use packetpeer::UdpServer;
/// # let server = UdpServer::new();
/// for stat in server.stats().iter() {
///     println!("# HELP {}_{} {}", stat.group, stat.name, stat.help);
///     println!("{}_{} {}", stat.group, stat.name, stat.value);
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// The struct it belongs to, such as `server` or `receive_drops`: lower-case letters and underscores. It is stable.
    pub group: &'static str,
    /// The name of the field, unique within its group. It is stable; names may be added.
    pub name: &'static str,
    /// What it counts: one plain sentence without markup.
    pub help: &'static str,
    /// The number; 0 or 1 for a `bool`.
    pub value: u64,
    /// Whether it only grows.
    pub kind: StatKind,
}

/// How a number behaves from one reading to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StatKind {
    /// It only grows.
    Counter,
    /// It is the value at the moment, and may go down.
    Gauge,
}

impl Stat {
    /// A number that only grows; for the counters of a custom server or peer.
    pub const fn counter(group: &'static str, name: &'static str, help: &'static str, value: u64) -> Self {
        Self { group, name, help, value, kind: StatKind::Counter }
    }

    /// A number that is the value at the moment.
    pub const fn gauge(group: &'static str, name: &'static str, help: &'static str, value: u64) -> Self {
        Self { group, name, help, value, kind: StatKind::Gauge }
    }
}

impl StatKind {
    /// What was added to a field since `earlier`; a gauge stays as it is.
    pub(crate) fn since<C: Count>(self, now: C, earlier: C) -> C {
        match self {
            Self::Counter => now.minus(earlier),
            Self::Gauge => now,
        }
    }
}

/// The type of a field.
pub(crate) trait Count: Copy {
    /// Its number, if it is one and there is one.
    fn value(self) -> Option<u64>;

    /// How much more it is than `earlier`.
    fn minus(self, earlier: Self) -> Self;

    fn plus(self, other: Self) -> Self;
}

impl Count for u64 {
    fn value(self) -> Option<u64> {
        Some(self)
    }

    fn minus(self, earlier: Self) -> Self {
        self.saturating_sub(earlier)
    }

    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Count for usize {
    fn value(self) -> Option<u64> {
        Some(self as u64)
    }

    fn minus(self, earlier: Self) -> Self {
        self.saturating_sub(earlier)
    }

    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl Count for bool {
    fn value(self) -> Option<u64> {
        Some(self.into())
    }

    fn minus(self, earlier: Self) -> Self {
        self && !earlier
    }

    fn plus(self, other: Self) -> Self {
        self || other
    }
}

/// What not every system tells.
impl Count for Option<u64> {
    fn value(self) -> Option<u64> {
        self
    }

    fn minus(self, earlier: Self) -> Self {
        self.map(|now| now.minus(earlier.unwrap_or(0)))
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(one.plus(other)),
            (one, other) => one.or(other),
        }
    }
}

/// Prints those that are not 0 after their labels, on one line; `none` where all are.
pub(crate) fn write_nonzero(f: &mut fmt::Formatter<'_>, counts: &[(&str, u64)]) -> fmt::Result {
    let mut separator = "";
    for (label, count) in counts.iter().filter(|(_, count)| *count > 0) {
        write!(f, "{separator}{label} {count}")?;
        separator = ", ";
    }
    if separator.is_empty() { f.write_str("none") } else { Ok(()) }
}

/// A struct of numbers under the name of their group: `field: type as Counter` or `as Gauge`. A field that is itself
/// such a struct ends in `through iter`; its numbers follow after all others, in their own group.
macro_rules! field_list {
    (
        $(#[$about:meta])* $name:ident in $group:literal {
            $(
                #[doc = $help:literal] $(#[$more:meta])*
                $field:ident: $type:ty as $kind:ident $(through $iter:ident)?,
            )*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct $name {
            $(#[doc = $help] $(#[$more])* pub $field: $type,)*
        }

        impl $name {
            /// Each number with its group, name and meaning, in the order of declaration, those of the struct itself
            /// first. Numbers that the system does not tell are left out. Allocates nothing.
            pub fn iter(&self) -> impl Iterator<Item = $crate::counters::Stat> + use<> {
                use $crate::counters::{Count, Stat, StatKind};

                // A documentation comment begins with the space after its slashes.
                let own = [$(Count::value(self.$field).map(|value| Stat {
                    group: $group,
                    name: stringify!($field),
                    help: const { $help.trim_ascii() },
                    value,
                    kind: StatKind::$kind,
                }),)*];
                own.into_iter().flatten()$($(.chain(self.$field.$iter()))?)*
            }
        }

        /// The sums, field by field: of several servers, peers or links.
        impl std::ops::AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                $(self.$field = $crate::counters::Count::plus(self.$field, other.$field);)*
            }
        }
    };
}

/// A [`field_list!`] of values at the moment.
macro_rules! gauges {
    (
        $(#[$about:meta])* $name:ident in $group:literal {
            $(#[doc = $help:literal] $(#[$more:meta])* $field:ident: $type:ty,)*
        }
    ) => {
        $crate::counters::field_list! {
            $(#[$about])* $name in $group {
                $(#[doc = $help] $(#[$more])* $field: $type as Gauge,)*
            }
        }
    };
}

/// A [`field_list!`] of counts since the beginning.
macro_rules! counters {
    (
        $(#[$about:meta])* $name:ident in $group:literal {
            $(
                #[doc = $help:literal] $(#[$more:meta])*
                $field:ident: $type:ty as $kind:ident $(through $iter:ident)?,
            )*
        }
    ) => {
        $crate::counters::field_list! {
            $(#[$about])* $name in $group {
                $(#[doc = $help] $(#[$more])* $field: $type as $kind $(through $iter)?,)*
            }
        }

        impl $name {
            /// What was added since `earlier`, an older copy: for figures per second. Gauges, such as what waits, keep
            /// their present value.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($field: $crate::counters::StatKind::$kind.since(self.$field, earlier.$field),)* }
            }
        }

        impl $crate::counters::Count for $name {
            /// None: its fields speak for themselves.
            fn value(self) -> Option<u64> {
                None
            }

            fn minus(self, earlier: Self) -> Self {
                self.since(&earlier)
            }

            fn plus(mut self, other: Self) -> Self {
                self += other;
                self
            }
        }
    };
}

/// [`counters!`] that are all numbers, each with a label to print.
macro_rules! labelled_counters {
    (
        $(#[$about:meta])* $name:ident in $group:literal {
            $(#[doc = $help:literal] $(#[$more:meta])* $field:ident: $label:literal,)*
        }
    ) => {
        $crate::counters::counters! {
            $(#[$about])* $name in $group {
                $(#[doc = $help] $(#[$more])* $field: u64 as Counter,)*
            }
        }

        impl std::fmt::Display for $name {
            /// Those that are not 0, on one line; `none` where all are.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::counters::write_nonzero(f, &[$(($label, self.$field),)*])
            }
        }
    };
}

/// [`labelled_counters!`], one per reason, with an enum of the reasons.
macro_rules! reason_counters {
    (
        $(#[$about:meta])* $name:ident in $group:literal by $(#[$reason_about:meta])* $reason:ident {
            $(#[doc = $help:literal] $(#[$more:meta])* $field:ident = $variant:ident: $label:literal,)*
        }
    ) => {
        $crate::counters::labelled_counters! {
            $(#[$about])* $name in $group {
                $(#[doc = $help] $(#[$more])* $field: $label,)*
            }
        }

        $(#[$reason_about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $reason {
            $($variant,)*
        }

        impl $reason {
            /// Every reason, in the order of declaration.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What is printed for it.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }

        impl $name {
            /// The sum of all of them.
            pub fn total(&self) -> u64 {
                [$(self.$field,)*].into_iter().sum()
            }

            pub(crate) fn add(&mut self, reason: $reason, count: u64) {
                match reason {
                    $($reason::$variant => self.$field += count,)*
                }
            }

            #[allow(dead_code, reason = "not every kind of counter is looked up")]
            pub(crate) fn get(&self, reason: $reason) -> u64 {
                match reason {
                    $($reason::$variant => self.$field,)*
                }
            }
        }
    };
}

pub(crate) use {counters, field_list, gauges, labelled_counters, reason_counters};
