//! The layers, checked from the `use` lines and paths: imports point down only, siblings do not import each other,
//! unsafe code is in one place, and files say what they own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer, and the layers that it may import; all may import themselves.
const MAY_IMPORT: [(&str, &[&str]); 13] = [
    ("types", &[]),
    ("api", &[]),
    ("sys", &["types"]),
    ("bundle", &["sys", "types"]),
    ("cgroup", &["sys", "types"]),
    ("config", &["sys", "types"]),
    ("images", &["sys", "types"]),
    ("logs", &["sys", "types"]),
    ("oci", &["sys", "types"]),
    (
        "shim",
        &["bundle", "cgroup", "config", "logs", "oci", "sys", "types"],
    ),
    (
        "supervisor",
        &[
            "api", "bundle", "cgroup", "config", "images", "logs", "oci", "sys", "types",
        ],
    ),
    ("cli", &["api", "config", "images", "sys", "types"]),
    (
        "bin",
        &["cli", "config", "shim", "supervisor", "sys", "types"],
    ),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each file below src/ with its layer.
fn files() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found.sort();
    let files = found.into_iter().filter(|path| !path.ends_with("lib.rs"));
    let files: Vec<_> = files
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap().to_owned();
            let layer = relative.components().next().unwrap().as_os_str();
            let layer = layer.to_str().unwrap().to_owned();
            (relative, layer, fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(files.len() > 50, "only {} files were found", files.len());
    files
}

/// The layers that a file names, in `use` lines and elsewhere.
fn imports(text: &str) -> Vec<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let named = |prefix: &str| {
        code.split(prefix)
            .skip(1)
            .flat_map(|rest| {
                let (group, one) = match rest.strip_prefix('{') {
                    Some(group) => (group.split_once('}').unwrap().0, ""),
                    None => ("", rest),
                };
                let first = |path: &str| {
                    let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                    path[..end.unwrap_or(path.len())].to_owned()
                };
                let grouped = group.split(',').map(str::trim).map(first);
                grouped
                    .chain([first(one)])
                    .filter(|name| !name.is_empty())
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    [named("crate::"), named("outlive::")].concat()
}

#[test]
fn imports_point_down_only() {
    let layers: Vec<&str> = MAY_IMPORT.iter().map(|(layer, _)| *layer).collect();
    let mut wrong = Vec::new();
    for (path, layer, text) in files() {
        let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == layer);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{path:?} is in no known layer"));
        for import in imports(&text) {
            let is_layer = layers.contains(&import.as_str());
            if is_layer && import != layer && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::sys::wait;\nuse crate::{oci, types::Pid};\n// crate::bin\nlet x = crate::logs::run();\nuse outlive::shim;";
    assert_eq!(imports(text), ["sys", "oci", "types", "logs", "shim"]);
}

#[test]
fn the_vocabulary_does_no_io_and_knows_no_protobuf() {
    for (path, layer, text) in files() {
        if layer == "types" {
            for word in [
                "std::fs",
                "tokio",
                "async ",
                "protobuf",
                "containerd_shim_protos",
                "nix::",
                "libc::",
            ] {
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                assert!(!code.collect::<String>().contains(word), "{path:?}: {word}");
            }
        }
    }
}

#[test]
fn only_sys_has_unsafe_code() {
    for (path, layer, text) in files() {
        if layer != "sys" {
            assert!(
                !text.contains("unsafe {") && !text.contains("expect(unsafe_code"),
                "{path:?}"
            );
        }
    }
}

/// A pointer that is turned into a number without exposing its provenance gives the compiler leave to assume that the
/// kernel neither reads nor writes what it points to (`std::ptr`, "Provenance"): `expose_provenance`, or a typed pointer.
#[test]
fn no_address_is_taken_without_its_provenance() {
    for (path, _, text) in files() {
        for word in [".addr()", "without_provenance", "transmute", "as_ptr() as "] {
            assert!(!text.contains(word), "{path:?}: {word}");
        }
    }
}

/// These panic where no thread can be made (EAGAIN of clone(2)): `sys::worker` and `thread::Builder` do not.
#[test]
fn no_thread_is_made_by_a_call_that_panics() {
    for (path, _, text) in files() {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for call in ["spawn_blocking(", "thread::spawn(", "scope.spawn("] {
            let is_test = path.components().any(|part| part.as_os_str() == "tests");
            assert!(is_test || !code.contains(call), "{path:?}: {call}");
        }
    }
}

/// A child that another call starts would inherit what its parent ignores, and the parent's limit of open files.
#[test]
fn standard_commands_are_started_by_the_supervisors_program_alone() {
    for (path, layer, text) in files() {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        let is_known = is_test || layer == "cli" || path.ends_with("supervisor/program.rs");
        for call in [".spawn()", ".output()", ".status()?"] {
            let starts = code.contains("process::Command") && code.contains(call);
            assert!(is_known || !starts, "{path:?}: {call}");
        }
    }
}

#[test]
fn every_file_opens_with_what_it_owns_and_stays_readable() {
    for (path, layer, text) in files() {
        assert!(text.starts_with("//! "), "{path:?} has no opening");
        let limit = if layer == "bin" { 60 } else { 500 };
        let lines = text.lines().count();
        assert!(lines <= limit, "{path:?} has {lines} lines");
    }
}
