//! Network configuration lists: which one is used, and what each of its plugins is given on stdin. Pure but for
//! [`List::choose`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::NetworkError;
use crate::sys::file;

/// Larger than any list.
const MAX_LEN: u64 = 1 << 20;
/// The versions whose results are understood; the first that has lists and what came after is alike.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A list of plugins that together make a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The network's name.
    pub name: String,
    /// The version in which its plugins are spoken to.
    #[serde(rename = "cniVersion")]
    pub version: String,
    /// The plugins, in the order of ADD.
    pub plugins: Vec<Plugin>,
}

/// One plugin's configuration: an object with a `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plugin(Map<String, Value>);

impl Plugin {
    /// The name of its program.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn has(&self, capability: &str) -> bool {
        let declared = self
            .0
            .get("capabilities")
            .and_then(|all| all.get(capability));
        declared.and_then(Value::as_bool).unwrap_or(false)
    }
}

impl List {
    /// The list that brings up `lo`; as containerd's (`go-cni`, `WithLoNetwork`), in the version that all plugins know.
    #[must_use]
    pub fn loopback() -> Self {
        let plugin = Map::from_iter([("type".to_owned(), Value::from("loopback"))]);
        Self {
            name: "cni-loopback".into(),
            version: "0.3.1".into(),
            plugins: vec![Plugin(plugin)],
        }
    }

    /// The first usable list of `dir`, by file name: `.conflist`, or a single plugin's `.conf` or `.json`. Blocks.
    ///
    /// # Errors
    /// [`NetworkError::NotConfigured`] with why each file was passed over.
    pub fn choose(dir: &Path) -> Result<Self, NetworkError> {
        let failed = |operation, source| NetworkError::File {
            operation,
            path: dir.to_owned(),
            source,
        };
        let mut files: Vec<PathBuf> = match fs::read_dir(dir) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()
                .map_err(|error| failed("read", error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("open", error)),
        };
        files.sort();
        let mut rejected = Vec::new();
        for path in files {
            let extension = path.extension().and_then(|extension| extension.to_str());
            let parsed = match extension {
                Some("conflist") => read(&path).and_then(Self::from_list),
                Some("conf" | "json") => read(&path).and_then(Self::from_plugin),
                Some(_) | None => continue,
            };
            match parsed {
                Ok(list) => return Ok(list),
                Err(reason) => rejected.push(format!("{}: {reason}", path.display())),
            }
        }
        Err(NetworkError::NotConfigured {
            dir: dir.to_owned(),
            rejected,
        })
    }

    fn from_list(mut file: Map<String, Value>) -> Result<Self, String> {
        let plugins = match file.remove("plugins") {
            Some(Value::Array(plugins)) => plugins,
            Some(_) | None => return Err("plugins: no list".into()),
        };
        let plugins = plugins
            .into_iter()
            .map(|plugin| match plugin {
                Value::Object(plugin) => Ok(Plugin(plugin)),
                _ => Err("plugins: not a list of objects"),
            })
            .collect::<Result<_, _>>()?;
        Self::checked(&file, plugins)
    }

    fn from_plugin(file: Map<String, Value>) -> Result<Self, String> {
        let plugins = vec![Plugin(file.clone())];
        Self::checked(&file, plugins)
    }

    fn checked(file: &Map<String, Value>, plugins: Vec<Plugin>) -> Result<Self, String> {
        let text = |key: &str| file.get(key).and_then(Value::as_str).unwrap_or_default();
        let list = Self {
            name: text("name").to_owned(),
            version: text("cniVersion").to_owned(),
            plugins,
        };
        if list.name.is_empty() {
            return Err("name: is missing".into());
        }
        if !VERSIONS.contains(&list.version.as_str()) {
            return Err(format!(
                "cniVersion {:?}: not one of {VERSIONS:?}",
                list.version
            ));
        }
        if list.plugins.is_empty() {
            return Err("plugins: is empty".into());
        }
        for plugin in &list.plugins {
            // It becomes a path below the plugins' directories.
            if plugin.kind().is_empty() || plugin.kind().contains(['/', '\0']) {
                return Err("type: no plugin's name".into());
            }
        }
        Ok(list)
    }

