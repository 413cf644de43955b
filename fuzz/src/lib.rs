//! What the fuzz targets do with their bytes. Each is a function here, so that it runs without a fuzzer too: see
//! `tests/corpus.rs`.

pub mod core;
mod input;
pub mod link;
pub mod peer;
pub mod text;
mod wire;
pub mod wire_formats;
