//! What containerd sends to `start` by stdin, and what it wants to read back.
//!
//! ```text
//!                stdin                                      stdout
//! >= 2.3         BootstrapParams                            BootstrapResult
//! before         an options Any, or nothing                 the bare address, which means "task API v2 over ttrpc"
//! ```
//!
//! A bare `Any` decodes as BootstrapParams too, so what it names is compared with the command line. 1.6 takes nothing
//! but the bare address, 1.7 and 2.x take it as well, and the server serves both versions of the API.

use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult, LogLevel};
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Enum, Message};

use super::args::Args;

/// How much is read from stdin, in bytes; containerd's messages are limited to 16 MiB.
const MAX_INPUT: u64 = 16 << 20;
const TASK_API_VERSION: i32 = 3;

/// How the daemon that runs `start` wants its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The bare address.
    Legacy,
    /// A `BootstrapResult`.
    Bootstrap,
}

/// What `start` is to know, whichever way it came.
#[derive(Debug, Clone, PartialEq)]
pub struct StartParams {
    /// How to reply.
    pub protocol: Protocol,
    /// containerd's ttrpc address; empty where unknown.
    pub ttrpc_address: String,
    /// containerd's grpc address, of which the socket's name is made.
    pub grpc_address: String,
    /// Whether to log more.
    pub debug: bool,
    /// The directory for the shim's socket, where containerd wants another than the usual.
    pub socket_dir: Option<PathBuf>,
    /// The runtime's options.
    pub options: Option<Any>,
}

/// Reads stdin to its end. A terminal is not read.
///
/// # Errors
/// What read(2) answered.
pub fn read_stdin() -> io::Result<Vec<u8>> {
    let stdin = io::stdin();
    let mut input = Vec::new();
    if !stdin.is_terminal() {
        stdin.lock().take(MAX_INPUT).read_to_end(&mut input)?;
    }
    Ok(input)
}

/// Makes sense of what `start` got: `input` from stdin, its command line, and `TTRPC_ADDRESS`.
#[must_use]
pub fn start_params(input: &[u8], args: &Args, ttrpc_address: Option<String>) -> StartParams {
    let params = BootstrapParams::parse_from_bytes(input).ok();
    match params
        .filter(|params| params.instance_id == args.id && params.namespace == args.namespace)
    {
        Some(params) => {
            let verbose = params.log_level.value() <= LogLevel::LOG_LEVEL_DEBUG.value();
            StartParams {
                protocol: Protocol::Bootstrap,
                ttrpc_address: params.containerd_ttrpc_address,
                grpc_address: params.containerd_grpc_address,
                debug: args.debug || verbose,
                socket_dir: params
                    .socket_dir
                    .filter(|dir| !dir.is_empty())
                    .map(PathBuf::from),
                options: params
                    .extensions
                    .into_iter()
                    .filter_map(|extension| extension.value.into_option())
                    .find(is_options),
            }
        }
        None => StartParams {
            protocol: Protocol::Legacy,
            ttrpc_address: ttrpc_address.unwrap_or_default(),
            grpc_address: args.address.clone(),
            debug: args.debug,
            socket_dir: None,
            options: Any::parse_from_bytes(input).ok().filter(is_options),
        },
    }
}

fn is_options(any: &Any) -> bool {
    matches!(
        any.type_url.rsplit('/').next(),
        Some(
            "containerd.runc.v1.Options"
                | "runtimeoptions.v1.Options"
                | "containerd.linux.runc.CreateOptions"
        )
    )
}

/// The reply that tells the daemon the shim's `address`.
#[must_use]
pub fn reply(protocol: Protocol, address: &str) -> Vec<u8> {
    let bare = || address.as_bytes().to_vec();
    match protocol {
        Protocol::Legacy => bare(),
        Protocol::Bootstrap => {
            let result = BootstrapResult {
                version: TASK_API_VERSION,
                address: address.to_owned(),
                protocol: "ttrpc".to_owned(),
                ..Default::default()
            };
            // A message without required fields can always be written; and the bare address is understood too.
            result.write_to_bytes().unwrap_or_else(|_| bare())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use containerd_shim_protos::bootstrap_api::Extension;

    fn args() -> Args {
        let line = "-namespace n -id c1 -address /grpc.sock start";
        Args::parse(line.split_whitespace().map(str::to_owned)).unwrap()
    }

    fn options() -> Any {
        Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: vec![0x32, 1, b'x'],
            ..Default::default()
        }
    }

    #[test]
    fn a_bare_options_message_is_not_mistaken_for_bootstrap_params() {
        let input = options().write_to_bytes().unwrap();
        let params = start_params(&input, &args(), Some("/t.sock".into()));
        assert_eq!(params.protocol, Protocol::Legacy);
        assert_eq!(params.options, Some(options()));
        assert_eq!(
            (params.ttrpc_address.as_str(), params.grpc_address.as_str()),
            ("/t.sock", "/grpc.sock")
        );
        assert_eq!(reply(params.protocol, "unix:///s"), b"unix:///s");
    }

    #[test]
    fn bootstrap_params_win_over_the_environment() {
        let sent = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "n".into(),
            containerd_ttrpc_address: "/new.ttrpc".into(),
            containerd_grpc_address: "/new.sock".into(),
            socket_dir: Some("/s".into()),
            extensions: vec![Extension {
                value: Some(options()).into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let params = start_params(
            &sent.write_to_bytes().unwrap(),
            &args(),
            Some("/old".into()),
        );
        assert_eq!(params.protocol, Protocol::Bootstrap);
        assert_eq!(
            (params.ttrpc_address.as_str(), params.socket_dir),
            ("/new.ttrpc", Some("/s".into()))
        );
        assert_eq!(params.options, Some(options()));
        let answer =
            BootstrapResult::parse_from_bytes(&reply(params.protocol, "unix:///s")).unwrap();
        assert_eq!(
            (
                answer.version,
                answer.address.as_str(),
                answer.protocol.as_str()
            ),
            (3, "unix:///s", "ttrpc")
        );
    }

    #[test]
    fn nothing_and_garbage_are_the_legacy_protocol_without_options() {
        for input in [&[][..], &[0xff, 0xfe, 1]] {
            let params = start_params(input, &args(), None);
            assert_eq!((params.protocol, params.options), (Protocol::Legacy, None));
        }
    }
}
