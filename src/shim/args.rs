//! The command line that containerd runs a shim with (`pkg/shim/shim.go`): Go-style flags, then an action.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::ShimOptions;
use crate::types::{ContainerId, IdError, Namespace};

/// Why a command line cannot be served.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A flag that there is not.
    #[error("unknown flag {0:?}")]
    UnknownFlag(String),
    /// A flag that needs a value, and the command line ends.
    #[error("flag -{0} needs a value")]
    NoValue(&'static str),
    /// A flag whose value is no number.
    #[error("flag -{flag}: {value:?} is no number")]
    Number {
        /// Which.
        flag: &'static str,
        /// What it has.
        value: String,
    },
    /// A word after the flags that is no action.
    #[error("unknown action {0:?}: start and delete are known")]
    UnknownAction(String),
    /// A flag that is needed here and not there, or is no identifier.
    #[error("-{flag}: {source}")]
    Id {
        /// Which.
        flag: &'static str,
        /// What is wrong.
        #[source]
        source: IdError,
    },
}

/// What the shim was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// No action: serve.
    Serve,
    /// `start`: start a server, or find the group's, and print its address.
    Start,
    /// `delete`: clean up after a dead server, and print the exit.
    Delete,
    /// `-info`: print what the runtime can do.
    Info,
    /// `-v`: print the version.
    Version,
}

/// A parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// What to do.
    pub action: Action,
    /// `-namespace`.
    pub namespace: String,
    /// `-id`: the container, or the group.
    pub id: String,
    /// `-address`: containerd's grpc address.
    pub address: String,
    /// `-publish-binary`: containerd's own program.
    pub publish_binary: String,
    /// `-bundle`: for `delete`.
    pub bundle: Option<PathBuf>,
    /// `-socket`: the address that the server was given.
    pub socket: String,
    /// `-debug`: log more.
    pub debug: bool,
    /// `-idle-exit-seconds`: how long the server may be without tasks; `None` (0) for ever. Our own: `start` has the
    /// options, and the server gets them with a Create only, which may never come.
    pub idle_exit: Option<Duration>,
}

impl Args {
    /// Parses the words after the program's name.
    ///
    /// # Errors
    /// [`ArgsError`] names the word.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let mut args = Self {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            publish_binary: String::new(),
            bundle: None,
            socket: String::new(),
            debug: false,
            idle_exit: ShimOptions::default().idle_exit(),
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            // Go's flag package takes one dash or two, and ends at the first word without.
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                args.action = match word.as_str() {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    _ => return Err(ArgsError::UnknownAction(word)),
                };
                break;
            };
            let (flag, inline) = match flag.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (flag, None),
            };
            let is_true = |value: Option<String>| {
                !matches!(value.as_deref(), Some("false" | "0" | "f" | "F" | "FALSE"))
            };
            let mut value = |name| {
                inline
                    .clone()
                    .or_else(|| words.next())
                    .ok_or(ArgsError::NoValue(name))
            };
            match flag {
                "v" | "version" => args.action = Action::Version,
                "info" => args.action = Action::Info,
                "debug" => args.debug = is_true(inline),
                "namespace" => args.namespace = value("namespace")?,
                "id" => args.id = value("id")?,
                "address" => args.address = value("address")?,
                "publish-binary" => args.publish_binary = value("publish-binary")?,
                "bundle" => args.bundle = Some(value("bundle")?.into()),
                "socket" => args.socket = value("socket")?,
                "idle-exit-seconds" => {
                    args.idle_exit = seconds("idle-exit-seconds", value("idle-exit-seconds")?)?
                }
                // The Go shim's profiling socket; there is nothing to serve on it.
                "debug-socket" => drop(value("debug-socket")?),
                _ => return Err(ArgsError::UnknownFlag(word)),
            }
            if matches!(args.action, Action::Version | Action::Info) {
                break;
            }
        }
        Ok(args)
    }

    /// The namespace, validated.
    ///
    /// # Errors
    /// [`ArgsError::Id`].
    pub fn namespace(&self) -> Result<Namespace, ArgsError> {
        Namespace::new(&self.namespace).map_err(|source| ArgsError::Id {
            flag: "namespace",
            source,
        })
    }

    /// The id, validated.
    ///
    /// # Errors
    /// [`ArgsError::Id`].
    pub fn id(&self) -> Result<ContainerId, ArgsError> {
        ContainerId::new(&self.id).map_err(|source| ArgsError::Id { flag: "id", source })
    }
}

/// A number of seconds, where 0 stands for no limit.
fn seconds(flag: &'static str, value: String) -> Result<Option<Duration>, ArgsError> {
    match value.parse() {
        Ok(0) => Ok(None),
        Ok(seconds) => Ok(Some(Duration::from_secs(seconds))),
        Err(_) => Err(ArgsError::Number { flag, value }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn containerds_command_lines_are_understood() {
        let args =
            parse("-namespace k8s.io -address /a.sock -publish-binary /bin/c -id c1 -debug start")
                .unwrap();
        assert_eq!((args.action, args.debug), (Action::Start, true));
        assert_eq!(
            (
                args.namespace.as_str(),
                args.id.as_str(),
                args.address.as_str()
            ),
            ("k8s.io", "c1", "/a.sock")
        );
        let args = parse("--namespace=n --id=c1 -bundle /b delete").unwrap();
        assert_eq!(
            (args.action, args.bundle),
            (Action::Delete, Some("/b".into()))
        );
        assert_eq!(
            parse("-namespace n -id c -socket unix:///s")
                .unwrap()
                .action,
            Action::Serve
        );
        let idle = |line| parse(line).unwrap().idle_exit;
        assert_eq!(idle("-id c"), Some(Duration::from_secs(600)));
        assert_eq!(
            idle("-idle-exit-seconds 7 -id c"),
            Some(Duration::from_secs(7))
        );
        assert_eq!(idle("-idle-exit-seconds=0 -id c"), None);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert!(!parse("-debug=false start").unwrap().debug);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            parse("-nope start"),
            Err(ArgsError::UnknownFlag("-nope".into()))
        );
        assert!(matches!(
            parse("-idle-exit-seconds x"),
            Err(ArgsError::Number { .. })
        ));
        assert_eq!(parse("-id"), Err(ArgsError::NoValue("id")));
        assert_eq!(
            parse("-id c stop"),
            Err(ArgsError::UnknownAction("stop".into()))
        );
        assert!(parse("-namespace ../x start").unwrap().namespace().is_err());
        assert!(parse("start").unwrap().id().is_err());
    }
}
