#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| packetpeer_fuzz::wire_formats::run(data));
