//! Which name belongs to which container or pod: names are unique among those that are there or on their way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::types::ContainerId;

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A container.
    Container,
    /// A pod.
    Pod,
}

/// The name belongs to another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} is taken by {holder}")]
pub struct NameTaken {
    /// The name.
    pub name: String,
    /// Whose it is.
    pub holder: ContainerId,
}

type Table = Arc<Mutex<HashMap<(Kind, String), ContainerId>>>;

/// The index.
#[derive(Debug, Default)]
pub struct Names(Table);

/// A name that is held until this is dropped.
#[derive(Debug)]
pub struct NameLease {
    table: Table,
    key: (Kind, String),
}

impl Names {
    /// Takes `name` for `id`; whoever keeps the lease has the name.
    ///
    /// # Errors
    /// [`NameTaken`] says by whom.
    pub fn take(&self, kind: Kind, name: &str, id: &ContainerId) -> Result<NameLease, NameTaken> {
        let key = (kind, name.to_owned());
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = table.get(&key) {
            return Err(NameTaken {
                name: name.to_owned(),
                holder: holder.clone(),
            });
        }
        table.insert(key.clone(), id.clone());
        Ok(NameLease {
            table: Arc::clone(&self.0),
            key,
        })
    }
}

impl Drop for NameLease {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_again_when_its_lease_is_gone() {
        let names = Names::default();
        let id = |text| ContainerId::new(text).unwrap();
        let lease = names.take(Kind::Pod, "web", &id("a")).unwrap();
        let taken = names.take(Kind::Pod, "web", &id("b")).unwrap_err();
        assert_eq!(taken.holder, id("a"));
        let other_kind = names.take(Kind::Container, "web", &id("c"));
        assert!(other_kind.is_ok());
        drop(lease);
        assert!(names.take(Kind::Pod, "web", &id("b")).is_ok());
    }
}
