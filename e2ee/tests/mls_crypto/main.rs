//! The primitives and the storage under MLS, as `openmls` uses them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod members;
mod passive;
mod properties;
mod refusals;
mod vectors;
mod walk;

use data_encoding::HEXLOWER as HEX;
use serde_json::Value;

/// The bytes that a field of a vector has in hex.
fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    let text = vector[name].as_str();
    let text = text.unwrap_or_else(|| panic!("no text in {name}"));
    HEX.decode(text.as_bytes()).unwrap()
}

fn parse(file: &str) -> Value {
    serde_json::from_str(file).unwrap()
}
