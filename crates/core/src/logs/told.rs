//! Words out of a line.

/// What stands between `before` and `after`.
pub fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// The number after `before`.
pub fn number_after(text: &str, before: &str) -> Option<i64> {
    let (_, rest) = text.split_once(before)?;
    let rest = rest.trim_start_matches(['[', ' ', '"', '(']);
    let end = rest
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || (*at == 0 && *c == '-')))
        .map_or(rest.len(), |(at, _)| at);
    rest.get(..end)?.parse().ok()
}

/// A host without its port: `192.168.1.101:9999`, `server03(5432)`, `[::1]:5432`.
pub fn host_of(text: &str) -> &str {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    let text = text.split('(').next().unwrap_or(text);
    match text.rsplit_once(':') {
        // An address of IPv6 has colons of its own.
        Some((host, port)) if !host.contains(':') && port.bytes().all(|it| it.is_ascii_digit()) => {
            host
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found() {
        assert_eq!(between("a [b] c", "[", "]"), Some("b"));
        assert_eq!(between("a [b", "[", "]"), None);
        assert_eq!(number_after("node_id: 12 from", "node_id:"), Some(12));
        assert_eq!(number_after("new primary node: -1", "node:"), Some(-1));
        assert_eq!(number_after("x", "y"), None);
        for (text, host) in [
            ("192.168.1.101:9999", "192.168.1.101"),
            ("server03(5432)", "server03"),
            ("[::1]:5432", "::1"),
            ("fe80::1", "fe80::1"),
            ("/tmp(11002)", "/tmp"),
        ] {
            assert_eq!(host_of(text), host);
        }
    }
}
