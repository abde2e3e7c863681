//! The stdio that Create and Exec ask for, parsed once.
//!
//! ```text
//! stdin     ""  |  /path/of/fifo  |  fifo:///path
//! output    ""  |  /path/of/fifo  |  fifo:///path  |  binary:///program?key=value..  |  binary-v2:///..
//!           file:///path[?max-size=BYTES[&max-files=COUNT]]
//!           cri:///path[?max-line=BYTES][&max-size=BYTES[&max-files=COUNT]]
//! ```
//!
//! The schemes are containerd's (`pkg/cio`, `cmd/containerd-shim-runc-v2/process/io.go`), but for `cri`, which is the
//! shim's own. A further one is an error, and so is a parameter of `file` or `cri` that is not in the list above.

mod query;

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use self::query::LogParameters;

/// Why a stdio request cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StdioError {
    /// The scheme is none that the shim knows.
    #[error(
        "stdio {uri:?}: unknown scheme {scheme:?}; fifo, file, cri, binary and binary-v2 are known"
    )]
    UnknownScheme {
        /// The whole URI.
        uri: String,
        /// Its scheme.
        scheme: String,
    },
    /// The path is not absolute, or empty.
    #[error("stdio {uri:?}: the path must be absolute")]
    RelativePath {
        /// The whole URI.
        uri: String,
    },
    /// A percent escape is malformed, or the decoded text has a NUL byte or is not UTF-8.
    #[error("stdio {uri:?}: malformed escape or NUL byte")]
    Malformed {
        /// The whole URI.
        uri: String,
    },
    /// A log has no such parameter.
    #[error("stdio {uri:?}: unknown parameter {key:?}")]
    UnknownKey {
        /// The whole URI.
        uri: String,
        /// The parameter.
        key: String,
    },
    /// A log's parameter has no value that can be used.
    #[error("stdio {uri:?}: parameter {key:?} {reason}")]
    BadValue {
        /// The whole URI.
        uri: String,
        /// The parameter.
        key: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// stdin can only be a fifo.
    #[error("stdin {uri:?}: only a fifo can be read from")]
    StdinNotFifo {
        /// The whole URI.
        uri: String,
    },
}

/// When a logging binary says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryReady {
    /// `binary://`: it closes the ready pipe.
    Eof,
    /// `binary-v2://`: it writes a byte, so that its death is not taken for readiness.
    Byte,
}

/// When a log file makes room for a new one, and how many old ones are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The size in bytes that a file may not exceed, unless a single record does.
    pub max_size: NonZeroU64,
    /// How many old files are kept beside the one that is written.
    pub max_files: NonZeroU32,
}

/// Where an output stream goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OutputUri {
    /// To nowhere.
    #[default]
    Null,
    /// To a fifo that the manager made and reads.
    Fifo(PathBuf),
    /// To a file, appended as it comes.
    File {
        /// The file.
        path: PathBuf,
        /// How it is rotated, if it is.
        rotation: Option<Rotation>,
    },
    /// To a file, appended in the CRI log format.
    Cri {
        /// The file.
        path: PathBuf,
        /// The longest record in bytes of content; `None`: as long as the line.
        max_line: Option<NonZeroUsize>,
        /// How it is rotated, if it is.
        rotation: Option<Rotation>,
    },
    /// To a logging program on its fd 3 (stdout) and 4 (stderr).
    Binary {
        /// The program.
        program: PathBuf,
        /// Its arguments: each query key, followed by its value where there is one.
        args: Vec<String>,
        /// How it tells that it is ready.
        ready: BinaryReady,
    },
}

/// The stdio of one process; by default none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stdio {
    /// Whether the process gets a terminal; then there is no stderr.
    pub terminal: bool,
    /// The fifo that stdin is read from.
    pub stdin: Option<PathBuf>,
    /// Where stdout goes.
    pub stdout: OutputUri,
    /// Where stderr goes.
    pub stderr: OutputUri,
}