    /// Whether a plugin declares the capability.
    #[must_use]
    pub fn has(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.has(capability))
    }

    /// Whether DEL is given what ADD answered: since version 0.4.0.
    #[must_use]
    pub fn deletes_with_result(&self) -> bool {
        !self.version.starts_with("0.3.")
    }

    /// What `plugin` is given on stdin (SPEC.md, "Deriving execution configuration from plugin configuration").
    #[must_use]
    pub fn stdin(
        &self,
        plugin: &Plugin,
        capabilities: &Map<String, Value>,
        previous: Option<&Value>,
    ) -> Vec<u8> {
        let mut config = plugin.0.clone();
        config.insert("name".into(), self.name.clone().into());
        config.insert("cniVersion".into(), self.version.clone().into());
        config.remove("capabilities");
        let given: Map<String, Value> = capabilities
            .iter()
            .filter(|(name, _)| plugin.has(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !given.is_empty() {
            config.insert("runtimeConfig".into(), given.into());
        }
        if let Some(previous) = previous {
            config.insert("prevResult".into(), previous.clone());
        }
        Value::from(config).to_string().into_bytes()
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, String> {
    let bytes = file::read_bounded(path, MAX_LEN).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sys::file::scratch::Scratch;

    const GOOD: &str = r#"{"cniVersion":"1.0.0","name":"net","plugins":[
        {"type":"bridge","mtu":1400},{"type":"portmap","capabilities":{"portMappings":true}}]}"#;

    #[test]
    fn the_first_list_by_name_that_is_sound_is_chosen() {
        let scratch = Scratch::new();
        scratch.write("00-broken.conflist", "{");
        scratch.write("01-nameless.conf", r#"{"cniVersion":"1.0.0","type":"x"}"#);
        scratch.write(
            "02-old.conf",
            r#"{"cniVersion":"0.1.0","name":"a","type":"x"}"#,
        );
        scratch.write(
            "03-far.conf",
            r#"{"cniVersion":"1.0.0","name":"a","type":"../x"}"#,
        );
        scratch.write(
            "04-empty.conflist",
            r#"{"cniVersion":"1.0.0","name":"a","plugins":[]}"#,
        );
        scratch.write("05-note.txt", "not looked at");
        let Err(NetworkError::NotConfigured { rejected, .. }) = List::choose(scratch.path()) else {
            panic!("none of these can be used");
        };
        assert_eq!(rejected.len(), 5, "{rejected:?}");
        scratch.write(
            "20.conf",
            r#"{"cniVersion":"0.4.0","name":"one","type":"ptp"}"#,
        );
        scratch.write("10.conflist", GOOD);
        let list = List::choose(scratch.path()).unwrap();
        assert_eq!((list.name.as_str(), list.plugins.len()), ("net", 2));
        fs::remove_file(scratch.path().join("10.conflist")).unwrap();
        let list = List::choose(scratch.path()).unwrap();
        assert_eq!((list.name.as_str(), list.plugins[0].kind()), ("one", "ptp"));
    }

    #[test]
    fn without_a_directory_the_message_says_what_to_do() {
        let error = List::choose(Path::new("/nonexistent/net.d")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no CNI configuration in /nonexistent/net.d: add one, or run the pod on the host's network"
        );
    }

    #[test]
    fn a_plugin_is_given_the_capabilities_that_it_declares_and_the_result_before_it() {
        let list = List::from_list(serde_json::from_str(GOOD).unwrap()).unwrap();
        let capabilities = json!({"portMappings": [1], "dns": {}});
        let capabilities = capabilities.as_object().unwrap();
        let given = |index: usize, previous: Option<&Value>| -> Value {
            let bytes = list.stdin(&list.plugins[index], capabilities, previous);
            serde_json::from_slice(&bytes).unwrap()
        };
        assert_eq!(
            given(0, None),
            json!({"type":"bridge","mtu":1400,"name":"net","cniVersion":"1.0.0"})
        );
        assert_eq!(
            given(1, Some(&json!({"ips":[]}))),
            json!({"type":"portmap","name":"net","cniVersion":"1.0.0",
                "runtimeConfig":{"portMappings":[1]},"prevResult":{"ips":[]}})
        );
        assert!(list.has("portMappings") && !list.has("dns"));
    }
}
