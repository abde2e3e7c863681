//! Figures, units and foreign text as the report writes them. Pure.

use super::Machine;
use crate::measure::Unit;

#[path = "../../support/text.rs"]
mod text;

pub use text::{escape, plain, shortened};

/// What stands where there is no figure.
pub const NONE: &str = "–";

/// Three digits that count, and all before the point: `0.0123`, `1.23`, `12,345`.
pub fn digits(value: f64) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    // Of the rounded value: 9.999 is 10.0.
    let scientific = format!("{value:.2e}");
    let exponent = scientific.rsplit_once('e').map(|(_, exponent)| exponent);
    let exponent: i32 = exponent.and_then(|text| text.parse().ok()).unwrap_or(0);
    let decimals = usize::try_from(2 - exponent).unwrap_or(0).min(6);
    thousands(&format!("{value:.decimals$}"))
}

/// A figure of this unit: as [`digits`], but of things that are counted whole there are no parts.
pub fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Count | Unit::Kilobytes if value != 0.0 && value.fract() == 0.0 => {
            thousands(&format!("{value:.0}"))
        }
        Unit::Count
        | Unit::Kilobytes
        | Unit::Millis
        | Unit::MegabytesPerSecond
        | Unit::CpuPerGibibyte
        | Unit::CallsPerSecond
        | Unit::KiloInstructions => digits(value),
    }
}

/// A number that somebody chose, without zeros at its end: `0.35`, `1.2`, `50`.
pub fn chosen(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    thousands(text)
}

/// A decimal number with its thousands set apart.
fn thousands(number: &str) -> String {
    let (whole, rest) = match number.find('.') {
        Some(point) => number.split_at(point),
        None => (number, ""),
    };
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(whole) => ("-", whole),
        None => ("", whole),
    };
    let mut text = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

/// A title with its unit: `Create, ms`.
pub fn titled(title: &str, unit: Unit) -> String {
    match unit.name() {
        "" => title.to_owned(),
        unit => format!("{title}, {unit}"),
    }
}

/// A figure with its unit: `12.3 ms`.
pub fn with_unit(figure: &str, unit: Unit) -> String {
    match unit.name() {
        "" => figure.to_owned(),
        unit => format!("{figure} {unit}"),
    }
}

/// Which way is better.
pub const fn better(unit: Unit) -> &'static str {
    match unit {
        Unit::MegabytesPerSecond | Unit::CallsPerSecond => "more is better",
        Unit::Millis
        | Unit::Kilobytes
        | Unit::CpuPerGibibyte
        | Unit::KiloInstructions
        | Unit::Count => "less is better",
    }
}

/// The machine on one line.
pub fn machine(machine: &Machine) -> String {
    // Gibibytes to a tenth, without a float that could lose any.
    let tenths = machine.memory_kb.saturating_mul(10) / (1 << 20);
    format!(
        "{}, {}, {}.{} GiB, Linux {}",
        machine.cpu,
        counted(machine.cpus, "CPU"),
        tenths / 10,
        tenths % 10,
        machine.kernel
    )
}

/// A text that begins a title or a sentence.
pub fn capital(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

/// A count with its noun: `1 target`, `2 targets`.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Text in a cell of a Markdown table.
pub fn cell(text: &str) -> String {
    let text = plain(text).replace('|', "\\|");
    text.replace('<', "&lt;").replace('*', "\\*")
}
