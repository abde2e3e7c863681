//! Every kind of archive, and which image of it is taken.

use std::fs;

use outlive::images::ImageError;
use serde_json::json;

use crate::archives::{Layout, Pack, Tar, docker_archive, layout, machine, tar_of};
use crate::place::{Place, shown};

const NAME: &str = "docker.io/library/app:1";

fn layers() -> Vec<Vec<u8>> {
    vec![
        Tar::new()
            .dir("etc/", 0o755)
            .file("etc/one", "1")
            .file("etc/both", "lower")
            .finish(),
        Tar::new()
            .dir("etc/", 0o755)
            .file("etc/both", &"upper ".repeat(100_000))
            .finish(),
    ]
}

/// The image is there, and its files are what they should be.
fn check(place: &Place) {
    let image = place.store().get("app:1").unwrap();
    assert_eq!(image.tags, [NAME]);
    assert_eq!(image.layers.len(), 2);
    assert!(image.size > 600_000, "{}", image.size);
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.user().as_deref(), Some("7:8"));
    let rootfs = place.mounted("app:1");
    assert_eq!(rootfs.names("etc"), ["both", "one"]);
    assert_eq!(rootfs.read("etc/both"), "upper ".repeat(100_000));
    assert_eq!(place.store().list().unwrap().len(), 1);
}

#[test]
fn an_oci_layout_loads_with_each_compression_of_its_layers() {
    for pack in Pack::ALL {
        let place = Place::new();
        layout(&place.path("layout"), NAME, &layers(), pack);
        let loaded = place.store().load(&place.path("layout"), None).unwrap();
        assert_eq!((loaded[0].unpacked, loaded[0].shared), (2, 0), "{pack:?}");
        check(&place);
        let image = place.store().get("app:1").unwrap();
        let digest = image.digests[0]
            .strip_prefix("docker.io/library/app@")
            .unwrap();
        for reference in [&image.digests[0], digest, &format!("app:other@{digest}")] {
            let found = place.store().get(reference).unwrap();
            assert_eq!(found.id, image.id, "{reference}");
        }
    }
}

#[test]
fn an_oci_archive_loads_plain_and_compressed() {
    for pack in Pack::ALL {
        let place = Place::new();
        layout(&place.path("layout"), NAME, &layers(), Pack::Gzip);
        let archive = pack.pack(&tar_of(&place.path("layout")));
        let archive = place.write("archive", &archive);
        place.store().load(&archive, None).unwrap();
        check(&place);
    }
}

#[test]
fn a_docker_archive_loads_plain_and_compressed() {
    for pack in Pack::ALL {
        let place = Place::new();
        let archive = pack.pack(&docker_archive(&["app:1"], &layers()));
        let archive = place.write("archive", &archive);
        place.store().load(&archive, None).unwrap();
        check(&place);
        let image = place.store().get("app:1").unwrap();
        let exact = format!("app@{}", image.id);
        assert_eq!(place.store().get(&exact).unwrap().id, image.id);
    }
}

#[test]
fn a_docker_archive_may_have_a_layer_twice_by_a_symbolic_link() {
    let place = Place::new();
    let mut layers = layers();
    layers.push(layers[0].clone());
    let archive = place.write("archive", &docker_archive(&["app:1"], &layers));
    let loaded = place.store().load(&archive, None).unwrap();
    assert_eq!((loaded[0].unpacked, loaded[0].shared), (2, 1));
    let rootfs = place.mounted("app:1");
    assert_eq!(rootfs.read("etc/both"), "lower");
}

#[test]
fn an_archive_out_of_a_pipe_loads() {
    let place = Place::new();
    let archive = docker_archive(&["app:1"], &layers());
    let fifo = place.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&fifo, &archive).unwrap());
        place.store().load(&fifo, None).unwrap();
    });
    check(&place);
}

#[test]
fn of_an_index_for_many_machines_the_image_for_this_one_is_taken() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let other = [Tar::new().file("other", "").finish()];
    let mut foreign = writer.manifest(&other, Pack::Plain, "s390x");
    foreign["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let mut windows = writer.manifest(&other, Pack::Plain, machine());
    windows["platform"] = json!({"os": "windows", "architecture": machine()});
    let mut attestation = writer.manifest(&other, Pack::Plain, "unknown");
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let own = writer.manifest(&layers(), Pack::Gzip, machine());
    // Without a platform in the index, the configuration tells.
    let hidden = writer.manifest(&other, Pack::Plain, "riscv64");
    let index = writer.index(&[attestation, foreign, windows, hidden, own]);
    let index = writer.index(&[index]);
    writer.add(index, NAME).finish();
    place.store().load(&directory, None).unwrap();
    check(&place);
}

