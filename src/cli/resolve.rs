//! What a word on the command line names: a name, an id, or the beginning of an id that no other has.

use super::client::Client;
use super::error::Error;
use crate::api::cri;

/// Something with an id and a name.
pub trait Named {
    /// Its id.
    fn id(&self) -> &str;
    /// Its name; empty where it has none.
    fn name(&self) -> &str;
}

impl Named for cri::Container {
    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.name)
    }
}

impl Named for cri::PodSandbox {
    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.name)
    }
}

/// What is looked for, and where one sees what there is.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its word.
    pub name: &'static str,
    /// The command that lists them.
    pub see: &'static str,
}

/// Containers.
pub const CONTAINER: Kind = Kind {
    name: "container",
    see: "outlive ps -a",
};
/// Pods.
pub const POD: Kind = Kind {
    name: "pod",
    see: "outlive pods",
};

/// The one that `word` names. A whole id goes before a name, and a name before the beginning of an id.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Ambiguous`].
pub fn one<T: Named>(all: Vec<T>, word: &str, kind: Kind) -> Result<T, Error> {
    let has_id = |item: &T| item.id() == word;
    let has_name = |item: &T| item.name() == word;
    let has_prefix = |item: &T| !word.is_empty() && item.id().starts_with(word);
    let rules: [&dyn Fn(&T) -> bool; 3] = [&has_id, &has_name, &has_prefix];
    let rule = rules.into_iter().find(|rule| all.iter().any(rule));
    let Some(rule) = rule else {
        return Err(Error::NotFound {
            kind: kind.name,
            word: word.to_owned(),
            see: kind.see,
        });
    };
    let mut found: Vec<T> = all.into_iter().filter(|item| rule(item)).collect();
    match found.pop() {
        Some(item) if found.is_empty() => Ok(item),
        last => {
            let candidates = found.iter().chain(&last);
            let mut candidates: Vec<String> = candidates
                .map(|item| format!("{}  {}", item.id(), item.name()))
                .collect();
            candidates.sort();
            Err(Error::Ambiguous {
                word: word.to_owned(),
                candidates,
            })
        }
    }
}

/// The container that `word` names.
///
/// # Errors
/// Those of [`one`] and of the call.
pub async fn container(client: &Client, word: &str) -> Result<cri::Container, Error> {
    one(client.containers(None).await?, word, CONTAINER)
}

/// The pod that `word` names.
///
/// # Errors
/// Those of [`one`] and of the call.
pub async fn pod(client: &Client, word: &str) -> Result<cri::PodSandbox, Error> {
    one(client.pods(None).await?, word, POD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers() -> Vec<cri::Container> {
        let container = |id: &str, name: &str| cri::Container {
            id: id.to_owned(),
            metadata: Some(cri::ContainerMetadata {
                name: name.to_owned(),
                attempt: 0,
            }),
            ..Default::default()
        };
        vec![
            container("abc1", "web"),
            container("abc2", "db"),
            container("def3", "db"),
            container("fff4", "abc"),
            container("ab", "x"),
        ]
    }

    fn found(word: &str) -> Result<String, Error> {
        one(containers(), word, CONTAINER).map(|container| container.id)
    }

    #[test]
    fn ids_names_and_unique_beginnings_are_found() {
        assert_eq!(found("abc1").unwrap(), "abc1");
        assert_eq!(found("web").unwrap(), "abc1");
        assert_eq!(found("d").unwrap(), "def3");
        assert_eq!(found("ab").unwrap(), "ab", "a whole id is no beginning");
        assert_eq!(
            found("abc").unwrap(),
            "fff4",
            "a name goes before beginnings"
        );
    }

    #[test]
    fn what_could_be_several_is_listed() {
        let Err(Error::Ambiguous { candidates, .. }) = found("db") else {
            panic!("{:?}", found("db"));
        };
        assert_eq!(candidates, ["abc2  db", "def3  db"]);
        assert!(matches!(found("a"), Err(Error::Ambiguous { .. })));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for word in ["", "zzz", "abc11"] {
            assert!(matches!(found(word), Err(Error::NotFound { .. })), "{word}");
        }
    }
}
