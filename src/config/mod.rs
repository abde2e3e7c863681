//! Settings: where they come from and what they default to.

pub mod shim;

pub use shim::{OptionsError, ShimOptions};
