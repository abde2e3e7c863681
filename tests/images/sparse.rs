//! Files with holes, in each way that GNU tar has to write them.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use tar::{Builder, EntryType, Header};

use crate::archives::Tar;
use crate::place::{Place, shown};

/// A file of 40 MiB with some bytes in each MiB but the last: more parts than one block of a map has room for.
fn make(path: &Path) -> Vec<u8> {
    let file = File::create(path).unwrap();
    for number in 0..39_u64 {
        let text = format!("part {number}");
        file.write_all_at(text.as_bytes(), (number << 20) + number)
            .unwrap();
    }
    file.set_len(40 << 20).unwrap();
    fs::read(path).unwrap()
}

#[test]
fn each_form_of_a_sparse_file_is_unpacked_with_its_holes() {
    let formats = [
        "--format=gnu",
        "--format=posix --sparse-version=0.0",
        "--format=posix --sparse-version=0.1",
        "--format=posix --sparse-version=1.0",
    ];
    for format in formats {
        let place = Place::new();
        fs::create_dir_all(place.path("files/dir")).unwrap();
        let expected = make(&place.path("files/dir/sparse"));
        fs::write(place.path("files/dir/after"), "after").unwrap();
        let archive = place.path("layer.tar");
        let mut tar = Command::new("tar");
        tar.args(["--sparse", "-cf"]).arg(&archive).arg("-C");
        tar.arg(place.path("files")).args(format.split(' '));
        let made = tar.args(["dir/sparse", "dir/after"]).status().unwrap();
        assert!(made.success(), "{format}");
        let layer = fs::read(&archive).unwrap();
        assert!(layer.len() < 1 << 20, "{format}: the archive is sparse");
        place.load("app", &[layer]).unwrap();
        let files = place.files("app", 0);
        let sparse = files.join("dir/sparse");
        assert!(fs::read(&sparse).unwrap() == expected, "{format}");
        assert!(
            fs::metadata(&sparse).unwrap().blocks() * 512 < 4 << 20,
            "{format}"
        );
        assert_eq!(
            fs::read_to_string(files.join("dir/after")).unwrap(),
            "after"
        );

        // A hard link in a layer above copies the file, and its holes.
        let link = Tar::new().hard_link("link", "dir/sparse").finish();
        let layer = fs::read(&archive).unwrap();
        place.load("app", &[layer, link]).unwrap();
        let link = place.files("app", 1).join("link");
        assert!(fs::read(&link).unwrap() == expected, "{format}");
        assert!(
            fs::metadata(&link).unwrap().blocks() * 512 < 4 << 20,
            "{format}"
        );
    }
}

/// A layer of one file in the old GNU format that has `content` at `offset`.
fn layer(size: u64, offset: u64, content: &[u8]) -> Vec<u8> {
    let octal = |field: &mut [u8; 12], number: u64| {
        field.copy_from_slice(format!("{number:011o}\0").as_bytes());
    };
    let mut header = Header::new_gnu();
    header.set_path("file").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(content.len() as u64);
    let gnu = header.as_gnu_mut().unwrap();
    octal(&mut gnu.sparse[0].offset, offset);
    octal(&mut gnu.sparse[0].numbytes, content.len() as u64);
    // A number of more than 33 bits is binary.
    gnu.realsize = [0; 12];
    gnu.realsize[0] = 0x80;
    gnu.realsize[4..].copy_from_slice(&size.to_be_bytes());
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn a_hole_takes_no_disk_and_a_map_that_cannot_be_is_refused() {
    let place = Place::new();
    place
        .load("app", &[layer(5 << 30, 4 << 30, b"end")])
        .unwrap();
    let file = fs::metadata(place.files("app", 0).join("file")).unwrap();
    assert_eq!(file.len(), 5 << 30);
    assert!(file.blocks() * 512 < 1 << 20, "{}", file.blocks());
    for wrong in [layer(600 << 30, 0, b"x"), layer(4, 3, b"xy")] {
        let refused = shown(&place.load("wrong", &[wrong]).unwrap_err());
        assert!(refused.contains("GNU.sparse"), "{refused}");
    }
}
