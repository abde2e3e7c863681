//! The service `outlive.v1.Control`: what users of the command line need and CRI has no call for.
//!
//! ```text
//! rpc Kill(KillRequest) returns (KillResponse)
//! ```

/// `Kill`'s path on the socket.
pub const KILL: &str = "/outlive.v1.Control/Kill";

/// Sends a signal to a container.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct KillRequest {
    /// The container's id, or a prefix of it that no other has.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// The signal's number: 1..=64.
    #[prost(uint32, tag = "2")]
    pub signal: u32,
    /// Whether every process of the container gets it, not only its init.
    #[prost(bool, tag = "3")]
    pub all: bool,
}

/// The signal was sent.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct KillResponse {}
