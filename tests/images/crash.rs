//! Writers that are killed in the middle.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outlive::images::ImageStore;

use crate::archives::{Tar, layout};
use crate::place::Place;

const ROOT: &str = "OUTLIVE_TEST_IMAGES";
const LAYOUT: &str = "OUTLIVE_TEST_LAYOUT";

/// Not a test: the process that is killed. It does nothing where nobody asks it to.
#[test]
fn child_that_loads() {
    let (Some(root), Some(layout)) = (std::env::var_os(ROOT), std::env::var_os(LAYOUT)) else {
        return;
    };
    ImageStore::new(root)
        .load(&PathBuf::from(layout), None)
        .unwrap();
}

fn loader(place: &Place) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_loads"])
        .env(ROOT, place.path("images"))
        .env(LAYOUT, place.path("layout"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn layers() -> Vec<Vec<u8>> {
    let one = Tar::new().file("one", "1").finish();
    let mut two = Tar::new();
    for number in 0..2_000 {
        two = two.file(&format!("file-{number}"), &"x".repeat(2_000));
    }
    vec![one, two.finish()]
}

#[test]
fn a_load_that_was_killed_is_cleaned_up_by_the_next() {
    let place = Place::new();
    layout(
        &place.path("layout"),
        "app",
        &layers(),
        crate::archives::Pack::Plain,
    );
    let mut child = loader(&place);
    // In the middle: files of a layer are there, and the layer is not.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = place.left();
        let on_its_way = left.iter().any(|name| name.starts_with(".work/1"));
        let begun = place.path("images/.work/1/layer/fs/file-10");
        if on_its_way && begun.exists() {
            break;
        }
        assert!(Instant::now() < deadline, "{left:?}");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it was too fast: {left:?}"
        );
        std::thread::yield_now();
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9));

    let store = place.store();
    assert_eq!(store.list().unwrap(), []);
    assert!(place.path("images/.work/1/layer/fs").exists());
    let loaded = store.load(&place.path("layout"), None).unwrap();
    // The first layer was whole, and is taken as it is.
    assert_eq!((loaded[0].unpacked, loaded[0].shared), (1, 1));
    assert_eq!(crate::place::names(&place.files("app", 1)).len(), 2_000);
    assert!(!place.left().iter().any(|name| name.starts_with(".work/")));
}

#[test]
fn what_a_killed_writer_left_goes_with_garbage_collection() {
    let place = Place::new();
    place.load("app", &layers()[..1]).unwrap();
    let images = place.path("images");
    fs::create_dir_all(images.join(".work/0/layer/fs/etc")).unwrap();
    fs::create_dir_all(images.join("layers/0123456789ab/fs")).unwrap();
    fs::write(images.join("configs/.half.tmp"), "{").unwrap();
    fs::write(images.join(".images.json.tmp"), "{").unwrap();
    let store = place.store();
    assert_eq!(store.gc(&HashSet::new()).unwrap().layers, 1);
    assert_eq!(place.left().len(), 2);
    place.load("other", &[]).unwrap();
    assert!(!images.join(".images.json.tmp").exists());
}

#[test]
fn a_pipe_whose_writer_dies_is_a_truncated_archive() {
    let place = Place::new();
    let archive = crate::archives::docker_archive(&["app"], &layers());
    let fifo = place.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut to = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
            to.write_all(&archive[..archive.len() / 2]).unwrap();
        });
        assert!(place.store().load(&fifo, None).is_err());
    });
    assert_eq!(place.left(), [""; 0]);
}
