//! A pod's network, by CNI plugins (github.com/containernetworking/cni, SPEC.md, versions 0.3 to 1.1).
//!
//! Owns: which list of plugins is used ([`list`]), running them ([`plugin`]), and `network.json`, by which what was
//! added can be deleted by the very list that added it ([`cache`]). Called by [`super::pod::sandbox`].
//!
//! ```text
//! attach   network.json "Adding" --> ADD lo, ADD eth0: each plugin of the list in turn --> network.json "Added"
//! detach   network.json "Deleting" --> DEL eth0: each plugin in reverse, DEL lo --> network.json is removed
//!          | a plugin fails again and again: [`given_up`] --> network.json goes to ROOT/networks-left
//! ```

pub mod cache;
pub mod error;
pub mod given_up;
pub mod list;
pub mod plugin;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

pub use self::cache::Phase;
use self::cache::{Cache, Network};
pub use self::error::NetworkError;
use self::list::List;
use self::plugin::{Command, Invocation};
use crate::api::cri;
use crate::bundle::Read;
use crate::config::supervisor::Config;
use crate::supervisor::crash;
use crate::supervisor::error::Error;
use crate::sys::worker;
use crate::types::{ContainerId, Timestamp};

/// How long one plugin may take.
const PLUGIN_DEADLINE: Duration = Duration::from_secs(60);
/// The pod's interface, as Kubernetes wants it.
const INTERFACE: &str = "eth0";

/// Where lists and plugins are.
#[derive(Debug, Clone)]
pub struct Plugins {
    /// The directory of the lists.
    pub conf_dir: PathBuf,
    /// The directories of the plugins, in the order in which they are looked through.
    pub bin_dirs: Vec<PathBuf>,
    /// How long one plugin may take.
    pub deadline: Duration,
}

impl From<&Config> for Plugins {
    fn from(config: &Config) -> Self {
        Self {
            conf_dir: config.cni_conf_dir.clone(),
            bin_dirs: config.cni_bin_dirs.clone(),
            deadline: PLUGIN_DEADLINE,
        }
    }
}

/// Checks that plugins can be told of the pod.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check(config: &cri::PodSandboxConfig) -> Result<(), Error> {
    let metadata = config.metadata.clone().unwrap_or_default();
    for (field, text) in [
        ("metadata.name", metadata.name),
        ("metadata.namespace", metadata.namespace),
        ("metadata.uid", metadata.uid),
    ] {
        // The separators of CNI_ARGS, which has no way to quote them.
        if text.contains([';', '=']) {
            return Err(Error::invalid(field, "must have no ';' or '='"));
        }
    }
    Ok(())
}

/// Whether any mapping asks for a port of the host.
fn mapped(config: &cri::PodSandboxConfig) -> impl Iterator<Item = &cri::PortMapping> {
    let all = config.port_mappings.iter();
    // kubelet names every container port; only those with a host port are mapped.
    all.filter(|mapping| mapping.host_port > 0)
}

/// The runtime's part of a plugin's configuration, by capability (CNI's CONVENTIONS.md, "Dynamic Plugin specific
/// Fields").
fn capabilities(config: &cri::PodSandboxConfig) -> Map<String, Value> {
    let mut capabilities = Map::new();
    let ports: Vec<Value> = mapped(config)
        .map(|mapping| {
            json!({
                "hostPort": mapping.host_port,
                "containerPort": mapping.container_port,
                "protocol": match mapping.protocol() {
                    cri::Protocol::Tcp => "tcp",
                    cri::Protocol::Udp => "udp",
                    cri::Protocol::Sctp => "sctp",
                },
                "hostIP": mapping.host_ip,
            })
        })
        .collect();
    if !ports.is_empty() {
        capabilities.insert("portMappings".into(), ports.into());
    }
    if let Some(dns) = &config.dns_config {
        let dns = json!({"servers": dns.servers, "searches": dns.searches, "options": dns.options});
        capabilities.insert("dns".into(), dns);
    }
    capabilities
}

/// What plugins are told of the pod: CNI_ARGS, with Kubernetes' names.
fn arguments(id: &ContainerId, config: &cri::PodSandboxConfig) -> String {
    let metadata = config.metadata.clone().unwrap_or_default();
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID={}",
        metadata.namespace, metadata.name, metadata.uid
    )
}

/// Gives the network namespace that is bound at `netns` its network, and answers its addresses, the main one first.
/// `record` is the pod's network.json.
///
/// # Errors
/// [`NetworkError`]; then [`detach`] takes away what there is.
pub async fn attach(
    plugins: &Plugins,
    id: &ContainerId,
    config: &cri::PodSandboxConfig,
    netns: &Path,
    record: &Path,
) -> Result<Vec<String>, NetworkError> {
    let conf_dir = plugins.conf_dir.clone();
    let chosen = blocking(move || List::choose(&conf_dir)).await?;
    let lists = [("lo", List::loopback()), (INTERFACE, chosen)];
    for (_, list) in &lists {
        for one in &list.plugins {
            plugin::find(&plugins.bin_dirs, one.kind(), &list.name)?;
        }
    }
    let capabilities = capabilities(config);
    if capabilities.contains_key("portMappings")
        && !lists.iter().any(|(_, list)| list.has("portMappings"))
    {
        let [_, (_, list)] = lists;
        return Err(NetworkError::NoPortMappings { list: list.name });
    }
    let mut cache = Cache {
        phase: Phase::Adding,
        netns: netns.to_owned(),
        arguments: arguments(id, config),
        capabilities,
        deleting_since: None,
        networks: lists
            .into_iter()
            .map(|(interface, list)| Network {
                interface: interface.to_owned(),
                list,
                result: None,
            })
            .collect(),
    };
    save(&cache, record).await?;
    crash::point("run_pod.network_adding");
    for index in 0..cache.networks.len() {
        let result = add(plugins, id, &cache, index).await?;
        if let Some(network) = cache.networks.get_mut(index) {
            network.result = Some(result);
        }
        crash::point("run_pod.network_added");
    }
    cache.phase = Phase::Added;
    let addresses = cache.addresses();
    if addresses.is_empty() {
        let list = cache.networks.pop().map(|network| network.list.name);
        return Err(NetworkError::NoAddress {
            list: list.unwrap_or_default(),
        });
    }
    save(&cache, record).await?;
    Ok(addresses)
}

