//! Archives that want out of their layer.

use std::fs;

use tar::EntryType;

use crate::archives::Tar;
use crate::place::{Place, names, shown};

/// What must stay as it is.
fn outside(place: &Place) -> String {
    fs::create_dir_all(place.path("outside")).unwrap();
    fs::write(place.path("outside/victim"), "untouched").unwrap();
    place.path("outside").to_str().unwrap().to_owned()
}

fn untouched(place: &Place) {
    assert_eq!(names(&place.path("outside")), ["victim"]);
    let victim = fs::read_to_string(place.path("outside/victim")).unwrap();
    assert_eq!(victim, "untouched");
    assert_eq!(
        fs::metadata(place.path("outside/victim"))
            .map(|file| {
                use std::os::unix::fs::MetadataExt;
                file.nlink()
            })
            .unwrap(),
        1
    );
}

#[test]
fn a_name_with_two_dots_is_refused_wherever_it_is() {
    let place = Place::new();
    outside(&place);
    let up = "../../../../outside/new";
    for layer in [
        Tar::new().file(up, "x").finish(),
        Tar::new().file("a/../../b", "x").finish(),
        Tar::new().dir("..", 0o777).finish(),
        Tar::new().file("../.wh.victim", "").finish(),
        Tar::new()
            .hard_link("a", "../../../../outside/victim")
            .finish(),
        Tar::new()
            .pax(&[("path", up.as_bytes())])
            .file("short", "x")
            .finish(),
    ] {
        let refused = shown(&place.load("app", &[layer]).unwrap_err());
        assert!(refused.contains("leads out"), "{refused}");
        assert_eq!(place.left(), [""; 0]);
    }
    untouched(&place);
}

#[test]
fn an_absolute_name_stays_in_the_layer() {
    let place = Place::new();
    let outside = outside(&place);
    let layer = Tar::new()
        .pax(&[("path", format!("{outside}/victim").as_bytes())])
        .file("short", "inside")
        .pax(&[("linkpath", format!("{outside}/victim").as_bytes())])
        .hard_link("again", "short")
        .finish();
    place.load("app", &[layer]).unwrap();
    untouched(&place);
    let root = place.files("app", 0);
    assert_eq!(fs::read_to_string(root.join("again")).unwrap(), "inside");
    assert!(root.join(&outside[1..]).join("victim").exists());
}

#[test]
fn a_write_through_a_symbolic_link_stays_in_the_layer() {
    let place = Place::new();
    let outside = outside(&place);
    for (target, inside) in [
        (outside.as_str(), outside[1..].to_owned()),
        ("../../../../../../../outside", "outside".to_owned()),
        ("../../..", String::new()),
        ("/", String::new()),
    ] {
        let layer = Tar::new()
            .pax(&[("linkpath", target.as_bytes())])
            .symlink("link", "x")
            .file("link/new", "through the link")
            .dir("link/dir/", 0o777)
            .file("link/.wh.victim", "")
            .finish();
        place.load("app", &[layer]).unwrap();
        untouched(&place);
        let root = place.files("app", 0);
        assert!(root.join("link").is_symlink(), "{target}");
        let new = root.join(&inside).join("new");
        assert_eq!(fs::read_to_string(new).unwrap(), "through the link");
        place.store().remove("app").unwrap();
    }
}

#[test]
fn a_link_in_a_lower_layer_leads_nowhere_else_either() {
    let place = Place::new();
    let outside = outside(&place);
    let lower = Tar::new()
        .pax(&[("linkpath", outside.as_bytes())])
        .symlink("link", "x")
        .finish();
    let upper = Tar::new()
        .file("link/new", "x")
        .file("link/.wh.victim", "")
        .finish();
    place.load("app", &[lower, upper]).unwrap();
    untouched(&place);
    let theft = Tar::new().hard_link("stolen", "link/victim").finish();
    let lower = Tar::new()
        .pax(&[("linkpath", outside.as_bytes())])
        .symlink("link", "x")
        .finish();
    let refused = shown(&place.load("thief", &[lower, theft]).unwrap_err());
    assert!(refused.contains("no file of the image"), "{refused}");
    untouched(&place);
}

#[test]
fn a_directory_that_became_a_link_does_not_pass_on_its_time() {
    let place = Place::new();
    let outside = outside(&place);
    let before = fs::metadata(&outside).unwrap().modified().unwrap();
    let layer = Tar::new()
        .dir("a/", 0o777)
        .dir("a/b/", 0o777)
        .dir("a/b/c/", 0o777)
        .pax(&[("linkpath", outside.as_bytes())])
        .symlink("a/b", "x")
        .finish();
    place.load("app", &[layer]).unwrap();
    assert_eq!(fs::metadata(&outside).unwrap().modified().unwrap(), before);
    untouched(&place);
}

#[test]
fn a_file_is_not_written_through_a_link_of_its_name() {
    let place = Place::new();
    let outside = outside(&place);
    let victim = format!("{outside}/victim");
    let layer = Tar::new()
        .pax(&[("linkpath", victim.as_bytes())])
        .symlink("a", "x")
        .file("a", "mine")
        .pax(&[("linkpath", victim.as_bytes())])
        .symlink("b", "x")
        // A hard link to the symbolic link, and then a write to that.
        .hard_link("c", "b")
        .member(
            EntryType::Regular,
            "c",
            |header| header.set_mode(0o777),
            b"mine",
        )
        .finish();
    place.load("app", &[layer]).unwrap();
    untouched(&place);
    let root = place.files("app", 0);
    assert!(root.join("b").is_symlink() && !root.join("c").is_symlink());
}

#[test]
fn circles_and_depths_end() {
    let place = Place::new();
    let circle = Tar::new()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/file", "x")
        .finish();
    let refused = shown(&place.load("app", &[circle]).unwrap_err());
    assert!(refused.contains("too many symbolic links"), "{refused}");
    let deep = "d/".repeat(300);
    let long = "n".repeat(5000);
    let component = format!("short/{}", "n".repeat(300));
    for (name, what) in [
        (deep, "too deep"),
        (long, "too long"),
        (component, "too long"),
    ] {
        let layer = Tar::new()
            .pax(&[("path", name.as_bytes())])
            .dir("x", 0o755)
            .finish();
        let refused = shown(&place.load("app", &[layer]).unwrap_err());
        assert!(refused.contains(what), "{refused}");
    }
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn blobs_of_a_layout_are_not_links_out_of_it() {
    let place = Place::new();
    let secret = Tar::new().file("secret", "x").finish();
    let outside = place.write("secret.tar", &secret);
    crate::archives::layout(
        &place.path("layout"),
        "app",
        std::slice::from_ref(&secret),
        crate::archives::Pack::Plain,
    );
    let digest = outlive::images::digest::Digest::of(&secret);
    let blob = place.path("layout/blobs/sha256").join(digest.hex());
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(outside, &blob).unwrap();
    assert!(place.store().load(&place.path("layout"), None).is_err());
    assert_eq!(place.left(), [""; 0]);
}
