//! Settings: where they come from and what they default to.

pub mod shim;
pub mod supervisor;

pub use shim::{OptionsError, ShimOptions};
