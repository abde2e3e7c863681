//! Resource limits as Update carries them (OCI runtime spec, `config-linux.md`, `LinuxResources`).
//!
//! The OCI runtime gets them as they came. They are parsed here for one reason: what is no `LinuxResources` is the
//! caller's mistake, and runtimes report that like any other failure.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether the types fit is asked")]
#[serde(rename_all = "camelCase")]
struct LinuxResources {
    memory: Option<Memory>,
    cpu: Option<Cpu>,
    pids: Option<Pids>,
    hugepage_limits: Option<Vec<HugepageLimit>>,
    unified: Option<HashMap<String, String>>,
    rdma: Option<HashMap<String, IgnoredAny>>,
    devices: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether the types fit is asked")]
#[serde(rename_all = "camelCase")]
struct Memory {
    limit: Option<i64>,
    reservation: Option<i64>,
    swap: Option<i64>,
    kernel: Option<i64>,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: Option<i64>,
    swappiness: Option<u64>,
    #[serde(rename = "disableOOMKiller")]
    disable_oom_killer: Option<bool>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether the types fit is asked")]
#[serde(rename_all = "camelCase")]
struct Cpu {
    shares: Option<u64>,
    quota: Option<i64>,
    burst: Option<u64>,
    period: Option<u64>,
    realtime_runtime: Option<i64>,
    realtime_period: Option<u64>,
    cpus: Option<String>,
    mems: Option<String>,
    idle: Option<i64>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether the types fit is asked")]
struct Pids {
    limit: Option<i64>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether the types fit is asked")]
#[serde(rename_all = "camelCase")]
struct HugepageLimit {
    page_size: String,
    limit: u64,
}

/// Checks that `json` is a `LinuxResources` object.
///
/// # Errors
/// Where it is none, and why.
pub fn check(json: &[u8]) -> Result<(), serde_json::Error> {
    // An array would do for a struct otherwise.
    serde_json::from_slice::<HashMap<String, IgnoredAny>>(json)?;
    serde_json::from_slice::<LinuxResources>(json).map(drop)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn limits_of_the_right_types_pass_and_unknown_ones_with_them() {
        for json in [
            "{}",
            r#"{"memory":{"limit":-1,"swap":1048576},"cpu":{"shares":2,"cpus":"0-1"},"pids":{"limit":7},"new":[1]}"#,
            r#"{"unified":{"memory.high":"max"},"hugepageLimits":[{"pageSize":"2MB","limit":0}],"blockIO":{"weight":10}}"#,
        ] {
            assert!(check(json.as_bytes()).is_ok(), "{json}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for json in [
            "",
            "[]",
            "null",
            r#"{"pids":{"limit":"many"}}"#,
            r#"{"cpu":{"shares":-1}}"#,
            r#"{"memory":7}"#,
        ] {
            assert!(check(json.as_bytes()).is_err(), "{json}");
        }
    }
}
