//! An assertion about several counters of one struct, each by its name; in a tuple of them one has to count places.
//!
//! Tests that have no use for the rest of `util` include it by its path: `#[path = "util/counts.rs"] mod counts;`.

/// Asserts what several fields of one struct are, or what methods of it that take `&self` return:
/// `assert_counts!(server.stats(), received: 7, delivered: 1, drops.total(): 0)`, with a message at the end if need be.
/// The struct is evaluated once, so all of them are of one moment. When it fails it names each field that is
/// wrong, with what was expected and what it is, and then shows all of the struct.
#[allow(unused_macros, reason = "not every file of tests that includes `util` uses it")]
macro_rules! assert_counts {
    (
        $counts:expr,
        $($($field:ident $(($($argument:tt)*))?).+: $expected:expr),+
        $(, $message:literal $(, $words:expr)*)? $(,)?
    ) => {
        // A `match` keeps what the struct borrows from alive; a `let` would not.
        match &$counts {
            counts => {
                let mut wrong = String::new();
                // In an array both are of one type, so literals and `sum()` know theirs.
                $(match [&counts.$($field $(($($argument)*))?).+, &$expected] {
                    [actual, expected] if *actual == *expected => {}
                    [actual, expected] => {
                        // `stringify!` puts a space before the parentheses.
                        let field = stringify!($($field $(($($argument)*))?).+).replace(" (", "(");
                        wrong += &format!("\n  {field}: expected {expected:?}, is {actual:?}");
                    }
                })+
                assert!(
                    wrong.is_empty(),
                    "wrong counts of `{}`{}:{wrong}\n{counts:#?}",
                    stringify!($counts),
                    String::new() $(+ ", " + &format!($message $(, $words)*))?,
                );
            }
        }
    };
}

pub(crate) use assert_counts;
