//! Identifiers as containerd accepts them (containerd `pkg/identifiers/validate.go`): groups of ASCII letters and
//! digits, separated by one `.`, `_` or `-` each, at most 76 bytes. So no identifier can be a path that leads elsewhere.

use std::fmt;

/// The longest identifier containerd accepts, in bytes.
pub const MAX_ID_LEN: usize = 76;

/// Why a string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The string is empty.
    #[error("identifier must not be empty")]
    Empty,
    /// The string has more than [`MAX_ID_LEN`] bytes.
    #[error("identifier of {len} bytes is longer than {MAX_ID_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The string has a character that is not allowed, or a separator at an end or beside another.
    #[error("identifier {id:?} must be letters and digits, separated by single '.', '_' or '-'")]
    Malformed {
        /// The string.
        id: String,
    },
}

fn validate(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > MAX_ID_LEN {
        return Err(IdError::TooLong { len: id.len() });
    }
    let groups_are_sound = id
        .split(['.', '_', '-'])
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if groups_are_sound {
        Ok(())
    } else {
        Err(IdError::Malformed { id: id.to_owned() })
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Validates `id`.
            ///
            /// # Errors
            /// [`IdError`] says what is wrong with it.
            pub fn new(id: &str) -> Result<Self, IdError> {
                validate(id)?;
                Ok(Self(id.into()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier! {
    /// The id of a container, and so of its task.
    ContainerId
}
identifier! {
    /// The id of a further process in a container.
    ExecId
}
identifier! {
    /// A containerd namespace.
    Namespace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containerd_accepts_is_accepted() {
        for id in ["a", "redis-1", "0.1_2-3", &"f".repeat(76)] {
            assert_eq!(
                ContainerId::new(id).map(|id| id.to_string()),
                Ok(id.to_owned())
            );
        }
    }

    #[test]
    fn what_could_leave_the_directory_is_refused() {
        for id in [
            "..", "../x", "a/b", ".a", "a.", "a..b", "a b", "ä", "a\0", "-",
        ] {
            assert!(
                matches!(ContainerId::new(id), Err(IdError::Malformed { .. })),
                "{id:?}"
            );
        }
        assert_eq!(ExecId::new(""), Err(IdError::Empty));
        assert_eq!(
            ExecId::new(&"f".repeat(77)),
            Err(IdError::TooLong { len: 77 })
        );
    }
}
