//! Start and recovery: everything that the supervisor knows is rebuilt from disk and from the shims that live.
//!
//! ```text
//! scan      disk --> facts                                            blocks; never fails as a whole
//! load      facts --> store: every container is listed at once        before the socket answers
//! ask       shim --> what it reports                                  each container has a deadline of its own
//! classify  (checkpoint, report) --> verdict                          pure, total: the table is drawn there
//! reconcile verdict --> disk, memory, event, task
//! retry     asks a shim again that did not answer
//! orphans   what belongs to nobody, last of all
//! dry_run   all of it but the doing
//! ```
//!
//! A daemon calls [`load`](fn@load), serves, and runs [`run()`] beside that.

pub mod ask;
pub mod classify;
pub mod dry_run;
pub mod load;
pub mod orphans;
pub mod pods;
pub mod reconcile;
pub mod retry;
pub mod run;
pub mod scan;

pub use load::{Plan, load};
pub use run::run;
