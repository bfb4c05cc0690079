//! For how many standbys commits wait, and for how many they can. The number in `synchronous_standby_names`
//! may be more than the standbys that are left: then every commit waits.

/// A name that no standby has: it keeps the number that a lowered setting had before, where every look at the
/// setting shows it.
const BEFORE: &str = "failover-tools: was ";

/// What has to become of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: as many standbys stream as commits wait for, or commits wait for nobody.
    Enough,
    /// Commits can wait for those that stream with this setting.
    Lower(String),
    /// No standby streams that commits wait for.
    Nobody,
    /// It was lowered, and more standbys stream again: with this one commits wait for them, too.
    Raise(String),
}

/// `setting` in its parts: what stands before the number, the number, and the list with its parentheses.
fn parts(setting: &str) -> Option<(&str, usize, &str)> {
    let open = setting.find('(')?;
    let (head, list) = setting.split_at(open);
    let digits = head.trim_end();
    let start = digits.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = digits[start..].parse().ok()?;
    Some((&digits[..start], number, list))
}

/// So many standbys have to confirm a commit.
pub fn number(setting: &str) -> usize {
    match (setting.trim().is_empty(), parts(setting)) {
        (true, _) => 0,
        (false, Some((_, number, _))) => number,
        // A list alone is of the first of them.
        (false, None) => 1,
    }
}

/// Whether commits wait for a standby of this name, if it streams.
pub fn names(setting: &str, standby: &str) -> bool {
    let list = match parts(setting) {
        Some((_, _, list)) => list.trim_matches(|c| c == '(' || c == ')' || c == ' '),
        None => setting,
    };
    let unquoted = |name: &str| name.trim().trim_matches('"').to_owned();
    list.split(',')
        .map(unquoted)
        .any(|name| name == "*" || name.eq_ignore_ascii_case(standby))
}

/// `setting` with those of `nodes` that it leaves out: another primary had it, whose list need not have a
/// place for that primary itself.
pub fn for_all(setting: &str, nodes: &[String]) -> String {
    let missing: Vec<&str> = nodes
        .iter()
        .map(String::as_str)
        .filter(|node| !names(setting, node))
        .collect();
    match (parts(setting), setting.rfind(')')) {
        (Some(_), Some(end)) if !missing.is_empty() => {
            let (list, rest) = setting.split_at(end);
            format!("{list}, {}{rest}", missing.join(", "))
        }
        _ => setting.to_owned(),
    }
}

/// `setting` as it was before it was lowered.
pub fn before(setting: &str) -> String {
    let whole = parts(setting).and_then(|(kind, _, list)| {
        let (list, before) = without_before(list);
        Some(with(kind, before?, &list, None))
    });
    whole.unwrap_or_else(|| setting.to_owned())
}

/// What has to become of `setting` where `there` standbys stream that it has commits wait for.
pub fn judge(setting: &str, there: usize) -> Wait {
    let needed = number(setting);
    if needed == 0 {
        return Wait::Enough;
    }
    if there == 0 {
        return Wait::Nobody;
    }
    let Some((kind, _, list)) = parts(setting) else {
        return Wait::Enough;
    };
    let (list, before) = without_before(list);
    if there < needed {
        let before = before.unwrap_or(needed);
        return Wait::Lower(with(kind, there, &list, Some(before)));
    }
    match before {
        Some(before) if there >= before => Wait::Raise(with(kind, before, &list, None)),
        Some(before) if there > needed => Wait::Raise(with(kind, there, &list, Some(before))),
        _ => Wait::Enough,
    }
}

fn with(kind: &str, number: usize, list: &str, before: Option<usize>) -> String {
    let inner = list.trim_end().strip_suffix(')').unwrap_or(list).trim_end();
    let kept = before.map_or(String::new(), |it| format!(", \"{BEFORE}{it}\""));
    format!("{kind}{number} {inner}{kept})")
}

