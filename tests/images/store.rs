//! What is in the store, who sees it, and how it goes again.

use std::collections::HashSet;
use std::fs;

use outlive::images::{FsInfo, ImageError};

use crate::archives::{Layout, Pack, Tar, layout, machine};
use crate::place::{Place, shown};

fn image(number: usize) -> Vec<Vec<u8>> {
    let base = Tar::new().file("base", &"x".repeat(100_000)).finish();
    let own = Tar::new()
        .file("own", &format!("{number}").repeat(50_000))
        .finish();
    vec![base, own]
}

#[test]
fn a_store_that_is_not_there_yet_is_empty() {
    let place = Place::new();
    let store = place.store();
    assert_eq!(store.list().unwrap(), []);
    assert_eq!(store.fs_info().unwrap(), FsInfo::default());
    assert_eq!(store.gc(&HashSet::new()).unwrap().layers, 0);
    assert!(matches!(
        store.get("busybox"),
        Err(ImageError::NotFound { .. })
    ));
    assert!(matches!(
        store.remove("busybox"),
        Err(ImageError::NotFound { .. })
    ));
    assert!(!place.path("images").exists());
}

#[test]
fn a_reader_sees_what_another_process_loaded_and_removed() {
    let place = Place::new();
    // Each has its own memory of the index, as two processes have.
    let (reader, writer) = (place.store(), place.store());
    assert_eq!(reader.list().unwrap(), []);
    place.load("one", &image(1)).unwrap();
    assert_eq!(reader.list().unwrap().len(), 1);
    place.load("two", &image(2)).unwrap();
    assert_eq!(reader.list().unwrap().len(), 2);
    let same = reader.list().unwrap();
    assert!(
        std::sync::Arc::ptr_eq(&same[0], &reader.list().unwrap()[0]),
        "nothing is read twice"
    );
    writer.remove("one").unwrap();
    let left = reader.list().unwrap();
    assert_eq!(left[0].tags, ["docker.io/library/two:latest"]);
    assert!(reader.get("one").is_err());
}

#[test]
fn an_image_is_found_by_every_word_for_it() {
    let place = Place::new();
    place.load("one", &image(1)).unwrap();
    place.load("quay.io/me/two:v2", &image(2)).unwrap();
    let store = place.store();
    let one = store.get("one").unwrap();
    let hex = one.id.strip_prefix("sha256:").unwrap();
    for word in [
        "one:latest",
        "library/one",
        "docker.io/library/one",
        &one.id,
        hex,
        &hex[..12],
        &one.id[..20],
        &one.digests[0],
    ] {
        assert_eq!(store.get(word).unwrap().id, one.id, "{word}");
    }
    for word in [
        "two",
        "quay.io/me/two",
        "one:other",
        "",
        "sha256:",
        "xyz",
        "../one",
    ] {
        let found = store.get(word);
        assert!(
            matches!(found, Err(ImageError::NotFound { .. })),
            "{word}: {found:?}"
        );
    }
    // With seventeen images, two ids begin with the same digit.
    for number in 3..18 {
        place.load(&format!("n{number}"), &image(number)).unwrap();
    }
    let all = store.list().unwrap();
    let first = |id: &str| id.as_bytes()[7];
    let twice = all
        .iter()
        .find(|one| {
            all.iter()
                .filter(|other| first(&other.id) == first(&one.id))
                .count()
                > 1
        })
        .unwrap();
    let digit = &twice.id[7..8];
    let ambiguous = store.get(digit);
    assert!(
        matches!(ambiguous, Err(ImageError::Ambiguous { .. })),
        "{ambiguous:?}"
    );
}