impl Stdio {
    /// Parses what a request carries.
    ///
    /// # Errors
    /// [`StdioError`] names the URI and what is wrong with it.
    pub fn parse(
        terminal: bool,
        stdin: &str,
        stdout: &str,
        stderr: &str,
    ) -> Result<Self, StdioError> {
        let stdin = match OutputUri::parse(stdin)? {
            OutputUri::Null => None,
            OutputUri::Fifo(path) => Some(path),
            OutputUri::File { .. } | OutputUri::Cri { .. } | OutputUri::Binary { .. } => {
                return Err(StdioError::StdinNotFifo {
                    uri: stdin.to_owned(),
                });
            }
        };
        let stderr = OutputUri::parse(stderr)?;
        Ok(Self {
            terminal,
            stdin,
            stdout: OutputUri::parse(stdout)?,
            stderr: if terminal { OutputUri::Null } else { stderr },
        })
    }
}

impl OutputUri {
    /// Parses one URI.
    ///
    /// # Errors
    /// [`StdioError`] names the URI and what is wrong with it.
    pub fn parse(uri: &str) -> Result<Self, StdioError> {
        if uri.is_empty() {
            return Ok(Self::Null);
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return Ok(Self::Fifo(absolute(uri, uri.to_owned())?));
        };
        // A plain path may well contain "://"; only what stands before the first slash can be a scheme.
        if scheme.contains('/') {
            return Ok(Self::Fifo(absolute(uri, uri.to_owned())?));
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = absolute(uri, query::decode_path(uri, path)?)?;
        let ready = match scheme {
            "fifo" => return Ok(Self::Fifo(path)),
            "file" => {
                let LogParameters { rotation, .. } = LogParameters::of_file(uri, query)?;
                return Ok(Self::File { path, rotation });
            }
            "cri" => {
                let LogParameters { max_line, rotation } = LogParameters::of_cri(uri, query)?;
                return Ok(Self::Cri {
                    path,
                    max_line,
                    rotation,
                });
            }
            "binary" => BinaryReady::Eof,
            "binary-v2" => BinaryReady::Byte,
            _ => {
                return Err(StdioError::UnknownScheme {
                    uri: uri.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
        };
        let pairs = query::pairs(uri, query)?.into_iter();
        let args = pairs
            .flat_map(|(key, value)| [key, value])
            .enumerate()
            .filter(|(position, text)| position % 2 == 0 || !text.is_empty())
            .map(|(_, text)| text)
            .collect();
        Ok(Self::Binary {
            program: path,
            args,
            ready,
        })
    }
}

fn absolute(uri: &str, path: String) -> Result<PathBuf, StdioError> {
    if path.contains('\0') {
        return Err(StdioError::Malformed {
            uri: uri.to_owned(),
        });
    }
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(StdioError::RelativePath {
            uri: uri.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_uri_is_null_and_a_path_is_a_fifo() {
        assert_eq!(OutputUri::parse(""), Ok(OutputUri::Null));
        assert_eq!(
            OutputUri::parse("/run/x-stdout"),
            Ok(OutputUri::Fifo("/run/x-stdout".into()))
        );
        assert_eq!(
            OutputUri::parse("fifo:///run/x"),
            Ok(OutputUri::Fifo("/run/x".into()))
        );
        assert_eq!(
            OutputUri::parse("/odd://path"),
            Ok(OutputUri::Fifo("/odd://path".into()))
        );
    }

    #[test]
    fn a_binary_gets_its_query_as_arguments_in_order() {
        let uri = "binary:///bin/log%20it?id=a%2Fb&flag&name=x+y";
        let args = ["id", "a/b", "flag", "name", "x y"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            OutputUri::parse(uri),
            Ok(OutputUri::Binary {
                program: "/bin/log it".into(),
                args,
                ready: BinaryReady::Eof
            })
        );
        assert!(matches!(
            OutputUri::parse("binary-v2:///b"),
            Ok(OutputUri::Binary {
                ready: BinaryReady::Byte,
                ..
            })
        ));
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        assert!(
            matches!(OutputUri::parse("ftp:///x"), Err(StdioError::UnknownScheme { scheme, .. }) if scheme == "ftp")
        );
        assert!(matches!(
            OutputUri::parse("file://x"),
            Err(StdioError::RelativePath { .. })
        ));
        assert!(matches!(
            OutputUri::parse("relative"),
            Err(StdioError::RelativePath { .. })
        ));
        for uri in [
            "file:///%0",
            "file:///%zz",
            "file:///a%00b",
            "/a\0b",
            "file:///%ff",
            "cri:///x?max%zz=1",
        ] {
            assert!(
                matches!(OutputUri::parse(uri), Err(StdioError::Malformed { .. })),
                "{uri:?}"
            );
        }
        assert!(matches!(
            Stdio::parse(false, "cri:///x", "", ""),
            Err(StdioError::StdinNotFifo { .. })
        ));
        assert!(matches!(
            Stdio::parse(false, "file:///x", "", ""),
            Err(StdioError::StdinNotFifo { .. })
        ));
    }

    #[test]
    fn a_terminal_has_no_stderr() {
        let stdio = Stdio::parse(true, "", "/o", "/e");
        assert_eq!(stdio.map(|stdio| stdio.stderr), Ok(OutputUri::Null));
    }

    fn rotation(max_size: u64, max_files: u32) -> Option<Rotation> {
        Some(Rotation {
            max_size: NonZeroU64::new(max_size)?,
            max_files: NonZeroU32::new(max_files)?,
        })
    }

    #[test]
    fn a_log_file_has_its_parameters() {
        let file = |path: &str, rotation| {
            let path = path.into();
            Ok(OutputUri::File { path, rotation })
        };
        assert_eq!(OutputUri::parse("file:///a/b"), file("/a/b", None));
        let uri = "file:///a%3F?max-size=1000&max-files=3";
        assert_eq!(OutputUri::parse(uri), file("/a?", rotation(1000, 3)));
        let uri = "file:///a?max-size=1000";
        assert_eq!(OutputUri::parse(uri), file("/a", rotation(1000, 5)));
        let cri = |max_line, rotation| {
            Ok(OutputUri::Cri {
                path: "/a".into(),
                max_line: NonZeroUsize::new(max_line),
                rotation,
            })
        };
        assert_eq!(OutputUri::parse("cri:///a"), cri(16384, None));
        for none in ["0", "-1"] {
            let uri = format!("cri:///a?max-line={none}");
            assert_eq!(OutputUri::parse(&uri), cri(0, None));
        }
        let uri = "cri:///a?max-files=2&max-line=80&max-size=7";
        assert_eq!(OutputUri::parse(uri), cri(80, rotation(7, 2)));
    }

    #[test]
    fn a_wrong_parameter_is_refused_by_name() {
        for (uri, wrong) in [
            ("file:///x?max-line=1", "max-line"),
            ("file:///x?maxsize=1", "maxsize"),
            ("cri:///x?", ""),
            ("cri:///x?colour=red", "colour"),
        ] {
            match OutputUri::parse(uri) {
                Err(StdioError::UnknownKey { key, .. }) => assert_eq!(key, wrong),
                other => assert!(other.is_ok() && wrong.is_empty(), "{uri}: {other:?}"),
            }
        }
        for (uri, wrong) in [
            ("file:///x?max-size=0", "max-size"),
            ("file:///x?max-size=1k", "max-size"),
            ("file:///x?max-size=1&max-size=2", "max-size"),
            ("file:///x?max-files=2", "max-files"),
            ("file:///x?max-size=9&max-files=0", "max-files"),
            ("cri:///x?max-line=", "max-line"),
            ("cri:///x?max-line=many", "max-line"),
        ] {
            let parsed = OutputUri::parse(uri);
            assert!(
                matches!(&parsed, Err(StdioError::BadValue { key, .. }) if *key == wrong),
                "{uri}: {parsed:?}"
            );
        }
    }
}
