//! Values on the command line that are more than a word: sizes, ports, signals, users, devices. Pure.

use crate::types::Signal;

/// CRI's scheduler period, the kernel's default: 100 ms in microseconds.
pub const CPU_PERIOD: i64 = 100_000;

/// `KEY=VALUE`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Bytes: a number with `k`, `m`, `g` or `t` (powers of 1024; a `b`, `i` or `ib` after it changes nothing), or none.
pub fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no size: 64m, 1.5g, 1048576");
    let lower = text.to_ascii_lowercase();
    let number_end = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(number_end);
    let unit = unit.trim_end_matches('b').trim_end_matches('i');
    let factor: u32 = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    let parts = match fraction {
        "" => 0,
        digits => thousandths(digits).ok_or_else(wrong)?,
    };
    let one = 1_i64 << factor;
    let size = whole.checked_mul(one).ok_or_else(wrong)? + one / 1000 * parts;
    if size > 0 { Ok(size) } else { Err(wrong()) }
}

/// The first three digits after the point, of at most nine.
fn thousandths(digits: &str) -> Option<i64> {
    if digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<3}").get(..3)?.parse().ok()
}

/// Processors as a CFS quota in each [`CPU_PERIOD`]; the kernel takes no less than 1 ms.
pub fn cpu_quota(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no number of processors: 0.5, 2");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| wrong())?,
    };
    let parts = match fraction {
        "" => 0,
        digits => thousandths(digits).ok_or_else(wrong)?,
    };
    let quota = whole
        .checked_mul(CPU_PERIOD)
        .and_then(|quota| quota.checked_add(CPU_PERIOD / 1000 * parts))
        .ok_or_else(wrong)?;
    if quota >= 1000 {
        Ok(quota)
    } else {
        Err(format!("{text:?} is less than 0.01 processors"))
    }
}

/// A signal by number or by name, with or without `SIG`, in any case; `RTMIN+N` and `RTMAX-N`, too.
pub fn signal(text: &str) -> Result<Signal, String> {
    let wrong = || format!("{text:?} is no signal: TERM, SIGTERM, 15, RTMIN+3");
    if let Ok(number) = text.parse() {
        return Signal::new(number).ok_or_else(wrong);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // signal(7): the first two real-time signals are the C library's own, so that its SIGRTMIN is 34.
    let real_time = |offset: &str, base: u32, up: bool| {
        let offset: u32 = if offset.is_empty() {
            0
        } else {
            offset.get(1..)?.parse().ok()?
        };
        let number = if up {
            base.checked_add(offset)?
        } else {
            base.checked_sub(offset)?
        };
        (34..=64).contains(&number).then_some(number)
    };
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        real_time(offset, 34, true).filter(|_| offset.is_empty() || offset.starts_with('+'))
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        real_time(offset, 64, false).filter(|_| offset.is_empty() || offset.starts_with('-'))
    } else {
        let known = format!("SIG{name}")
            .parse::<nix::sys::signal::Signal>()
            .ok();
        known.and_then(|signal| u32::try_from(signal as i32).ok())
    };
    number.and_then(Signal::new).ok_or_else(wrong)
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// On which address of the host's; all of them where empty, as CRI's `host_ip`.
    pub host_ip: String,
    /// The host's.
    pub host: u16,
    /// The container's.
    pub container: u16,
    /// Which protocol.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// `[IP:]HOST:CONTAINER[/PROTOCOL]`; an IPv6 address in brackets.
pub fn port(text: &str) -> Result<Port, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(format!("{other:?} is none of tcp, udp, sctp")),
    };
    let wrong = || "must be [IP:]HOST:CONTAINER[/udp]".to_owned();
    let number = |text: &str| match text.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no port: 1..65535")),
        Ok(port) => Ok(port),
    };
    let (rest, container) = ports.rsplit_once(':').ok_or_else(wrong)?;
    let (host_ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let host_ip = host_ip.trim_start_matches('[').trim_end_matches(']');
    if !host_ip.is_empty() && host_ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("{host_ip:?} is no IP address"));
    }
    Ok(Port {
        host_ip: host_ip.to_owned(),
        host: number(host)?,
        container: number(container)?,
        protocol,
    })
}

/// Who the program is run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By number: CRI's `run_as_user` and `run_as_group`.
    Id {
        /// The user.
        user: u32,
        /// The group; the user's in the image unless given.
        group: Option<u32>,
    },
    /// By a name of the image's /etc/passwd or /etc/group, `NAME`, `NAME:GROUP` or `UID:GROUP`: CRI's `run_as_username`,
    /// which has the group in it, since CRI has no other place for a group's name.
    Name(String),
}

/// `UID` or `NAME`, and either with `:GID` or `:GROUP`.
pub fn user(text: &str) -> Result<User, String> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let is_wrong = |word: &str| word.is_empty() || word.contains([':', '\n']);
    if is_wrong(user) || group.is_some_and(is_wrong) {
        return Err("must be USER or USER:GROUP, each a number or a name".to_owned());
    }
    let group = group.map(|group| group.parse().map_err(drop)).transpose();
    Ok(match (user.parse(), group) {
        (Ok(user), Ok(group)) => User::Id { user, group },
        _ => User::Name(text.to_owned()),
    })
}

