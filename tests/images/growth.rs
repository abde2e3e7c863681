//! What a load costs grows with its members, and not with their square.

use std::fmt::Write as _;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::archives::{Layout, Pack, Tar, machine};
use crate::place::Place;

/// Thousands of members; the time for each is compared with that of the first size.
const SIZES: [usize; 4] = [5_000, 10_000, 20_000, 40_000];

/// How much more one member of a larger archive may cost: half as much again is noise, and eight times is a square.
const MOST: f64 = 3.0;

/// How long this thread has used a processor: other programs do not change it.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Asserts that `work` of each size costs the same per member.
fn assert_linear(what: &str, mut work: impl FnMut(usize) -> Duration) {
    let (mut first, mut seen) = (None, String::new());
    for size in SIZES {
        let each = work(size).as_secs_f64() / size as f64;
        let first = *first.get_or_insert(each);
        write!(seen, " {size}: {:.1} us each;", each * 1e6).unwrap();
        assert!(each < first * MOST, "{what}:{seen}");
    }
}

/// What loading a layer of `members` costs.
fn cost_of(layers: &[Vec<u8>]) -> Duration {
    let place = Place::new();
    place.tmpfs("images", "256m");
    let before = used();
    place.load("app", layers).unwrap();
    used() - before
}

#[test]
fn a_file_that_is_replaced_beside_many_directories_costs_the_same_each_time() {
    assert_linear("replaced files", |size| {
        let mut layer = Tar::new();
        for number in 0..size / 2 {
            let directory = format!("{number}/");
            layer = layer.dir(&directory, 0o755).file("file", "");
        }
        cost_of(&[layer.finish()])
    });
}

#[test]
fn a_directory_that_is_replaced_beside_many_others_costs_the_same_each_time() {
    assert_linear("replaced directories", |size| {
        let mut layer = Tar::new();
        for number in 0..size / 2 {
            layer = layer.dir(&format!("a{number}/"), 0o755);
        }
        for number in 0..size / 2 {
            layer = layer.file(&format!("a{number}"), "");
        }
        cost_of(&[layer.finish()])
    });
}

#[test]
fn an_index_of_many_names_costs_the_same_for_each() {
    let layer = Tar::new().file("file", "").finish();
    assert_linear("names in an index", |size| {
        // A document has 4 MiB at most.
        let size = size / 4;
        let place = Place::new();
        let directory = place.path("layout");
        let mut layout = Layout::new(&directory);
        let own = layout.manifest(std::slice::from_ref(&layer), Pack::Plain, machine());
        let foreign = json!({"architecture": "s390x", "os": "linux"});
        for number in 0..size / 2 {
            layout.add(own.clone(), &format!("a:{number}"));
            let mut other = own.clone();
            other["platform"] = foreign.clone();
            layout.add(other, &format!("a:{number}"));
        }
        layout.finish();
        let before = used();
        let loaded = place.store().load(&directory, None).unwrap();
        assert_eq!(loaded[0].tags.len(), size / 2);
        // The names go from one image to the same one again.
        place.store().load(&directory, None).unwrap();
        used() - before
    });
}
