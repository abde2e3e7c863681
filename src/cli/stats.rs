//! `outlive stats`: what containers use, once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use super::args::{Global, StatsArgs};
use super::client::Client;
use super::error::Error;
use super::output;
use super::quantity::human_bytes;
use super::resolve;
use super::table::{Table, short};
use crate::api::cri;

/// Between two samples, where the supervisor gives no rate itself.
const INTERVAL: Duration = Duration::from_millis(500);

/// A container's usage, as `-o json` prints it. `null` is what the supervisor does not say.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    /// Billionths of a processor, now.
    cpu_nano_cores: Option<u64>,
    /// Nanoseconds of processor time since the start.
    cpu_usage_nanos: Option<u64>,
    memory_usage_bytes: Option<u64>,
    memory_working_set_bytes: Option<u64>,
    memory_rss_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    swap_usage_bytes: Option<u64>,
    writable_layer_bytes: Option<u64>,
}

/// Prints the usage of the containers that run, or of those that are named.
pub async fn run(global: &Global, args: &StatsArgs) -> Result<(), Error> {
    let client = Client::connect(global).await?;
    let mut wanted = HashSet::new();
    if !args.containers.is_empty() {
        let all = client.containers(None).await?;
        for word in &args.containers {
            wanted.insert(resolve::one(all.clone(), word, resolve::CONTAINER)?.id);
        }
    }
    let first = sample(&client).await?;
    let has_rate = |stats: &cri::ContainerStats| {
        let cpu = stats.cpu.as_ref();
        cpu.is_none_or(|cpu| cpu.usage_nano_cores.is_some())
    };
    let (earlier, now) = if first.iter().all(has_rate) {
        (Vec::new(), first)
    } else {
        tokio::time::sleep(INTERVAL).await;
        let second = sample(&client).await?;
        (first, second)
    };
    let earlier: HashMap<&str, &cri::CpuUsage> = earlier
        .iter()
        .filter_map(|stats| Some((id(stats), stats.cpu.as_ref()?)))
        .collect();
    let rows: Vec<Row> = now
        .iter()
        .filter(|stats| wanted.is_empty() || wanted.contains(id(stats)))
        .map(|stats| Row::new(stats, earlier.get(id(stats)).copied()))
        .collect();
    output::rows(global.output, &rows, table)
}

fn id(stats: &cri::ContainerStats) -> &str {
    stats.attributes.as_ref().map_or("", |data| &data.id)
}

async fn sample(client: &Client) -> Result<Vec<cri::ContainerStats>, Error> {
    let mut runtime = client.runtime();
    let request = cri::ListContainerStatsRequest::default();
    let call = runtime.list_container_stats(request);
    let mut stats = client.call("stats", call).await?.stats;
    stats.sort_by(|one, other| id(one).cmp(id(other)));
    Ok(stats)
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&["ID", "NAME", "CPU", "MEMORY", "RSS", "SWAP", "WRITTEN"]);
    let bytes = |value: Option<u64>| value.map(human_bytes).unwrap_or_default();
    for row in rows {
        table.row([
            short(&row.id).to_owned(),
            row.name.clone(),
            row.cpu_nano_cores.map(percent).unwrap_or_default(),
            bytes(row.memory_working_set_bytes.or(row.memory_usage_bytes)),
            bytes(row.memory_rss_bytes),
            bytes(row.swap_usage_bytes),
            bytes(row.writable_layer_bytes),
        ]);
    }
    table
}

/// Billionths of a processor as percents of one: `12.3%`.
fn percent(nano_cores: u64) -> String {
    let tenths = nano_cores / 1_000_000;
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// The rate between two samples; `None` where no time has passed or the counter went back.
fn rate(earlier: &cri::CpuUsage, now: &cri::CpuUsage) -> Option<u64> {
    let usage = |cpu: &cri::CpuUsage| cpu.usage_core_nano_seconds.as_ref().map(|v| v.value);
    let used = usage(now)?.checked_sub(usage(earlier)?)?;
    let elapsed = u64::try_from(now.timestamp.checked_sub(earlier.timestamp)?).ok()?;
    u64::try_from(u128::from(used) * 1_000_000_000 / u128::from(elapsed).max(1))
        .ok()
        .filter(|_| elapsed > 0)
}

impl Row {
    fn new(stats: &cri::ContainerStats, earlier: Option<&cri::CpuUsage>) -> Self {
        let value = |field: &Option<cri::UInt64Value>| field.as_ref().map(|value| value.value);
        let cpu = stats.cpu.as_ref();
        let memory = stats.memory.as_ref();
        let metadata = stats
            .attributes
            .as_ref()
            .and_then(|data| data.metadata.as_ref());
        let computed = earlier.and_then(|earlier| rate(earlier, cpu?));
        Self {
            id: id(stats).to_owned(),
            name: metadata.map_or_else(String::new, |data| data.name.clone()),
            cpu_nano_cores: cpu
                .and_then(|cpu| value(&cpu.usage_nano_cores))
                .or(computed),
            cpu_usage_nanos: cpu.and_then(|cpu| value(&cpu.usage_core_nano_seconds)),
            memory_usage_bytes: memory.and_then(|memory| value(&memory.usage_bytes)),
            memory_working_set_bytes: memory.and_then(|memory| value(&memory.working_set_bytes)),
            memory_rss_bytes: memory.and_then(|memory| value(&memory.rss_bytes)),
            memory_available_bytes: memory.and_then(|memory| value(&memory.available_bytes)),
            swap_usage_bytes: stats
                .swap
                .as_ref()
                .and_then(|swap| value(&swap.swap_usage_bytes)),
            writable_layer_bytes: stats
                .writable_layer
                .as_ref()
                .and_then(|layer| value(&layer.used_bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_was_used_in_the_time_between() {
        let cpu = |timestamp, used| cri::CpuUsage {
            timestamp,
            usage_core_nano_seconds: Some(cri::UInt64Value { value: used }),
            usage_nano_cores: None,
        };
        let first = cpu(1_000_000_000, 5_000_000);
        let half = cpu(1_500_000_000, 130_000_000);
        assert_eq!(rate(&first, &half), Some(250_000_000));
        assert_eq!(percent(250_000_000), "25.0%");
        assert_eq!(rate(&first, &first), None, "no time has passed");
        assert_eq!(rate(&half, &first), None, "the counter went back");
    }
}
