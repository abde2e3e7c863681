//! `report.json`, `summary.md` and the charts as files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::example;
use crate::measure::Findings;
use crate::report::{self, Report, summary};

/// Writes the example over a report of nothing, with an earlier chart beside it.
fn written(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (machine, findings) = (example::machine(), example::findings());
    let report = example::report(&machine, &findings);
    let nothing = Findings::default();
    let empty = Report {
        findings: &nothing,
        ..report
    };
    report::write(&empty, &dir).unwrap();
    fs::write(dir.join("charts/earlier.svg"), "<svg/>").unwrap();
    report::write(&report, &dir).unwrap();
    dir
}

#[test]
fn what_was_there_is_replaced() {
    let dir = written("bench-files");
    let entries = fs::read_dir(dir.join("charts")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let expected = ["call", "hang", "life", "many.memory", "memory", "output"];
    assert_eq!(names, expected.map(|name| format!("{name}.svg")));
}

#[test]
fn report_json_has_every_value_and_what_was_made_of_it() {
    let text = fs::read(written("bench-json").join("report.json")).unwrap();
    let json: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["command"], "make bench ONLY='life'");
    assert_eq!(json["is_quick"], false);
    assert_eq!(json["machine"]["cpus"], 2);
    assert_eq!(json["machine"]["versions"]["crun"], "not there");
    let own = &json["measures"][1];
    assert_eq!(
        (&own["id"], &own["unit"]),
        (&"life.own".into(), &"ms".into())
    );
    assert_eq!(own["series"][0]["who"], "outlive");
    assert_eq!(own["series"][0]["values"].as_array().unwrap().len(), 7);
    for name in ["median", "min", "p90"] {
        assert!(own["series"][0][name].is_number(), "{name}");
    }
    assert_eq!(own["ratios"][0]["to"], "go");
    assert_eq!(own["ratios"][0]["is_by_round"], true);
    assert_eq!(own["targets"][0]["met"], true);
    assert_eq!(own["targets"][1]["met"], false);
    assert_eq!(own["targets"][1]["limit"], 0.2);
    let missing = &json["measures"][2]["targets"][0];
    assert_eq!(
        (&missing["met"], &missing["reached"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(missing["not_measured"], "rust was skipped");
    assert_eq!(json["measures"][2]["series"][2]["median"], Value::Null);
    let curve = &json["curves"][0];
    assert_eq!(curve["series"][1]["fit"]["r2"], 1.0);
    assert_eq!(curve["series"][1]["per_container"]["most"], 200.0);
    assert_eq!(curve["targets"][0]["met"], true);
    assert_eq!(json["skipped"][0]["what"], "hang.state: go");
}

/// The cells of the row that begins like this.
fn row<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let mut lines = text.lines();
    let line = lines
        .find(|line| line.starts_with(&format!("| {start}")))
        .unwrap();
    let inside = line.trim_start_matches("| ").trim_end_matches(" |");
    inside.split(" | ").collect()
}

#[test]
fn summary_has_this_project_first_and_the_ratios_last() {
    let text = fs::read_to_string(written("bench-summary").join("summary.md")).unwrap();
    assert!(text.contains(
        "|  | outlive | go | rust | runc | outlive / go | outlive / rust | outlive / runc |\n"
    ));
    let life = row(&text, "a container's life, ms");
    assert_eq!(
        life,
        [
            "a container's life, ms",
            "38.8",
            "85.7",
            "61.9",
            "31.3",
            "0.452",
            "0.626",
            "1.24"
        ]
    );
    assert_eq!(
        row(&text, "threads"),
        ["threads", "1", "11", "–", "0", "0.0909", "–", "–"]
    );
    let start = "`start` action, &lt;until> it answers & is gone";
    assert_eq!(row(&text, start)[0], format!("{start}, ms"));
    assert_eq!(row(&text, "200"), ["200", "389,000", "2,849,000"]);
    assert!(text.contains("| at most 0.2 × rust | 0.244 × rust | **no** |"));
    assert!(text.contains("| at most 0.6 × rust | – | not measured: rust was skipped |"));
    assert!(text.contains("- hang.state: go: no answer within 5 s \\| it waits\n"));
}

#[test]
fn every_row_of_a_table_has_as_many_cells_as_its_head() {
    let (machine, findings) = (example::machine(), example::findings());
    let text = summary::markdown(&example::report(&machine, &findings));
    let mut head = 0;
    for line in text.lines() {
        let cells = line.replace("\\|", "").matches('|').count();
        if !line.starts_with('|') {
            head = 0;
        } else if head == 0 {
            head = cells;
        } else {
            assert_eq!(cells, head, "{line}");
        }
    }
}

#[test]
fn a_report_of_nothing_is_only_its_machine() {
    let (machine, findings) = (example::machine(), Findings::default());
    let text = summary::markdown(&example::report(&machine, &findings));
    assert!(text.starts_with("Example &lt;CPU> & Co, 2 CPUs, 15.5 GiB, Linux 6.1.0-18-amd64; "));
    assert!(!text.contains("###"), "{text}");
}
