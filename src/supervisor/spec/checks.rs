//! Checks that many fields share: paths, enumerations, text that becomes part of a C string.

use std::path::{Component, Path, PathBuf};

use super::SpecError;

/// `path` from the root on, without `.`, `..` and doubled slashes: where it leads when nothing on it is a link.
pub(super) fn absolute(field: &str, path: &str) -> Result<PathBuf, SpecError> {
    text(field, path)?;
    if !path.starts_with('/') {
        return Err(SpecError::invalid(
            field,
            format!("{path:?} is not an absolute path"),
        ));
    }
    let mut clean = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

/// `text` without a zero byte, which would end it where the kernel takes it.
pub(super) fn text(field: &str, text: &str) -> Result<(), SpecError> {
    if text.contains('\0') {
        return Err(SpecError::invalid(field, "it has a zero byte"));
    }
    Ok(())
}

/// A protobuf enumeration's value; such a field holds any number.
pub(super) fn enumeration<T: TryFrom<i32>>(field: &str, number: i32) -> Result<T, SpecError> {
    T::try_from(number)
        .map_err(|_| SpecError::invalid(field, format!("{number} is no value of it")))
}

/// A user or group id. The greatest number means "none" to the kernel (chown(2)).
pub(super) fn id(field: &str, number: i64) -> Result<u32, SpecError> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| SpecError::invalid(field, format!("{number} is no id")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cleaned_as_far_as_its_text_goes() {
        assert_eq!(absolute("f", "//a/./b/../c/").unwrap(), Path::new("/a/c"));
        assert_eq!(absolute("f", "/../..").unwrap(), Path::new("/"));
        assert!(absolute("f", "a").is_err());
        assert!(absolute("f", "").is_err());
        assert!(absolute("f", "/a\0b").is_err());
    }

    #[test]
    fn minus_one_is_no_id_in_any_width() {
        assert_eq!(id("f", 0).unwrap(), 0);
        assert_eq!(id("f", 4_294_967_294).unwrap(), 4_294_967_294);
        for number in [-1, 4_294_967_295, i64::MAX, i64::MIN] {
            assert!(id("f", number).is_err(), "{number}");
        }
    }
}
