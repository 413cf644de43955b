//! The corpus without a fuzzer: every input of it still goes through, on every compiler that builds the crate.

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for input in inputs {
        let path = input.unwrap().path();
        // Should it fail, this is the line that names the input.
        println!("{}", path.display());
        run(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn core() {
    replay("core", packetpeer_fuzz::core::run);
}

#[test]
fn link() {
    replay("link", packetpeer_fuzz::link::run);
}

#[test]
fn peer() {
    replay("peer", packetpeer_fuzz::peer::run);
}

#[test]
fn text() {
    replay("text", packetpeer_fuzz::text::run);
}

#[test]
fn wire_formats() {
    replay("wire_formats", packetpeer_fuzz::wire_formats::run);
}
