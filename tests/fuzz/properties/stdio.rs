//! Stdio URIs: what is understood can be written in one canonical way, and is understood as the same.

use std::fmt::Write as _;
use std::path::Path;

use outlive::types::stdio::{BinaryReady, OutputUri, Rotation, Stdio, StdioError};

/// Up to three lines: stdout, stderr, stdin. The first byte says whether there is a terminal.
pub fn stdio_uri(bytes: &[u8]) {
    let (terminal, text) = bytes.split_first().unwrap_or((&0, b""));
    let terminal = terminal % 2 == 1;
    let text = String::from_utf8_lossy(text);
    let mut lines = text.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (stdout, stderr, stdin) = (line(), line(), line());
    let all = [stdout, stderr, stdin];
    let alone = all.map(OutputUri::parse);
    for (uri, parsed) in all.iter().zip(&alone) {
        match parsed {
            Ok(output) => check(uri, output),
            Err(error) => check_error(uri, error),
        }
    }
    let [of_stdout, of_stderr, of_stdin] = alone;
    match Stdio::parse(terminal, stdin, stdout, stderr) {
        Ok(stdio) => {
            assert_eq!(Ok(stdio.stdout), of_stdout);
            assert_eq!(stdio.terminal, terminal);
            if terminal {
                assert_eq!(stdio.stderr, OutputUri::Null);
            } else {
                assert_eq!(Ok(stdio.stderr), of_stderr);
            }
            let fifo = stdio.stdin.map_or(OutputUri::Null, OutputUri::Fifo);
            assert_eq!(Ok(fifo), of_stdin);
        }
        Err(StdioError::StdinNotFifo { uri }) => {
            assert_eq!(uri, stdin);
            assert!(!matches!(
                of_stdin,
                Ok(OutputUri::Null | OutputUri::Fifo(_))
            ));
        }
        Err(error) => {
            let wrong = [of_stdin, of_stderr, of_stdout].map(Result::err);
            assert!(wrong.contains(&Some(error)), "{wrong:?}");
        }
    }
}

fn check(uri: &str, output: &OutputUri) {
    let usable = |path: &Path| {
        assert!(path.is_absolute(), "{uri:?}: {path:?}");
        assert!(!path.to_str().unwrap().contains('\0'), "{uri:?}");
    };
    match output {
        OutputUri::Null => assert_eq!(uri, ""),
        OutputUri::Fifo(path) | OutputUri::File { path, .. } | OutputUri::Cri { path, .. } => {
            usable(path);
        }
        OutputUri::Binary { program, args, .. } => {
            usable(program);
            assert!(!args.iter().any(|arg| arg.contains('\0')), "{uri:?}");
        }
    }
    let canonical = canonical(output);
    let again = OutputUri::parse(&canonical);
    assert_eq!(again.as_ref(), Ok(output), "{uri:?} is {canonical:?}");
}

/// An error says what it is about, in one line of a log.
fn check_error(uri: &str, error: &StdioError) {
    let (StdioError::UnknownScheme { uri: named, .. }
    | StdioError::RelativePath { uri: named }
    | StdioError::Malformed { uri: named }
    | StdioError::UnknownKey { uri: named, .. }
    | StdioError::BadValue { uri: named, .. }
    | StdioError::StdinNotFifo { uri: named }) = error;
    assert_eq!(named, uri);
    assert!(!error.to_string().contains(char::is_control), "{error}");
}

/// The output as an URI with everything said and escaped.
fn canonical(output: &OutputUri) -> String {
    match output {
        OutputUri::Null => String::new(),
        OutputUri::Fifo(path) => format!("fifo://{}", escaped(path)),
        OutputUri::File { path, rotation } => {
            format!("file://{}?{}", escaped(path), rotated(*rotation))
        }
        OutputUri::Cri {
            path,
            max_line,
            rotation,
        } => {
            let line = max_line.map_or(0, std::num::NonZeroUsize::get);
            let path = escaped(path);
            format!("cri://{path}?{}&max-line={line}", rotated(*rotation))
        }
        OutputUri::Binary {
            program,
            args,
            ready,
        } => {
            let scheme = match ready {
                BinaryReady::Eof => "binary",
                BinaryReady::Byte => "binary-v2",
            };
            let mut uri = format!("{scheme}://{}?", escaped(program));
            for arg in args {
                write!(uri, "{}=&", escaped(Path::new(arg))).unwrap();
            }
            uri
        }
    }
}

fn rotated(rotation: Option<Rotation>) -> String {
    rotation.map_or(String::new(), |rotation| {
        format!(
            "max-files={}&max-size={}",
            rotation.max_files, rotation.max_size
        )
    })
}

fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.to_str().unwrap().bytes() {
        if byte == b'/' || byte.is_ascii_alphanumeric() {
            text.push(byte.into());
        } else {
            write!(text, "%{byte:02X}").unwrap();
        }
    }
    text
}
