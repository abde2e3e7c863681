//! `report.html` and `report.json` as files.

use std::fs;
use std::path::Path;

use crate::example;
use crate::history::{Report, Run};
use crate::report::{self, page, runs};

/// Every `start`s rest until `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    let rests = text.split(start).skip(1);
    rests
        .filter_map(|rest| rest.split_once(end))
        .map(|(inside, _)| inside)
        .collect()
}

#[test]
fn both_files_are_written_over_earlier_ones() {
    let report = example::report();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    report::write(&Report::default(), &dir).unwrap();
    report::write(&report, &dir).unwrap();
    let html = fs::read_to_string(dir.join("report.html")).unwrap();
    assert_eq!(html, page::html(&report));
    let json = fs::read(dir.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), report.runs.len());
    assert_eq!(json["runs"][0]["marks"][0]["kind"], "killed");
}

#[test]
fn foreign_text_is_text() {
    let html = page::html(&example::report());
    for wrong in ["alert('x')", "<img", "<i>x</i>", "<b>unknown</b>", "\u{1b}"] {
        assert!(!html.contains(wrong), "{wrong:?}");
    }
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    assert_eq!(html.matches("<script").count(), 1);
}

#[test]
fn the_page_needs_no_other_file() {
    let html = page::html(&example::report());
    for wrong in ["http:", "https:", "src=", "@import", "<link"] {
        let parts = html.replace("&lt;img src=x", "");
        assert!(!parts.contains(wrong), "{wrong}");
    }
}

#[test]
fn every_link_has_an_aim_and_every_aim_one_name() {
    let html = page::html(&example::report());
    let aims = between(&html, " href='#", "'");
    assert!(aims.len() >= 6, "{aims:?}");
    for aim in aims {
        assert_eq!(html.matches(&format!(" id={aim} ")).count(), 1, "{aim}");
    }
}

#[test]
fn a_peer_has_its_due() {
    let html = page::html(&example::report());
    let comparison = between(&html, "<table class=comparison>", "</table>");
    let [comparison] = comparison[..] else {
        panic!("{} tables", comparison.len())
    };
    let row = |name: &str| {
        let mut rows = comparison.split("<tr>");
        let row = rows.find(|row| row.contains(name)).unwrap();
        let cells = row.split("<td").skip(2);
        cells
            .map(|cell| cell.split_once('>').unwrap().1.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(row("2 nothing lost")[1], "holds, 72 checked");
    assert_eq!(row("4 exit")[0], "holds, 64 checked");
    assert!(
        row("4 exit")[1].contains(">loses, 2 of 80</a>"),
        "{:?}",
        row("4 exit")
    );
    assert_eq!(row("8 writes")[0], "not checked");
    assert!(row("8 writes")[1].contains(">loses, 40 of 40</a>"));
    assert_eq!(row("11 nobody"), ["not checked"; 3]);
    assert!(html.contains("create::after_record, create::before_start, remove::half, stop::signalled, which other targets met"));
}

#[test]
fn the_violated_come_first_and_open() {
    let report = example::report();
    assert_eq!(runs::order(&report.runs), [4, 5, 2, 0, 1, 3, 6, 7]);
    let html = page::html(&report);
    let heads = between(&html, "<details class='run ", ">");
    assert_eq!(heads.len(), report.runs.len());
    for head in heads {
        assert_eq!(
            head.starts_with("violated"),
            head.ends_with(" open"),
            "{head}"
        );
    }
    let judged = [example::violated("a peer"), example::violated("outlive")];
    assert_eq!(runs::order(&judged), [1, 0]);
}

#[test]
fn a_failed_run_has_what_repeats_it() {
    let html = page::html(&example::report());
    assert!(html.contains("seed <code>8675309</code>"));
    assert!(html.contains("<li><code>kill -9 of the init of a-2 &amp; wait</code>"));
    assert!(html.contains("again: <code>make recover ARGS=&#39;--target containerd 2.x + runc"));
    assert!(html.contains("losetup: cannot find"));
}

#[test]
fn a_report_of_nothing_says_so() {
    let html = page::html(&Report::default());
    assert!(html.contains("NOTHING CHECKED"));
    assert!(html.contains("There was no run."));
    let empty = Run::default();
    let html = page::html(&Report {
        runs: vec![empty],
        ..Report::default()
    });
    assert!(html.contains("Nothing in this run has a time."));
    assert!(html.contains("none was timed"));
}

#[test]
fn a_page_of_many_runs_stays_small_and_says_what_it_leaves_out() {
    let torture = example::torture("outlive", 300, 900);
    let mut report = Report {
        runs: vec![torture; 200],
        ..Report::default()
    };
    report.runs.push(example::violated("outlive"));
    let html = page::html(&report);
    assert!(html.len() < 5_000_000, "{}", html.len());
    assert!(html.contains("runs without a drawing, so"));
    assert_eq!(
        html.matches("<details class='run ").count(),
        report.runs.len()
    );
    let few = runs::section(&report.runs, 40_000);
    assert!(few.len() < 45_000, "{}", few.len());
    assert!(few.contains(" runs not shown, so"), "{few}");
    assert!(few.contains("id=run-200 "));
}
