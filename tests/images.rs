//! The image store with real archives, real layers and real overlays. Run as root; nothing is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test fails, in its helper functions too"
)]

#[path = "images/archives.rs"]
mod archives;
#[path = "images/attributes.rs"]
mod attributes;
#[path = "images/crash.rs"]
mod crash;
#[path = "images/escapes.rs"]
mod escapes;
#[path = "images/formats.rs"]
mod formats;
#[path = "images/growth.rs"]
mod growth;
#[path = "images/import.rs"]
mod import;
#[path = "images/overlays.rs"]
mod overlays;
#[path = "images/place.rs"]
mod place;
#[path = "images/random.rs"]
mod random;
#[path = "images/sparse.rs"]
mod sparse;
#[path = "images/store.rs"]
mod store;
#[path = "images/variety.rs"]
mod variety;
