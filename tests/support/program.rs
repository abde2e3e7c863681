//! Programs that a test makes and has executed.
//!
//! A child that another thread forks holds copies of this process's descriptors until it executes something. Would this
//! process write the file, such a child could hold it open for writing, and executing it would be ETXTBSY (execve(2)). So
//! another process writes it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Makes an executable file of these bytes, or a script of this text.
pub fn write(path: &Path, contents: impl AsRef<[u8]>) {
    let mut shell = Command::new("/bin/sh")
        .args(["-c", r#"cat >"$0" && chmod 755 "$0""#])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = shell.stdin.take().unwrap();
    pipe.write_all(contents.as_ref()).unwrap();
    drop(pipe);
    assert!(shell.wait().unwrap().success(), "{path:?} is not written");
}

/// Makes an executable file like `from`.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{from:?} is not copied");
}