/// A list without the number that it keeps, and that number.
fn without_before(list: &str) -> (String, Option<usize>) {
    let start = format!("\"{BEFORE}");
    let Some((names, rest)) = list.split_once(&start) else {
        return (list.to_owned(), None);
    };
    let number = rest.split('"').next().and_then(|it| it.parse().ok());
    let names = names.trim_end().trim_end_matches(',');
    (format!("{names})"), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_primarys_list_gets_a_place_for_that_primary() {
        let nodes = ["node101", "node102", "node103"].map(str::to_owned);
        for (setting, wanted) in [
            ("1 (node101, node103)", "1 (node101, node103, node102)"),
            (
                "ANY 2 (node101, node102, node103)",
                "ANY 2 (node101, node102, node103)",
            ),
            ("FIRST 1 (*)", "FIRST 1 (*)"),
            ("*", "*"),
            ("node101", "node101"),
        ] {
            assert_eq!(for_all(setting, &nodes), wanted);
        }
    }

    #[test]
    fn how_many_confirm_a_commit() {
        for (setting, expected) in [
            ("", 0),
            (" ", 0),
            ("*", 1),
            ("node102, node103", 1),
            ("1 (node102, node103)", 1),
            ("2(node102,node103)", 2),
            ("FIRST 2 (node102, node103)", 2),
            ("any 3 ( * )", 3),
            ("\"a (b\"", 1),
        ] {
            assert_eq!(number(setting), expected, "{setting}");
        }
    }

    #[test]
    fn who_is_named() {
        for (setting, standby, expected) in [
            ("", "a", false),
            ("*", "a", true),
            ("a, B", "b", true),
            ("FIRST 2 (a, \"15/main\")", "15/main", true),
            ("2(a,b)", "c", false),
            ("ANY 1 ( * )", "c", true),
        ] {
            assert_eq!(names(setting, standby), expected, "{setting} {standby}");
        }
        for (setting, expected) in [
            ("", ""),
            ("*", "*"),
            ("FIRST 2 (a, b)", "FIRST 2 (a, b)"),
            ("ANY 1 (*, \"failover-tools: was 3\")", "ANY 3 (*)"),
        ] {
            assert_eq!(before(setting), expected);
        }
    }

    #[test]
    fn it_is_lowered_and_raised_again() {
        let lowered = "FIRST 1 (node102, node103, \"failover-tools: was 2\")";
        for (setting, there, expected) in [
            ("", 0, Wait::Enough),
            ("1 (node102)", 0, Wait::Nobody),
            ("1 (node102)", 1, Wait::Enough),
            ("node102, node103", 1, Wait::Enough),
            ("FIRST 2 (node102, node103)", 2, Wait::Enough),
            (
                "FIRST 2 (node102, node103)",
                1,
                Wait::Lower(lowered.to_owned()),
            ),
            ("FIRST 2 (node102, node103)", 0, Wait::Nobody),
            (lowered, 1, Wait::Enough),
            (
                lowered,
                2,
                Wait::Raise("FIRST 2 (node102, node103)".to_owned()),
            ),
            (lowered, 0, Wait::Nobody),
            (
                "ANY 3 (*)",
                1,
                Wait::Lower("ANY 1 (*, \"failover-tools: was 3\")".to_owned()),
            ),
            (
                "ANY 1 (*, \"failover-tools: was 3\")",
                2,
                Wait::Raise("ANY 2 (*, \"failover-tools: was 3\")".to_owned()),
            ),
            (
                "ANY 2 (*, \"failover-tools: was 3\")",
                1,
                Wait::Lower("ANY 1 (*, \"failover-tools: was 3\")".to_owned()),
            ),
            (
                "ANY 2 (*, \"failover-tools: was 3\")",
                4,
                Wait::Raise("ANY 3 (*)".to_owned()),
            ),
        ] {
            assert_eq!(judge(setting, there), expected, "{setting} {there}");
        }
    }
}
