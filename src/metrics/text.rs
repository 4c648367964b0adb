//! Prometheus' own text form (0.0.4), made from the one of `OpenMetrics`.

use std::collections::BTreeSet;

/// In the older form a counter is called in its comments as it is in its samples, and nothing marks the end.
pub(super) fn from_open_metrics(text: &str) -> String {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let counters: BTreeSet<&str> = kinds.filter_map(|kind| kind.strip_suffix(" counter")).collect();
    let mut made = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                made.push_str(&format!("# {what} {name}_total {rest}"));
            }
            _as_it_is => made.push_str(line),
        }
        made.push('\n');
    }
    made
}

#[cfg(test)]
mod tests {
    use super::from_open_metrics;

    #[test]
    fn a_counter_is_called_alike_everywhere() {
        let open = "# HELP a_b Some.\n# TYPE a_b counter\na_b_total{c=\"d\"} 1\n# HELP e Some.\n# TYPE e gauge\n# UNIT e s\ne 2\n# EOF\n";
        let text = "# HELP a_b_total Some.\n# TYPE a_b_total counter\na_b_total{c=\"d\"} 1\n# HELP e Some.\n# TYPE e gauge\ne 2\n";
        assert_eq!(from_open_metrics(open), text);
    }
}
