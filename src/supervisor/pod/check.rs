//! Checks of what a request says that reaches a file, a plugin or a person as text. They run before anything is made.
//!
//! Used by RunPodSandbox ([`pod`]) and CreateContainer. What becomes part of the OCI specification is checked by
//! `supervisor::spec`, namespaces and sysctls by [`super::namespaces`].

use std::collections::HashMap;
use std::net::IpAddr;

use crate::api::cri;
use crate::supervisor::error::Error;

/// The longest host name that the kernel takes, in bytes (sethostname(2)).
const MAX_HOSTNAME: usize = 64;
/// The longest part of a name between dots, in bytes (RFC 1035, 2.3.4).
const MAX_HOSTNAME_PART: usize = 63;
/// The most bytes of all labels, or of all annotations, with their keys. The API server takes 256 KiB of annotations
/// (`TotalAnnotationSizeLimitB`), and kubelet adds some of its own.
const MAX_NOTES: usize = 512 << 10;

/// Checks the metadata, host name, DNS settings, ports, labels, annotations, paths and sysctls of a pod.
///
/// # Errors
/// [`Error::Invalid`] with the field.
pub fn pod(config: &cri::PodSandboxConfig) -> Result<(), Error> {
    let Some(metadata) = &config.metadata else {
        return Err(Error::invalid("metadata", "is missing"));
    };
    if metadata.name.is_empty() {
        return Err(Error::invalid("metadata.name", "is empty"));
    }
    line("metadata.name", &metadata.name)?;
    line("metadata.namespace", &metadata.namespace)?;
    line("metadata.uid", &metadata.uid)?;
    hostname(&config.hostname)?;
    line("log_directory", &config.log_directory)?;
    if let Some(settings) = &config.dns_config {
        dns(settings)?;
    }
    for (index, mapping) in config.port_mappings.iter().enumerate() {
        port_mapping(index, mapping)?;
    }
    notes("labels", &config.labels)?;
    notes("annotations", &config.annotations)?;
    if let Some(linux) = &config.linux {
        line("linux.cgroup_parent", &linux.cgroup_parent)?;
        for (name, value) in &linux.sysctls {
            line(&format!("linux.sysctls[{name:?}]"), name)?;
            line(&format!("linux.sysctls[{name:?}]"), value)?;
        }
    }
    Ok(())
}

/// Checks the metadata, labels, annotations and log path of a container.
///
/// # Errors
/// [`Error::Invalid`] with the field.
pub fn container(config: &cri::ContainerConfig) -> Result<(), Error> {
    let Some(metadata) = &config.metadata else {
        return Err(Error::invalid("config.metadata", "is missing"));
    };
    if metadata.name.is_empty() {
        return Err(Error::invalid("config.metadata.name", "is empty"));
    }
    line("config.metadata.name", &metadata.name)?;
    line("config.log_path", &config.log_path)?;
    notes("config.labels", &config.labels)?;
    notes("config.annotations", &config.annotations)
}

/// Refuses control characters: they end a line of a file, of a log or of a list, or a C string. A tab is taken.
fn line(field: &str, text: &str) -> Result<(), Error> {
    match text.chars().find(|one| one.is_control() && *one != '\t') {
        Some(found) => Err(Error::invalid(
            field,
            format!("has the control character {found:?}"),
        )),
        None => Ok(()),
    }
}