/// A device of the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where the host has it.
    pub host: String,
    /// Where the container sees it.
    pub container: String,
    /// What it may do: `r`ead, `w`rite, `m`ake the node.
    pub permissions: String,
}

/// `HOST[:CONTAINER][:rwm]`.
pub fn device(text: &str) -> Result<Device, String> {
    let mut parts: Vec<&str> = text.split(':').collect();
    let may = |part: &&str| !part.is_empty() && part.chars().all(|c| "rwm".contains(c));
    let permissions = match parts.last().copied().filter(may) {
        Some(last) if parts.len() > 1 => {
            parts.pop();
            last
        }
        _ => "rwm",
    };
    let (host, container) = match parts.as_slice() {
        [host] => (*host, *host),
        [host, container] => (*host, *container),
        _ => return Err("must be HOST[:CONTAINER][:rwm]".to_owned()),
    };
    if !host.starts_with('/') || !container.starts_with('/') {
        return Err("both paths must be absolute".to_owned());
    }
    Ok(Device {
        host: host.to_owned(),
        container: container.to_owned(),
        permissions: permissions.to_owned(),
    })
}

/// Bytes for people: `1.5 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    let (mut unit, mut size) = (0, bytes);
    while size >= 1024 && unit < 4 {
        size /= 1024;
        unit += 1;
    }
    let name = ["B", "KiB", "MiB", "GiB", "TiB"].get(unit).unwrap_or(&"");
    if unit == 0 {
        return format!("{bytes} B");
    }
    let tenths = u128::from(bytes) * 10 / (1_u128 << (10 * unit));
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in [
            ("1", 1),
            ("64m", 64 << 20),
            ("64MiB", 64 << 20),
            ("2G", 2 << 30),
            ("1.5k", 1024 + 500),
            ("10kb", 10 << 10),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "m", "-1", "0", "1x", "1.2.3", "99999999999t", "1e3"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_become_a_quota() {
        assert_eq!(cpu_quota("1"), Ok(100_000));
        assert_eq!(cpu_quota("0.5"), Ok(50_000));
        assert_eq!(cpu_quota("1.25"), Ok(125_000));
        assert_eq!(cpu_quota(".5"), Ok(50_000));
        for text in ["", "0", "-1", "0.001", "x", "1.x"] {
            assert!(cpu_quota(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_have_numbers_and_names() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("usr1", 10),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax", 64),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(signal(text).map(Signal::get), Ok(number), "{text}");
        }
        for text in [
            "", "0", "65", "SIGNOPE", "RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMINX",
        ] {
            assert!(signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_have_a_host_s_and_a_container_s_end() {
        let expected = |host_ip: &str, protocol| Port {
            host_ip: host_ip.to_owned(),
            host: 8080,
            container: 80,
            protocol,
        };
        assert_eq!(port("8080:80"), Ok(expected("", Protocol::Tcp)));
        assert_eq!(port("8080:80/udp"), Ok(expected("", Protocol::Udp)));
        assert_eq!(
            port("127.0.0.1:8080:80"),
            Ok(expected("127.0.0.1", Protocol::Tcp))
        );
        assert_eq!(
            port("[::1]:8080:80/SCTP"),
            Ok(expected("::1", Protocol::Sctp))
        );
        for text in [
            "",
            "80",
            "0:80",
            "80:65536",
            "x:80",
            "1.2.3:80:80",
            "80:80/icmp",
        ] {
            assert!(port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_are_numbers_or_names() {
        assert_eq!(
            user("1000:100"),
            Ok(User::Id {
                user: 1000,
                group: Some(100)
            })
        );
        for text in ["www", "www:www", "www:100", "1000:www"] {
            assert_eq!(user(text), Ok(User::Name(text.to_owned())));
        }
        for text in ["", ":", "www:", ":www", "a:b:c"] {
            assert!(user(text).is_err(), "{text}");
        }
    }

    #[test]
    fn devices_have_one_or_two_paths() {
        let expected = |container: &str, permissions: &str| {
            Ok(Device {
                host: "/dev/a".to_owned(),
                container: container.to_owned(),
                permissions: permissions.to_owned(),
            })
        };
        assert_eq!(device("/dev/a"), expected("/dev/a", "rwm"));
        assert_eq!(device("/dev/a:r"), expected("/dev/a", "r"));
        assert_eq!(device("/dev/a:/dev/b"), expected("/dev/b", "rwm"));
        assert_eq!(device("/dev/a:/dev/b:rw"), expected("/dev/b", "rw"));
        for text in ["", "a", "/dev/a:b:r", "/dev/a:/dev/b:x", "/dev/a:"] {
            assert!(device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_for_people_have_one_decimal() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(5 << 30), "5.0 GiB");
    }
}
