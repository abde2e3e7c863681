//! The stdio that Create and Exec ask for, parsed once.
//!
//! ```text
//! stdin     ""  |  /path/of/fifo  |  fifo:///path
//! output    ""  |  /path/of/fifo  |  fifo:///path  |  file:///path  |  binary:///program?key=value..  |  binary-v2:///..
//! ```
//!
//! The schemes are containerd's (`pkg/cio`, `cmd/containerd-shim-runc-v2/process/io.go`). A further one is an error.

use std::path::PathBuf;

/// Why a stdio request cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StdioError {
    /// The scheme is none that the shim knows.
    #[error("stdio {uri:?}: unknown scheme {scheme:?}; fifo, file, binary and binary-v2 are known")]
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

/// Where an output stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputUri {
    /// To nowhere.
    Null,
    /// To a fifo that the manager made and reads.
    Fifo(PathBuf),
    /// To a file, appended.
    File(PathBuf),
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

/// The stdio of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
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
            OutputUri::File(_) | OutputUri::Binary { .. } => {
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
        let path = absolute(uri, decode(uri, path, Plus::Literal)?)?;
        let ready = match scheme {
            "fifo" => return Ok(Self::Fifo(path)),
            "file" => return Ok(Self::File(path)),
            "binary" => BinaryReady::Eof,
            "binary-v2" => BinaryReady::Byte,
            _ => {
                return Err(StdioError::UnknownScheme {
                    uri: uri.to_owned(),
                    scheme: scheme.to_owned(),
                });
            }
        };
        let mut args = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            args.push(decode(uri, key, Plus::Space)?);
            if !value.is_empty() {
                args.push(decode(uri, value, Plus::Space)?);
            }
        }
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

/// What `+` stands for: itself in a path, a space in a query (RFC 3986; `application/x-www-form-urlencoded`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Literal,
    Space,
}

fn decode(uri: &str, text: &str, plus: Plus) -> Result<String, StdioError> {
    let malformed = || StdioError::Malformed {
        uri: uri.to_owned(),
    };
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match (byte, plus) {
            (b'%', _) => {
                let high = bytes.next().and_then(hex_digit).ok_or_else(malformed)?;
                let low = bytes.next().and_then(hex_digit).ok_or_else(malformed)?;
                high << 4 | low
            }
            (b'+', Plus::Space) => b' ',
            (byte, _) => byte,
        });
    }
    if decoded.contains(&0) {
        return Err(malformed());
    }
    String::from_utf8(decoded).map_err(|_| malformed())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
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
        ] {
            assert!(
                matches!(OutputUri::parse(uri), Err(StdioError::Malformed { .. })),
                "{uri:?}"
            );
        }
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
}