/// A host name of RFC 1123, 2.1: letters, digits and `-` between dots. Empty means the machine's.
fn hostname(name: &str) -> Result<(), Error> {
    let is_part = |part: &str| {
        let mut bytes = part.bytes();
        (1..=MAX_HOSTNAME_PART).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.is_empty() || (name.len() <= MAX_HOSTNAME && name.split('.').all(is_part)) {
        return Ok(());
    }
    Err(Error::invalid(
        "hostname",
        format!(
            "{name:?} is not a host name: letters, digits and '-' between dots, \
             {MAX_HOSTNAME_PART} bytes a part and {MAX_HOSTNAME} in all"
        ),
    ))
}

/// The words of resolv.conf(5): one line each, without blanks.
fn dns(settings: &cri::DnsConfig) -> Result<(), Error> {
    let cri::DnsConfig {
        servers,
        searches,
        options,
    } = settings;
    for (name, words) in [
        ("servers", servers),
        ("searches", searches),
        ("options", options),
    ] {
        for (index, word) in words.iter().enumerate() {
            let field = format!("dns_config.{name}[{index}]");
            if word.is_empty() {
                return Err(Error::invalid(field, "is empty"));
            }
            if word.contains(|one: char| one.is_whitespace() || one.is_control()) {
                return Err(Error::invalid(
                    field,
                    format!("{word:?} has a blank or a control character"),
                ));
            }
        }
    }
    for (index, server) in servers.iter().enumerate() {
        // A link-local address may name its interface: fe80::1%eth0.
        let address = server.split('%').next().unwrap_or_default();
        if address.parse::<IpAddr>().is_err() {
            return Err(Error::invalid(
                format!("dns_config.servers[{index}]"),
                format!("{server:?} is not an IP address"),
            ));
        }
    }
    Ok(())
}

fn port_mapping(index: usize, mapping: &cri::PortMapping) -> Result<(), Error> {
    let cri::PortMapping {
        protocol,
        container_port,
        host_port,
        host_ip,
    } = mapping;
    let field = |name: &str| format!("port_mappings[{index}].{name}");
    if cri::Protocol::try_from(*protocol).is_err() {
        return Err(Error::invalid(
            field("protocol"),
            format!("{protocol} is none of TCP, UDP and SCTP"),
        ));
    }
    if !(1..=65_535).contains(container_port) {
        return Err(Error::invalid(
            field("container_port"),
            format!("{container_port} is not 1 to 65535"),
        ));
    }
    if !(0..=65_535).contains(host_port) {
        return Err(Error::invalid(
            field("host_port"),
            format!("{host_port} is not 0 to 65535"),
        ));
    }
    if !host_ip.is_empty() && host_ip.parse::<IpAddr>().is_err() {
        return Err(Error::invalid(
            field("host_ip"),
            format!("{host_ip:?} is not an IP address"),
        ));
    }
    Ok(())
}

/// Labels or annotations. Values of annotations have newlines (kubectl's last-applied-configuration), keys have none.
fn notes(field: &str, notes: &HashMap<String, String>) -> Result<(), Error> {
    for (key, value) in notes {
        if key.is_empty() {
            return Err(Error::invalid(field, "has an empty key"));
        }
        line(field, key)?;
        if value.contains('\0') {
            return Err(Error::invalid(
                format!("{field}[{key:?}]"),
                "has a zero byte",
            ));
        }
    }
    let bytes: usize = notes
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > MAX_NOTES {
        return Err(Error::invalid(
            field,
            format!("has {bytes} bytes; {MAX_NOTES} are the most"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> cri::PodSandboxConfig {
        cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: "web".into(),
                namespace: "default".into(),
                uid: "1".into(),
                attempt: 0,
            }),
            hostname: "web-0.example".into(),
            log_directory: "/var/log/pods/web".into(),
            dns_config: Some(cri::DnsConfig {
                servers: vec!["10.0.0.10".into(), "fd00::a".into(), "fe80::1%eth0".into()],
                searches: vec!["a.svc".into(), ".".into()],
                options: vec!["ndots:5".into()],
            }),
            port_mappings: vec![cri::PortMapping {
                protocol: cri::Protocol::Sctp.into(),
                container_port: 65_535,
                host_port: 0,
                host_ip: "::1".into(),
            }],
            annotations: HashMap::from([("note".into(), "two\nlines".into())]),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: "/kubepods/pod1".into(),
                sysctls: HashMap::from([("net.x".into(), "1\t2".into())]),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    type Change = fn(&mut cri::PodSandboxConfig);
    type ContainerChange = fn(&mut cri::ContainerConfig);

    fn port(config: &mut cri::PodSandboxConfig) -> &mut cri::PortMapping {
        &mut config.port_mappings[0]
    }

    fn dns(config: &mut cri::PodSandboxConfig) -> &mut cri::DnsConfig {
        config.dns_config.as_mut().unwrap()
    }

    fn metadata(config: &mut cri::PodSandboxConfig) -> &mut cri::PodSandboxMetadata {
        config.metadata.as_mut().unwrap()
    }

    #[test]
    fn each_field_of_a_pod_that_cannot_be_is_named() {
        pod(&good()).unwrap();
        let cases: &[(&str, Change)] = &[
            ("metadata", |pod| pod.metadata = None),
            ("metadata.name", |pod| metadata(pod).name.clear()),
            ("metadata.name", |pod| metadata(pod).name = "a\nb".into()),
            ("metadata.namespace", |pod| {
                metadata(pod).namespace = "\0".into();
            }),
            ("metadata.uid", |pod| metadata(pod).uid = "\x1b[2J".into()),
            ("log_directory", |pod| pod.log_directory = "/a\n".into()),
            ("hostname", |pod| pod.hostname = "a\nb".into()),
            ("dns_config.servers[0]", |pod| {
                dns(pod).servers[0] = "1.1.1.1\noptions x".into();
            }),
            ("dns_config.servers[1]", |pod| {
                dns(pod).servers[1] = "dns.example".into();
            }),
            ("dns_config.searches[0]", |pod| {
                dns(pod).searches[0] = "a b".into();
            }),
            ("dns_config.searches[1]", |pod| {
                dns(pod).searches[1].clear();
            }),
            ("dns_config.options[0]", |pod| {
                dns(pod).options[0] = "a\0".into();
            }),
            ("port_mappings[0].protocol", |pod| port(pod).protocol = 3),
            ("port_mappings[0].container_port", |pod| {
                port(pod).container_port = 0;
            }),
            ("port_mappings[0].container_port", |pod| {
                port(pod).container_port = -1;
            }),
            ("port_mappings[0].container_port", |pod| {
                port(pod).container_port = 65_536;
            }),
            ("port_mappings[0].host_port", |pod| {
                port(pod).host_port = 65_536;
            }),
            ("port_mappings[0].host_port", |pod| {
                port(pod).host_port = -1;
            }),
            ("port_mappings[0].host_ip", |pod| {
                port(pod).host_ip = "localhost".into();
            }),
            ("labels", |pod| {
                pod.labels.insert(String::new(), "x".into());
            }),
            ("labels", |pod| {
                pod.labels.insert("a\nb".into(), "x".into());
            }),
            ("labels[\"a\"]", |pod| {
                pod.labels.insert("a".into(), "\0".into());
            }),
            ("annotations", |pod| {
                pod.annotations.insert("a".into(), "x".repeat(MAX_NOTES));
            }),
            ("linux.cgroup_parent", |pod| {
                pod.linux.as_mut().unwrap().cgroup_parent = "/a\nb".into();
            }),
            ("linux.sysctls[\"net.x\"]", |pod| {
                let sysctls = &mut pod.linux.as_mut().unwrap().sysctls;
                sysctls.insert("net.x".into(), "1\n2".into());
            }),
        ];
        for (expected, change) in cases {
            let mut changed = good();
            change(&mut changed);
            match pod(&changed) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, *expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_host_name_is_one_of_rfc_1123() {
        let longest = format!("{}.a", "a".repeat(62));
        let part = "a".repeat(63);
        for name in ["", "a", "A-1", "1", "a.b-c.d", &part, &longest] {
            assert!(hostname(name).is_ok(), "{name:?}");
        }
        let too_long = format!("{}.{}", "a".repeat(62), "b".repeat(2));
        let long_part = "a".repeat(64);
        for name in [
            "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "ä", "a\n", "a\0", &too_long, &long_part,
        ] {
            assert!(hostname(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn each_field_of_a_container_that_cannot_be_is_named() {
        let good = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata {
                name: "c".into(),
                attempt: 0,
            }),
            log_path: "c/0.log".into(),
            ..Default::default()
        };
        container(&good).unwrap();
        let cases: &[(&str, ContainerChange)] = &[
            ("config.metadata", |one| one.metadata = None),
            ("config.metadata.name", |one| {
                one.metadata.as_mut().unwrap().name = "a\r".into();
            }),
            ("config.log_path", |one| one.log_path = "a\n".into()),
            ("config.labels", |one| {
                one.labels.insert("\n".into(), String::new());
            }),
            ("config.annotations[\"a\"]", |one| {
                one.annotations.insert("a".into(), "\0".into());
            }),
        ];
        for (expected, change) in cases {
            let mut changed = good.clone();
            change(&mut changed);
            match container(&changed) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, *expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
