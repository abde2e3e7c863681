//! What must hold for any bytes, said once for both runners: the libFuzzer targets and the test `fuzz`.
//!
//! Each property takes the input of one case and panics where it does not hold. Those whose first bytes choose something
//! say so; everything else is taken as it comes, so that a file found in the field is an input too.

mod bundle;
mod calls;
mod document;
mod images;
mod journal;
mod log;
mod scratch;
mod stdio;
mod store;

pub use journal::bodies;

pub use bundle::{endpoint, runtime_record};
pub use calls::{METHODS, shim_call};
pub use images::{image_archive, image_layer};
pub use journal::exit_journal;
pub use log::{cri_log, log_reader};
pub use stdio::stdio_uri;
pub use store::{container_config, container_status, pod_config, pod_network, pod_status};

pub use scratch::Scratch;
