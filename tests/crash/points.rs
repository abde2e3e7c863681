//! No point is forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The calls to a shim that change something, and Wait.
const CALLS: [&str; 6] = ["Create", "Start", "Kill", "Delete", "Shutdown", "Wait"];

fn named(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named(&path, found);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for kind in ["crash::point(\"", "crash::gate(\""] {
                    let names = line.split(kind).skip(1);
                    found.extend(names.map(|rest| rest.split('"').next().unwrap().to_owned()));
                }
            }
        }
    }
}

#[test]
fn every_point_in_the_source_has_a_case() {
    let mut wanted = BTreeSet::new();
    named(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/supervisor"),
        &mut wanted,
    );
    assert!(wanted.len() > 40, "only {wanted:?} were found");
    wanted.extend(CALLS.map(|call| format!("sent.{call}")));
    let tested: BTreeSet<String> = [
        crate::create::POINTS.to_vec(),
        crate::start::points(),
        crate::stop::points(),
        crate::remove::POINTS.to_vec(),
        crate::pods::points(),
        crate::network::points(),
        crate::recover::POINTS.to_vec(),
        crate::unattended::POINTS.to_vec(),
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    let without: Vec<_> = wanted.difference(&tested).collect();
    let unknown: Vec<_> = tested.difference(&wanted).collect();
    assert!(without.is_empty(), "no case for {without:?}");
    assert!(unknown.is_empty(), "no such point: {unknown:?}");
}
