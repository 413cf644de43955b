use super::{run, tool};

/// A typo of the size is a message that names the option, before anything is sent or a byte is allocated.
#[test]
fn a_size_that_no_datagram_has_is_refused_by_name() {
    for size in ["65508", "18446744073709551615"] {
        // On a 32-bit machine the larger is no size at all.
        let refused = run(tool!("flood_clients"), &["--connect", "127.0.0.1:9", "--size", size]);
        assert_eq!(refused.status.code(), Some(1), "{size}: {refused:?}");
        assert!(refused.said.iter().any(|line| line.contains("--size")), "{size}: {refused:?}");
    }
}

#[test]
fn numbers_that_would_make_too_much_are_refused_by_name() {
    for (tool, options, flag) in [
        (tool!("soak"), &["--clients", "4294967295"][..], "--clients"),
        (tool!("flood_target"), &["--listen", "127.0.0.1:0", "--queued-bytes", "4294967295"], "--queued-bytes"),
    ] {
        let refused = run(tool, options);
        assert_eq!(refused.status.code(), Some(1), "{tool}: {refused:?}");
        assert!(refused.said.iter().any(|line| line.contains(flag)), "{tool}: {refused:?}");
    }
}
