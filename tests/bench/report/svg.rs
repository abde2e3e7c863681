//! What all charts have in common: the page with its own light ground, colours, texts and ticks. An SVG file that needs no
//! other, as text. Pure.

use super::Report;
use super::words::{escape, machine};
use crate::measure::{CAT, CONMON, CRUN, GO, OUTLIVE, RUNC, RUST, as_float};

/// Pixels around everything.
pub const MARGIN: f64 = 20.0;
/// From the upper edge to where the drawing begins.
pub const HEAD: f64 = 52.0;
/// From where the drawing ends to the first line below it.
const FOOT: f64 = 18.0;
/// Pixels of a small character, about.
const SMALL: f64 = 5.9;
/// Pixels of each line of text.
pub const LINE: f64 = 16.0;

const STYLE: &str = "text{font:12px -apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#1f2328}\
.title{font-size:17px;font-weight:600}.head{font-size:13px;font-weight:600}.ours{font-weight:600}\
.small{font-size:11px;fill:#59636e}.end{text-anchor:end}.middle{text-anchor:middle}\
.axis{stroke:#8c959f;fill:none}.grid{stroke:#e4e8ec;fill:none}.whisker{stroke:#1f2328;stroke-width:1.2;fill:none}";

/// The whole file: a title, the body down to `bottom`, and below it what has to be known to read it, the machine and the date.
pub fn page(
    title: &str,
    note: &str,
    report: &Report<'_>,
    (width, bottom): (f64, f64),
    body: &str,
) -> String {
    let quick = if report.is_quick { ", a quick run" } else { "" };
    let place = format!(
        "{}; {}{quick}",
        machine(report.machine),
        report.machine.date
    );
    let mut y = bottom + FOOT;
    let mut foot = String::new();
    for line in [note, &place]
        .map(|text| wrapped(text, width - 2.0 * MARGIN))
        .concat()
    {
        foot += &text_at((MARGIN, y), "small", &line);
        y += LINE;
    }
    let (title, head) = (escape(title), text_at((MARGIN, 31.0), "title", title));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {y:.0}\" width=\"{width:.0}\" height=\"{y:.0}\" \
         role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <rect x=\"0.5\" y=\"0.5\" width=\"{:.1}\" height=\"{:.1}\" rx=\"6\" fill=\"#ffffff\" stroke=\"#d1d9e0\"/>\n\
         {head}{body}{foot}</svg>\n",
        width - 1.0,
        y.round() - 1.0
    )
}

/// Small text in lines that are about as wide as this, parted at blanks.
pub fn wrapped(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if SMALL * length(line) + SMALL * (length(word) + 1.0) <= width => {
                *line += " ";
                *line += word;
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// One line of text. What code is in it has no backticks here.
pub fn text_at(at: (f64, f64), class: &str, text: &str) -> String {
    format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" class=\"{class}\">{}</text>\n",
        at.0,
        at.1,
        escape(&text.replace('`', ""))
    )
}

/// Lines, in the path language of SVG.
pub fn path(class: &str, steps: &str) -> String {
    format!("<path class=\"{class}\" d=\"{steps}\"/>\n")
}

/// The colour of one who was measured; `place` tells apart those who are not known.
pub fn colour(who: &str, place: usize) -> &'static str {
    const OTHERS: [&str; 3] = ["#7d7fa8", "#a3a09a", "#5d8a99"];
    match who {
        OUTLIVE => "#d9480f",
        GO => "#7d8c9e",
        RUST => "#a5c3e2",
        CONMON => "#5b8cc4",
        RUNC => "#c6cdd5",
        CRUN => "#dde2e7",
        CAT => "#a9a9b3",
        _ => OTHERS[place % OTHERS.len()],
    }
}

/// How wide a text becomes, about.
pub fn width_of(text: &str) -> f64 {
    7.0 * length(text)
}

fn length(text: &str) -> f64 {
    as_float(text.chars().count())
}

/// Round values from 0 up to the first that is not below `most`, at most seven of them.
pub fn ticks(most: f64) -> Vec<f64> {
    let most = if most.is_finite() && most > 0.0 {
        most
    } else {
        1.0
    };
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    let step = steps
        .into_iter()
        .find(|step| step * 5.0 >= most * 0.999_999);
    let step = step.unwrap_or(most);
    let mut ticks = vec![0.0];
    let mut count = 0.0;
    while count * step < most * 0.999_999 {
        count += 1.0;
        ticks.push(count * step);
    }
    ticks
}
