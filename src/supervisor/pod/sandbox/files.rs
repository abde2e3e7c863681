//! `ROOT/pods/ID/{resolv.conf,hostname,hosts}`: what the pod's containers see at those places in /etc, unless a mount of
//! theirs says otherwise (containerd's `setupSandboxFiles`).

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use super::failed;
use crate::api::cri;
use crate::supervisor::error::Error;
use crate::sys::file;

/// Larger than any of the host's files.
const MAX_LEN: u64 = 1 << 20;
/// Every user of a container reads them.
const MODE: u32 = 0o644;

/// Writes the three into `dir`. Not synchronised: a pod does not survive the machine's crash. Blocks.
///
/// # Errors
/// What the file system answered.
pub fn write(config: &cri::PodSandboxConfig, dir: &Path) -> Result<(), Error> {
    let resolv_conf = match resolv_conf(config) {
        Some(text) => text.into_bytes(),
        None => of_the_host("/etc/resolv.conf", "")?,
    };
    let hosts = of_the_host("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n")?;
    let hostname = if config.hostname.is_empty() {
        let own = nix::unistd::gethostname();
        let own = own.map_err(|error| failed("read the host's name for", dir, error.into()))?;
        own.to_string_lossy().into_owned()
    } else {
        config.hostname.clone()
    };
    let files = [
        ("resolv.conf", resolv_conf),
        ("hosts", hosts),
        ("hostname", format!("{hostname}\n").into_bytes()),
    ];
    for (name, content) in files {
        let path = dir.join(name);
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(MODE);
        let written = options.open(&path).and_then(|mut file| {
            file.write_all(&content)?;
            // Whatever the umask is.
            fs::set_permissions(&path, Permissions::from_mode(MODE))
        });
        written.map_err(|error| failed("write", &path, error))?;
    }
    Ok(())
}

fn of_the_host(path: &str, without: &str) -> Result<Vec<u8>, Error> {
    let path = Path::new(path);
    match file::read_bounded(path, MAX_LEN) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(without.into()),
        other => other.map_err(|error| failed("read", path, error)),
    }
}

/// resolv.conf(5), of words that were checked; `None` where nothing is asked for.
fn resolv_conf(config: &cri::PodSandboxConfig) -> Option<String> {
    let dns = config.dns_config.as_ref()?;
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(servers: &[&str], searches: &[&str], options: &[&str]) -> cri::PodSandboxConfig {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        cri::PodSandboxConfig {
            dns_config: Some(cri::DnsConfig {
                servers: words(servers),
                searches: words(searches),
                options: words(options),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn resolv_conf_has_what_was_asked_for_and_is_the_hosts_otherwise() {
        let all = dns(&["10.0.0.10", "fd00::a"], &["a.svc", "svc"], &["ndots:5"]);
        assert_eq!(
            resolv_conf(&all).unwrap(),
            "search a.svc svc\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5\n"
        );
        assert_eq!(resolv_conf(&dns(&[], &[], &[])), None);
        assert_eq!(resolv_conf(&cri::PodSandboxConfig::default()), None);
    }
}