async fn save(cache: &Cache, record: &Path) -> Result<(), NetworkError> {
    let (cache, record) = (cache.clone(), record.to_owned());
    blocking(move || cache.write(&record)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    let done = worker::run(work).await;
    done.unwrap_or_else(|panicked| Err(NetworkError::Panicked(panicked)))
}

/// ADD of one network: each plugin gets the result of the one before it.
async fn add(
    plugins: &Plugins,
    id: &ContainerId,
    cache: &Cache,
    index: usize,
) -> Result<Value, NetworkError> {
    let Some(network) = cache.networks.get(index) else {
        return Ok(Value::Null);
    };
    let mut result = None;
    for one in &network.list.plugins {
        let invocation = Invocation {
            command: Command::Add,
            container: id,
            netns: Some(&cache.netns),
            interface: &network.interface,
            arguments: &cache.arguments,
        };
        let stdin = network
            .list
            .stdin(one, &cache.capabilities, result.as_ref());
        result = plugin::run(plugins, &network.list.name, one.kind(), &invocation, &stdin).await?;
    }
    result.ok_or_else(|| NetworkError::NoAddress {
        list: network.list.name.clone(),
    })
}

/// Takes the pod's network away, as `record` says that it was given. `netns` is where its network namespace is bound,
/// `None` where it is gone. No record, no network: that is fine.
///
/// A record that cannot be believed does not keep the pod for ever: the list that is configured now is tried.
///
/// # Errors
/// [`NetworkError`], the first of what the plugins answered; all were asked. May be called again.
pub async fn detach(
    plugins: &Plugins,
    id: &ContainerId,
    netns: Option<&Path>,
    record: &Path,
) -> Result<(), NetworkError> {
    let path = record.to_owned();
    let mut cache = match blocking(move || Ok(Cache::read(&path))).await? {
        Read::Found(cache) => cache,
        Read::Absent => return Ok(()),
        Read::Corrupt(path, why) => {
            log::warn!(pod = id.as_str(), path:% = path.display(), error:% = crate::types::error::chain(&why);
                "what the network plugins answered cannot be read; the network that is configured now is deleted");
            let conf_dir = plugins.conf_dir.clone();
            match blocking(move || List::choose(&conf_dir)).await {
                Ok(list) => Cache::unknown(INTERFACE, list),
                Err(_) => return forget(record).await,
            }
        }
    };
    cache.phase = Phase::Deleting;
    cache.deleting_since = cache.deleting_since.or_else(|| Some(Timestamp::now()));
    save(&cache, record).await?;
    crash::point("stop_pod.network_deleting");
    let mut first = None;
    for network in cache.networks.iter().rev() {
        for one in network.list.plugins.iter().rev() {
            let invocation = Invocation {
                command: Command::Del,
                container: id,
                netns,
                interface: &network.interface,
                arguments: &cache.arguments,
            };
            let previous = network
                .result
                .as_ref()
                .filter(|_| network.list.deletes_with_result());
            let stdin = network.list.stdin(one, &cache.capabilities, previous);
            let name = &network.list.name;
            if let Err(error) = plugin::run(plugins, name, one.kind(), &invocation, &stdin).await {
                if first.is_some() {
                    log::warn!(pod = id.as_str(), error:% = crate::types::error::chain(&error); "a network plugin failed too");
                }
                first.get_or_insert(error);
            }
        }
        crash::point("stop_pod.network_deleted");
    }
    match first {
        Some(error) => Err(error),
        None => forget(record).await,
    }
}

async fn forget(record: &Path) -> Result<(), NetworkError> {
    let record = record.to_owned();
    blocking(move || Cache::remove(&record)).await
}

/// What a pod's network.json says: how far its network is, and its addresses. Blocks.
#[must_use]
pub fn recorded(record: &Path) -> Read<(Phase, Vec<String>)> {
    match Cache::read(record) {
        Read::Found(cache) => Read::Found((cache.phase, cache.addresses())),
        Read::Absent => Read::Absent,
        Read::Corrupt(path, why) => Read::Corrupt(path, why),
    }
}

/// Whether pods can be given a network: the name of the list that they would get. Blocks.
///
/// # Errors
/// [`NetworkError`] with what is missing.
pub fn readiness(plugins: &Plugins) -> Result<String, NetworkError> {
    let list = List::choose(&plugins.conf_dir)?;
    for one in &list.plugins {
        plugin::find(&plugins.bin_dirs, one.kind(), &list.name)?;
    }
    Ok(list.name)
}

/// A pod's addresses as CRI shows them; nothing for one on the host's network.
#[must_use]
pub fn status(addresses: &[String]) -> Option<cri::PodSandboxNetworkStatus> {
    let (first, further) = addresses.split_first()?;
    let further = further.iter().map(|ip| cri::PodIp { ip: ip.clone() });
    Some(cri::PodSandboxNetworkStatus {
        ip: first.clone(),
        additional_ips: further.collect(),
    })
}
