//! The lines of `ctr events` that are about tasks.

use std::ops::Range;

use serde_json::Value;

use super::ctr::Running;
use super::node::Node;
use super::poll;

/// What a subscriber was told of a task or of a process in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEvent {
    /// The topic without its `/tasks/`: `create`, `start`, `exit`, `delete` and others.
    pub topic: String,
    /// The container.
    pub container: String,
    /// The id of the exec, where it is about one.
    pub exec: Option<String>,
    /// The exit code, where it tells one.
    pub code: Option<u32>,
    /// When it ended, in Unix nanoseconds, where it tells.
    pub exited_at: Option<i64>,
}

/// One line: date, time, zone twice, namespace, topic, JSON.
pub fn parse(line: &str) -> Option<TaskEvent> {
    let (topic, body) = line[line.find(" /tasks/")? + 1..].split_once(' ')?;
    let topic = topic.strip_prefix("/tasks/")?;
    let body: Value = serde_json::from_str(body).ok()?;
    let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
    let container = text("container_id")?;
    // Events of execs name theirs in `exec_id`; an end names its process in `id`, init by the id of the container.
    let exec = text("exec_id").or_else(|| text("id"));
    let exec = exec.filter(|id| !id.is_empty() && *id != container);
    let tells_an_end = ["exit", "delete"].contains(&topic);
    // A number that is zero is left out.
    let code = body.get("exit_status").map_or(Some(0), Value::as_u64);
    Some(TaskEvent {
        topic: topic.to_owned(),
        container,
        exec,
        code: code
            .filter(|_| tells_an_end)
            .and_then(|code| u32::try_from(code).ok()),
        exited_at: body.get("exited_at").and_then(unix_nanos),
    })
}

/// A time as one of the `ctr`s writes it: RFC 3339 in UTC, or an object of seconds and nanoseconds.
pub fn unix_nanos(time: &Value) -> Option<i64> {
    let Some(text) = time.as_str() else {
        let nanos = time.get("nanos").map_or(Some(0), Value::as_i64)?;
        return Some(time.get("seconds")?.as_i64()? * 1_000_000_000 + nanos);
    };
    let part = |range: Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    // The Julian day number of a date of the Gregorian calendar, for a year that begins in March.
    let (years, months) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day;
    let hours = (days - 719_469) * 24 + part(11..13)?;
    let seconds = (hours * 60 + part(14..16)?) * 60 + part(17..19)?;
    let fraction: String = text
        .get(19..)?
        .strip_prefix('.')
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(seconds * 1_000_000_000 + nanos)
}

/// Makes an event that is no task's, until `subscriber` sees it: it listens then, and has seen all that came before.
pub fn mark(node: &Node, subscriber: &Running, round: u32) -> Result<(), String> {
    let marks = || subscriber.stdout().matches("/namespaces/update").count();
    let before = marks();
    let mut repeats = 0;
    poll::within(poll::DEADLINE, || {
        repeats += 1;
        let label = format!("round=r{round}-{repeats}");
        let said = node.try_ctr(
            &["namespace", "label", node.namespace(), &label],
            poll::DEADLINE,
        );
        if marks() > before {
            Ok(Ok(()))
        } else if !node.is_alive() {
            Ok(Err("containerd is dead".to_owned()))
        } else {
            Err(format!("{said:?} {}", subscriber.stderr()))
        }
    })?
}

/// `ctr events` from its start on.
#[derive(Debug)]
pub struct Listener {
    subscriber: Running,
    read: u64,
    told: Vec<TaskEvent>,
}

impl Listener {
    /// Starts it, and waits until containerd knows that it listens.
    pub fn start(node: &Node) -> Result<Self, String> {
        let subscriber = node.spawn_ctr(&["events"]);
        mark(node, &subscriber, 0)?;
        Ok(Self {
            subscriber,
            read: 0,
            told: Vec::new(),
        })
    }

    /// All that came so far, in order.
    pub fn so_far(&mut self) -> &[TaskEvent] {
        let new = self.subscriber.stdout_from(self.read);
        // The last line may still be under way.
        let whole = new
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.read += u64::try_from(whole).unwrap();
        let text = String::from_utf8_lossy(&new[..whole]);
        self.told.extend(text.lines().filter_map(parse));
        &self.told
    }
}