#[test]
fn an_image_is_found_by_the_digest_of_its_manifest_and_of_its_index() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let own = writer.manifest(&layers(), Pack::Gzip, machine());
    let index = writer.index(std::slice::from_ref(&own));
    writer.add(index.clone(), NAME).finish();
    place.store().load(&directory, None).unwrap();
    let image = place.store().get(NAME).unwrap();
    assert_eq!(image.digests.len(), 2, "{:?}", image.digests);
    let (repository, _) = NAME.rsplit_once(':').unwrap();
    for descriptor in [&own, &index] {
        let digest = descriptor["digest"].as_str().unwrap();
        for reference in [
            digest.to_owned(),
            format!("{repository}@{digest}"),
            format!("{NAME}@{digest}"),
        ] {
            let found = place.store().get(&reference);
            assert_eq!(found.unwrap().id, image.id, "{reference}");
        }
    }
}

#[test]
fn an_image_for_other_machines_is_refused_with_what_there_is() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let foreign = writer.manifest(&layers(), Pack::Plain, "s390x");
    writer.add(foreign, NAME).finish();
    let refused = place.store().load(&directory, None).unwrap_err();
    let text = shown(&refused);
    assert!(
        text.contains("linux/s390x") && text.contains(machine()),
        "{text}"
    );
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn names_come_from_annotations_or_the_caller() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let mut manifest = writer.manifest(&layers(), Pack::Plain, machine());
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "quay.io/me/app:2"});
    let mut again = manifest.clone();
    again["annotations"] = json!({"org.opencontainers.image.ref.name": "app:3"});
    writer.add_as_it_is(manifest).add_as_it_is(again).finish();
    let loaded = place.store().load(&directory, None).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(
        loaded[0].tags,
        ["docker.io/library/app:3", "quay.io/me/app:2"]
    );

    // A tag alone is no name.
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let mut manifest = writer.manifest(&layers(), Pack::Plain, machine());
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    writer.add_as_it_is(manifest).finish();
    let loaded = place.store().load(&directory, None).unwrap();
    assert_eq!(loaded[0].tags, [""; 0]);
    let id = loaded[0].id.clone();
    assert_eq!(place.store().get(&id[..20]).unwrap().id, id);
    let loaded = place.store().load(&directory, Some("app:1")).unwrap();
    assert_eq!((loaded[0].unpacked, loaded[0].shared), (0, 2));
    check(&place);
}

#[test]
fn one_name_for_two_images_is_refused() {
    let place = Place::new();
    let directory = place.path("layout");
    let mut writer = Layout::new(&directory);
    let one = writer.manifest(&layers()[..1], Pack::Plain, machine());
    let two = writer.manifest(&layers(), Pack::Plain, machine());
    writer.add(one, "a").add(two, "b").finish();
    let refused = place.store().load(&directory, Some("c")).unwrap_err();
    assert!(shown(&refused).contains("2 images"), "{refused}");
    let loaded = place.store().load(&directory, None).unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!((loaded[0].unpacked, loaded[1].unpacked), (1, 1));
}

#[test]
fn what_is_no_image_archive_is_refused_by_name() {
    let place = Place::new();
    let store = place.store();
    fs::create_dir(place.path("empty")).unwrap();
    let other = Tar::new().file("file", "x").finish();
    for path in [place.path("empty"), place.write("other.tar", &other)] {
        let refused = store.load(&path, None).unwrap_err();
        assert!(matches!(refused, ImageError::Format { .. }), "{refused:?}");
    }
    let text = place.write("text", &b"no archive at all ".repeat(100));
    let refused = shown(&store.load(&text, None).unwrap_err());
    assert!(refused.contains("no tar archive"), "{refused}");
    let missing = store.load(&place.path("none"), None).unwrap_err();
    assert!(matches!(missing, ImageError::Io { .. }), "{missing:?}");
    let wrong_name = store.load(&text, Some("No Name")).unwrap_err();
    assert!(
        matches!(wrong_name, ImageError::Reference(_)),
        "{wrong_name:?}"
    );
}
