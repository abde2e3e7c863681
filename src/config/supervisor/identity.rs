//! Root, state and address: the settings that say which supervisor this is, each from the flag, the environment, the file
//! or the default, in this order, and where it was found.

use std::path::PathBuf;

use super::file::{File, Origin, Setting, Source, Text, default_setting};
use super::{ConfigError, DEFAULT_ROOT, DEFAULT_STATE, Giver, Origins, Overridden, Overrides};

/// The settings that say which supervisor this is, before they are checked.
pub(super) struct Identity {
    pub(super) root: Setting,
    pub(super) state: Setting,
    pub(super) address: Setting,
    overridden: Vec<Overridden>,
}

impl Identity {
    pub(super) fn of(
        source: &Source,
        file: &mut File,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut overridden = Vec::new();
        let mut choose =
            |key: &'static str, given: Option<(String, Origin)>, value: Text, default: &str| {
                let from_file = value.map(|value| source.setting(key, value));
                let Some((value, origin)) = given else {
                    return from_file
                        .unwrap_or_else(|| default_setting(key.to_owned(), default.to_owned()));
                };
                if let (Origin::Environment(variable), Some(from_file)) = (&origin, &from_file)
                    && from_file.value != value
                {
                    overridden.push(Overridden {
                        variable,
                        value: value.clone(),
                        setting: from_file.origin.to_string(),
                        instead_of: from_file.value.clone(),
                    });
                }
                let key = match origin {
                    Origin::CommandLine => format!("--{key}"),
                    Origin::Environment(_) | Origin::Line(..) | Origin::Default => key.to_owned(),
                };
                Setting { key, origin, value }
            };
        let from = |giver, variable| match giver {
            Giver::CommandLine => Origin::CommandLine,
            Giver::Environment => Origin::Environment(variable),
        };
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let givers = overrides.givers;
        let root = overrides.root.as_ref().map(text);
        let root = root.map(|root| (root, from(givers.root, "OUTLIVE_ROOT")));
        let root = choose("root", root, file.root.take(), DEFAULT_ROOT);
        let state = overrides.state.as_ref().map(text);
        let state = state.map(|state| (state, Origin::CommandLine));
        let state = choose("state", state, file.state.take(), DEFAULT_STATE);
        let address = overrides.address.clone();
        let address = address.map(|address| (address, from(givers.address, "OUTLIVE_ADDRESS")));
        let default = format!("unix://{}/outlive.sock", state.absolute()?.display());
        let address = choose("address", address, file.address.take(), &default);
        Ok(Self {
            root,
            state,
            address,
            overridden,
        })
    }

    pub(super) fn origins(&self, source: &Source) -> Origins {
        Origins {
            file: source.is_there.then(|| source.path.clone()),
            root: self.root.origin.to_string(),
            state: self.state.origin.to_string(),
            address: self.address.origin.to_string(),
            overridden: self.overridden.clone(),
        }
    }
}
