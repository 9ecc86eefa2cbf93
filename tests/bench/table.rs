//! Medians and Markdown tables.

/// The middle of several measurements.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value below which this share (0 to 1) of the measurements lies.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Prints a heading and a Markdown table.
pub fn print(title: &str, head: &[&str], rows: &[Vec<String>]) {
    println!("## {title}\n\n| {} |", head.join(" | "));
    println!(
        "|{}|",
        head.iter().enumerate().map(|(n, _)| if n == 0 { "---" } else { "---:" }).collect::<Vec<_>>().join("|")
    );
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
    println!();
}

/// Seconds with two decimals.
pub fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

/// A ratio with two decimals.
pub fn ratio(value: f64) -> String {
    format!("{value:.2}x")
}