#[test]
fn a_name_is_one_image_s_only_and_the_other_stays_without() {
    let place = Place::new();
    let old = place.load("app", &image(1)).unwrap();
    let new = place.load("app", &image(2)).unwrap();
    let store = place.store();
    assert_eq!(store.get("app").unwrap().id, new.id);
    assert_eq!(store.get(&old.id).unwrap().tags, [""; 0]);
    assert_eq!((new.unpacked, new.shared), (1, 1));
    // And back again, without unpacking anything.
    let again = place.load("app", &image(1)).unwrap();
    assert_eq!((again.unpacked, again.shared), (0, 2));
    assert_eq!(store.get("app").unwrap().id, old.id);
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn names_go_one_by_one_and_the_image_with_the_last() {
    let place = Place::new();
    place.load("one", &image(1)).unwrap();
    place.load("two", &image(1)).unwrap();
    let store = place.store();
    let (image, left) = store.untag("one").unwrap();
    assert_eq!((image.tags.len(), left), (2, 1));
    assert!(store.get("one").is_err());
    assert_eq!(store.get("two").unwrap().id, image.id);
    let (_, left) = store.untag("two").unwrap();
    assert_eq!(left, 0);
    assert_eq!(store.list().unwrap(), []);
}

#[test]
fn garbage_is_what_neither_an_image_nor_a_container_has() {
    let place = Place::new();
    place.load("one", &image(1)).unwrap();
    place.load("two", &image(2)).unwrap();
    let store = place.store();
    let before = store.fs_info().unwrap();
    assert!(before.bytes > 150_000 && before.inodes >= 6, "{before:?}");
    let one = store.remove("one").unwrap();
    // A container still runs on it.
    let in_use: HashSet<String> = one.layers.iter().cloned().collect();
    assert_eq!(store.gc(&in_use).unwrap().layers, 0);
    let freed = store.gc(&HashSet::new()).unwrap();
    assert_eq!(freed.layers, 1);
    assert_eq!(store.fs_info().unwrap().bytes, before.bytes - freed.bytes);
    assert_eq!(place.mounted("two").names(""), ["base", "own"]);
    store.remove("two").unwrap();
    assert_eq!(store.gc(&HashSet::new()).unwrap().layers, 2);
    assert_eq!(place.left(), [""; 0]);
    assert_eq!(store.fs_info().unwrap(), FsInfo::default());
}

#[test]
fn damaged_content_is_refused_and_nothing_stays() {
    let place = Place::new();
    let directory = place.path("layout");
    layout(&directory, "app", &image(1), Pack::Gzip);
    let blobs = directory.join("blobs/sha256");
    let names: Vec<_> = crate::place::names(&blobs);
    assert_eq!(names.len(), 4);
    for name in names {
        let path = blobs.join(&name);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        let shorter = &good[..good.len() - 1];
        let longer = [&good[..], b"\n"].concat();
        for bad in [&flipped[..], shorter, &longer] {
            fs::write(&path, bad).unwrap();
            let refused = place.store().load(&directory, None).unwrap_err();
            let damaged = matches!(
                refused,
                ImageError::DigestMismatch { .. } | ImageError::SizeMismatch { .. }
            );
            assert!(damaged, "{}", shown(&refused));
            assert!(shown(&refused).contains(&name), "{}", shown(&refused));
            assert_eq!(place.left(), [""; 0]);
        }
        fs::remove_file(&path).unwrap();
        let missing = place.store().load(&directory, None).unwrap_err();
        assert!(
            matches!(missing, ImageError::Missing { .. }),
            "{}",
            shown(&missing)
        );
        fs::write(&path, good).unwrap();
    }
    assert_eq!(place.store().list().unwrap(), []);
    place.store().load(&directory, None).unwrap();
}

#[test]
fn a_layer_with_another_content_than_the_configuration_says_is_refused() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let (said, given) = (image(1), image(2));
    let config = crate::archives::config(&said, machine());
    let config = writer.blob(
        "application/vnd.oci.image.config.v1+json",
        &serde_json::to_vec(&config).unwrap(),
    );
    let layers: Vec<_> = given
        .iter()
        .map(|layer| writer.blob("application/vnd.oci.image.layer.v1.tar", layer))
        .collect();
    let manifest = serde_json::json!({"config": config, "layers": layers});
    let manifest = writer.blob("", &serde_json::to_vec(&manifest).unwrap());
    writer.add(manifest, "app").finish();
    let refused = place.store().load(&directory, None).unwrap_err();
    assert!(
        matches!(refused, ImageError::DigestMismatch { .. }),
        "{}",
        shown(&refused)
    );
    assert!(
        shown(&refused).contains("the content of"),
        "{}",
        shown(&refused)
    );
    // The first layer was right, and goes again with the image.
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn one_bad_image_of_an_archive_takes_the_others_with_it() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let good = writer.manifest(&image(1), Pack::Plain, machine());
    let escaping = [Tar::new().file("../x", "").finish()];
    let bad = writer.manifest(&escaping, Pack::Plain, machine());
    writer.add(good, "good").add(bad, "bad").finish();
    assert!(place.store().load(&directory, None).is_err());
    assert_eq!(place.store().list().unwrap(), []);
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn a_full_disk_is_said_and_nothing_stays_of_the_image() {
    let place = Place::new();
    place.tmpfs("images", "1m");
    place.load("small", &image(1)).unwrap();
    let before = place.left();
    let large = [Tar::new().file("large", &"x".repeat(2 << 20)).finish()];
    let refused = place.load("large", &large).unwrap_err();
    assert!(
        matches!(refused, ImageError::NoSpace { .. }),
        "{}",
        shown(&refused)
    );
    assert_eq!(place.left(), before);
    // An archive that is decompressed first is as large.
    let archive = crate::archives::docker_archive(&["large"], &large);
    let archive = place.write("archive", &Pack::Gzip.pack(&archive));
    let refused = place.store().load(&archive, None).unwrap_err();
    assert!(
        matches!(refused, ImageError::NoSpace { .. }),
        "{}",
        shown(&refused)
    );
    assert_eq!(place.left(), before);
    place.load("another", &image(2)).unwrap();
    assert_eq!(place.store().list().unwrap().len(), 2);
}

#[test]
fn two_writers_come_one_after_the_other() {
    let place = Place::new();
    place.load("app", &image(1)).unwrap();
    let store = place.store();
    let file = fs::File::open(place.path("images/lock")).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let begun = std::time::Instant::now();
    let refused = store.remove("app").unwrap_err();
    assert!(matches!(refused, ImageError::Busy { .. }), "{refused:?}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    // Readers do not wait.
    assert_eq!(store.list().unwrap().len(), 1);
    drop(lock);
    store.remove("app").unwrap();
    let stores: Vec<_> = (0..4).map(|_| place.store()).collect();
    let paths: Vec<_> = (0..4)
        .map(|number| {
            let path = place.path(&format!("layout-{number}"));
            layout(&path, &format!("app{number}"), &image(number), Pack::Gzip);
            path
        })
        .collect();
    std::thread::scope(|scope| {
        for (store, path) in stores.iter().zip(&paths) {
            scope.spawn(|| store.load(path, None).unwrap());
        }
    });
    assert_eq!(store.list().unwrap().len(), 4);
    assert_eq!(place.left().len(), 5 + 4);
}

#[test]
fn an_index_that_cannot_be_read_is_said_and_never_replaced() {
    let place = Place::new();
    place.load("app", &image(1)).unwrap();
    let path = place.path("images/images.json");
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        "",
        "{",
        r#"{"version":2,"images":[]}"#,
        r#"{"version":1,"images":[{"id":"sha256:x"}]}"#,
    ] {
        fs::write(&path, bad).unwrap();
        let store = place.store();
        for refused in [
            store.list().unwrap_err(),
            store.gc(&HashSet::new()).unwrap_err(),
            place.load("other", &image(2)).unwrap_err(),
        ] {
            assert!(
                matches!(refused, ImageError::Corrupt { .. }),
                "{bad}: {refused:?}"
            );
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
    fs::write(&path, good).unwrap();
    assert_eq!(place.store().get("app").unwrap().layers.len(), 2);
}

#[test]
fn a_damaged_configuration_hides_its_image_only() {
    let place = Place::new();
    let bad = place.load("bad", &image(1)).unwrap();
    place.load("good", &image(2)).unwrap();
    let hex = bad.id.strip_prefix("sha256:").unwrap();
    fs::write(place.path("images/configs").join(hex), "{}").unwrap();
    let images = place.store().list().unwrap();
    assert_eq!(images.len(), 1);
    // Loading it again mends it.
    place.load("bad", &image(1)).unwrap();
    assert_eq!(place.store().list().unwrap().len(), 2);
}
