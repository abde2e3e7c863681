//! What `skopeo copy .. dir:DIRECTORY` writes (containers/image, docs/containers-transports.5.md, "dir"): a manifest, and
//! beside it the configuration and the layers, each called by the digits of its digest. With `--all` the manifest is an
//! index, and the manifests that it lists are called `HEX.manifest.json` (directory/directory_transport.go).

use super::ImageError;
use super::archive::Archive;
use super::described::Described;
use super::digest::Digest;
use super::oci::{Source, image_of};

const VERSION: &str = "version";
const MANIFEST: &str = "manifest.json";

/// What the file `version` begins with.
const MARK: &[u8] = b"Directory Transport Version: ";

/// The image of the directory, which has no name there; `None` where the archive is of another kind.
pub(super) fn images(archive: &Archive) -> Result<Option<Vec<Described>>, ImageError> {
    let version = archive.document(VERSION)?;
    if !version.is_some_and(|version| version.starts_with(MARK)) {
        return Ok(None);
    }
    let source = Source {
        archive,
        blob: |digest: &Digest| digest.hex().to_owned(),
        manifest: |digest: &Digest| format!("{}.manifest.json", digest.hex()),
    };
    Ok(Some(vec![image_of(source, MANIFEST)?]))
}
