//! Derives Kafka wire encoding, decoding and a static schema from field attributes.
//!
//! `#[derive(Wire)]` on a struct with named fields writes three things: `Default` with Kafka's default values,
//! `seedlog_core::wire::Wire` (decode, encode, schema), and, if the struct is a whole message, `Message`. The traits and
//! every byte that is read or written live in `seedlog_core::wire`; this crate only arranges the calls. Next: `attrs`
//! reads the attributes, `expand` writes the code.
//!
//! On a struct that is a whole message (structs inside a message need nothing):
//!
//! | attribute | meaning |
//! |---|---|
//! | `versions = "3-13"` | the versions that exist |
//! | `flexible = "9+"` | versions with compact lengths and tagged fields (KIP-482); absent: none |
//! | `key = 0` | the API key; headers have none |
//!
//! On a field:
//!
//! | attribute | meaning |
//! |---|---|
//! | `versions = "2+"` | versions that have the field; absent: all |
//! | `nullable = "2+"` | versions in which it may be null; goes with `Option` and only with `Option` |
//! | `tag = 0, tagged = "10+"` | it is a tagged field, with this number, in these versions |
//! | `default = -1` | its value where a version lacks it, and the value a tagged field is left out for; absent: zero or empty |
//! | `ignorable` | a version that lacks the field drops the value silently; otherwise a value other than the default is an error |
//! | `flexible = "none"` | old-style lengths even in flexible versions |
//! | `name = "..."` | its name in the schema, if it is not the field's own |
//!
//! An `Option` without `default = null` has the default "present but empty" on the wire, because Kafka says so; in Rust's
//! `Default` every `Option` starts as `None`, which is what whoever fills in a message expects.

mod attrs;
mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Writes `Default`, `Wire` and, for a whole message, `Message` and `ApiMessage`. The attributes are in the crate's
/// documentation.
#[proc_macro_derive(Wire, attributes(wire))]
pub fn derive_wire(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    attrs::Container::parse(&input)
        .map(|container| expand::expand(&container))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
